"""Time of one more query on a video that is encoded: what a page or a service waits for."""

import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
from terminaltables import AsciiTable

from mmn.apps.benchmark.batch_sizes import SETTINGS
from mmn.apps.benchmark.settings import measured_config
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.trained_model import TrainedModel
from mmn.apps.synthetic.tiny_encoder import build_tokenizer
from mmn.data.tokenizer import QueryTokenizer
from mmn.modeling import build_model
from mmn.utils.memory import reuse_freed_memory

NUM_WORDS = 8  # of a query, about Charades-STA's mean
ROWS_PER_SECOND = 2
WINDOWS_AT_ONCE = 16
COLUMNS = ("", "median ms", "5 of 100 below", "95 of 100 below", "processor ms")


def print_latency(ckpt: str | None, setting: str, repeats: int) -> None:
    """Print the times of `measure_latency` as a table.

    Args:
        ckpt: a checkpoint, on whatever device is there; None takes a released setting at full size, with random
            weights and a text encoder of distilbert-base-uncased's size, on the CPU.
        setting: "charades", "activitynet" or "tacos".
    """
    reuse_freed_memory()
    localizer = MomentLocalizer.from_checkpoint(ckpt) if ckpt else random_localizer(setting)
    rows = []
    for name, calls in measure_latency(localizer, SETTINGS[setting].duration, repeats).items():
        wall, processor = zip(*calls, strict=True)
        times = (statistics.median(wall), *np.quantile(wall, [0.05, 0.95]), statistics.median(processor))
        rows.append([name, *(f"{1000 * seconds:.1f}" for seconds in times)])
    title = f" {ckpt or f'{setting}, random weights'}, {localizer.device} "
    print(AsciiTable([list(COLUMNS), *rows], title).table)


def random_localizer(setting: str) -> MomentLocalizer:
    """A released setting with random weights; nothing is downloaded."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = measured_config(SETTINGS[setting], folder, ["TEST.BATCH_SIZE", str(WINDOWS_AT_ONCE)])
        build_tokenizer((f"word{number}" for number in range(40000)), 30522, 512).save_pretrained(folder)
        model = build_model(cfg, pretrained_text=False)
        return MomentLocalizer.from_trained(TrainedModel(cfg, model, QueryTokenizer(folder), setting), "cpu")


def measure_latency(localizer: MomentLocalizer, duration: float, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """(wall, processor) seconds of each call, by what is done; first calls do not count.

    Processor time is of all threads; on a busy machine it says what one thread would take on a quiet one.

    Args:
        duration: seconds of the video; it has ROWS_PER_SECOND random feature rows per second.
    """
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((round(duration * ROWS_PER_SECOND), localizer.input_size), dtype=np.float32)
    words = sorted(word for word in localizer.tokenizer.tokenizer.get_vocab() if word.isalnum())

    def sentences(count: int) -> list[str]:
        return [" ".join(generator.choice(words, NUM_WORDS)) for _ in range(count)]

    video = localizer.encode_video(rows, duration=duration)
    return {
        f"encode the features of {duration:g} s": _time(
            lambda _: localizer.encode_video(rows, duration=duration), lambda: None, max(3, repeats // 10)
        ),
        "one more query": _time(lambda queries: localizer.localize(video, queries), lambda: sentences(1), repeats),
        "16 more queries": _time(
            lambda queries: localizer.localize(video, queries), lambda: sentences(16), max(3, repeats // 4)
        ),
    }


def _time(
    function: Callable[[object], object], prepare: Callable[[], object], repeats: int
) -> list[tuple[float, float]]:
    """(wall, processor) seconds of every call but the first, each with an argument of its own."""
    seconds = []
    for _ in range(repeats + 1):
        argument = prepare()
        start = time.perf_counter(), time.process_time()
        function(argument)
        seconds.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return seconds[1:]
