"""The progress of an extraction: a live bar on a terminal, otherwise a line in the log now and then."""

import sys
import time

from tqdm import tqdm

from mmn.utils.logger import get_logger

LOG_SECONDS = 30.0


class ExtractionProgress:
    """Counts videos, frames and seconds of video, and estimates the time to go from the bytes of the files.

    Args:
        num_videos, num_bytes: number and size of this process's videos, whose progress stands for all.
        enabled: whether to show anything, True on rank 0.
    """

    def __init__(self, num_videos: int, num_bytes: int, enabled: bool):
        self.num_videos = num_videos
        self.num_bytes = max(num_bytes, 1)
        self.enabled = enabled
        self.num_done = self.num_frames = 0
        self.video_seconds = 0.0  # of finished videos
        self.done_bytes = 0.0  # of finished videos, and of the share of the one at hand
        self.earlier_bytes = 0.0  # of `done_bytes`, those of an earlier run
        self.start = self.last_report = time.perf_counter()
        on_terminal = enabled and sys.stderr.isatty()
        layout = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}{postfix}]"
        self.bar = tqdm(total=self.num_bytes, dynamic_ncols=True, bar_format=layout) if on_terminal else None

    def resume(self, num_bytes: float) -> None:
        """Leave the bytes that an earlier run had done out of the speed."""
        self.earlier_bytes = num_bytes
        if self.bar is not None:
            self.bar.initial = num_bytes

    def advance(self, name: str, position: float, num_bytes: float) -> None:
        """After a frame of video `name`: `position` is its time in seconds, `num_bytes` the share of the file up to it."""
        self.num_frames += 1
        now = time.perf_counter()
        if not self.enabled or now - self.last_report < (0.2 if self.bar is not None else LOG_SECONDS):
            return
        self.last_report = now
        done = min(self.done_bytes + num_bytes, self.num_bytes)
        speed = f"{self.num_frames / (now - self.start):.1f} frames/s"
        text = f"{self.num_done}/{self.num_videos} videos, {name} at {position:.0f} s"
        if self.bar is not None:
            self.bar.set_description_str(text, refresh=False)
            self.bar.set_postfix_str(speed, refresh=False)
            self.bar.n = done
            self.bar.refresh()
            return
        to_go = (now - self.start) * (self.num_bytes - done) / max(done - self.earlier_bytes, 1)
        get_logger().info("%s, %s, eta %s", text, speed, hours_minutes_seconds(to_go))

    def finish_video(self, seconds: float, num_bytes: int) -> None:
        """After a video, also one that failed; seconds: how much of it was decoded."""
        self.num_done += 1
        self.video_seconds += seconds
        self.done_bytes += num_bytes

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def hours_minutes_seconds(seconds: float) -> str:
    """
    >>> hours_minutes_seconds(93784)
    '26:03:04'
    """
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
