"""The run's log: console and log.txt on rank 0, warnings only elsewhere."""

import logging
import os
import sys

NAME = "mmn"


def get_logger() -> logging.Logger:
    return logging.getLogger(NAME)


def setup_logger(output_dir: str | None, rank: int) -> logging.Logger:
    """Send the log to the console and, if `output_dir` is given, append it to `log.txt` there (rank 0)."""
    logger = get_logger()
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    prefix = "" if rank == 0 else f"[rank {rank}] "
    formatter = logging.Formatter(f"%(asctime)s {prefix}%(levelname).1s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if output_dir and rank == 0:
        handlers.append(logging.FileHandler(os.path.join(output_dir, "log.txt"), encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    return logger
