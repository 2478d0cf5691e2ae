"""2D-TAN's cost: its convolutions dense and fast, and beside MMN with more and more sentences of one video.

MMN pays for the convolutions once per video, 2D-TAN once per sentence. Seconds are those of the processor, with one
thread, which other programs on the machine disturb little.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from terminaltables import AsciiTable
from yacs.config import CfgNode

from mmn.apps.benchmark.batch_sizes import SETTINGS, Setting
from mmn.apps.benchmark.settings import measured_config, random_batch
from mmn.config import load_config
from mmn.engine.tasks import TASKS
from mmn.structures.batch import GroundingBatch
from mmn.utils.memory import reuse_freed_memory

SENTENCES_OF_FORMS = {"charades": 8, "activitynet": 2, "tacos": 1}  # in the batch that both forms are measured with
FORMS = ("dense", "fast")
METHODS = ("MMN", "2D-TAN")
Job = Callable[[], object]


def print_tan2d(names: Sequence[str], modes: Sequence[str], repeats: int, counts: Sequence[int]) -> None:
    """Measure and print both comparisons.

    Args:
        names: settings, keys of SETTINGS.
        modes: "eval", "train" or both.
        repeats: turns per entry, of which the median counts.
        counts: sentences of the video; () leaves the comparison with MMN out, and otherwise that of the forms is.
    """
    reuse_freed_memory()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for mode in modes:
                if counts:
                    _print_methods(SETTINGS[name], mode, repeats, counts, folder)
                else:
                    _print_forms(SETTINGS[name], mode, repeats)


def _print_forms(setting: Setting, mode: str, repeats: int) -> None:
    number = SENTENCES_OF_FORMS[setting.name]
    batch_of = replace(setting, num_videos=1, num_sentences=number)
    cfgs = [tan2d_config(setting, ["MODEL.MMN.PREDICTOR.IMPL", form]) for form in FORMS]
    jobs = [_job(cfg, with_word_vectors(cfg, random_batch(cfg, batch_of)), mode) for cfg in cfgs]
    turns = seconds_in_turns(jobs, repeats)
    dense, fast = (statistics.median(column) for column in zip(*turns, strict=True))
    ratios = [plain / ours for plain, ours in turns]
    rows = [[f"{dense:.2f}", f"{fast:.2f}", f"{dense / fast:.1f}", f"{min(ratios):.1f} to {max(ratios):.1f}"]]
    title = f" 2D-TAN, {setting.name}, {mode}, {number} sentences, CPU float32 "
    print(AsciiTable([["dense s", "fast s", "ratio", "spread"], *rows], title).table, flush=True)


def _print_methods(setting: Setting, mode: str, repeats: int, counts: Sequence[int], folder: str) -> None:
    rows = []
    for count in counts:
        batch_of = replace(setting, num_videos=1, num_sentences=count)
        cfgs = measured_config(setting, folder, []), tan2d_config(setting, [])
        batches = random_batch(cfgs[0], batch_of), with_word_vectors(cfgs[1], random_batch(cfgs[1], batch_of))
        turns = seconds_in_turns([_job(*pair, mode) for pair in zip(cfgs, batches, strict=True)], repeats)
        mmn, tan2d = (statistics.median(column) for column in zip(*turns, strict=True))
        rows.append([str(count), f"{mmn:.2f}", f"{tan2d:.2f}", f"{tan2d / mmn:.1f}"])
    title = f" one video, {setting.name}, {mode}, CPU float32 "
    print(AsciiTable([["sentences", *(f"{method} s" for method in METHODS), "ratio"], *rows], title).table, flush=True)


def tan2d_config(setting: Setting, options: Sequence[str]) -> CfgNode:
    """The official config of a setting, pooled."""
    return load_config(f"tan2d_pool_{setting.name}", options)


def with_word_vectors(cfg: CfgNode, batch: GroundingBatch) -> GroundingBatch:
    """The batch with random vectors in the place of token ids."""
    generator = torch.Generator().manual_seed(1)
    shape = (*batch.tokens.shape, cfg.MODEL.TAN2D.TEXT.EMBEDDING_SIZE)
    return replace(batch, tokens=torch.randn(shape, generator=generator))


def _job(cfg: CfgNode, batch: GroundingBatch, mode: str) -> Job:
    """An evaluation forward of a batch, scores included, or a training step of it."""
    torch.manual_seed(0)
    task = TASKS[cfg.MODEL.ARCHITECTURE]  # unchecked: nothing here has words
    model = task.build_model(cfg, False).train(mode == "train")
    if mode == "eval":
        ranker = task.build_ranker(cfg)
        return torch.no_grad()(lambda: ranker.scores(model(batch), batch))
    criterion, optimizer = task.build_criterion(cfg), task.training.build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["lr"] = 1e-9  # the weights should stay where they are

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        task.training.total_loss(cfg, criterion(model(batch), batch), 1).backward()
        optimizer.step()

    return step


def seconds_in_turns(jobs: Sequence[Job], repeats: int) -> list[list[float]]:
    """Processor seconds of each job in each of `repeats` turns, after a run of each that does not count."""
    for job in jobs:
        job()
    return [[_seconds(job) for job in jobs] for _ in range(repeats)]


def _seconds(job: Job) -> float:
    start = time.process_time()
    job()
    return time.process_time() - start
