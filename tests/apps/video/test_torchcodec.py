"""When torchcodec decodes, and what it is asked. It is stood in for, as its builds need a fitting torch."""

import sys
import types
from pathlib import Path

import numpy as np
import odd_videos
import pytest
import torch

pytest.importorskip("av", reason="PyAV is not installed: pip install .[video]")

from mmn.apps.video import torchcodec
from mmn.apps.video.decode import iter_frames
from mmn.utils.errors import DataError
from mmn.utils.logger import get_logger


class StandIn:
    """The part of torchcodec.decoders.VideoDecoder that is used, over a list of times: frame i is filled with i."""

    times = torch.tensor(odd_videos.EVEN, dtype=torch.float64)
    length = 0.1

    def __init__(self, path, *, seek_mode, dimension_order, num_ffmpeg_threads):
        if not Path(path).is_file():
            raise RuntimeError("Could not open input file")
        assert (seek_mode, dimension_order) == ("exact", "NHWC")
        begin, end = float(self.times[0]), float(self.times[-1]) + self.length
        self.metadata = types.SimpleNamespace(begin_stream_seconds=begin, end_stream_seconds=end)

    def __len__(self):
        return len(self.times)

    def _batch(self, numbers):
        data = torch.tensor(numbers, dtype=torch.uint8)[:, None, None, None].expand(-1, 4, 6, 3)
        return types.SimpleNamespace(data=data, pts_seconds=self.times[numbers])

    def get_frames_in_range(self, start, stop):
        return self._batch(list(range(start, stop)))

    def get_frames_played_at(self, seconds):
        if not all(self.metadata.begin_stream_seconds <= time < self.metadata.end_stream_seconds for time in seconds):
            raise IndexError("Invalid pts")
        return self._batch([int((self.times <= time).sum()) - 1 for time in seconds])


@pytest.fixture
def install(monkeypatch):
    """`install(version)` makes the stand-in importable as torchcodec."""

    def put(version, decoder=StandIn):
        package, decoders = types.ModuleType("torchcodec"), types.ModuleType("torchcodec.decoders")
        package.__version__, package.decoders, decoders.VideoDecoder = version, decoders, decoder
        monkeypatch.setitem(sys.modules, "torchcodec", package)
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)

    torchcodec.torchcodec_decoder.cache_clear()
    yield put
    torchcodec.torchcodec_decoder.cache_clear()


@pytest.fixture
def path(tmp_path):
    return odd_videos.write_video(tmp_path / "v.mp4")


def numbers(frames):
    return [int(frame.image[0, 0, 0]) for frame in frames]


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(get_logger(), "propagate", True)
    return caplog


def test_pyav_decodes_without_a_word_where_torchcodec_is_not_installed(install, monkeypatch, log):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    assert torchcodec.torchcodec_decoder() is None
    assert torchcodec.decoder_version()[0] == "av"
    assert not log.text


def test_a_torchcodec_that_cannot_be_loaded_is_named(install, tmp_path, monkeypatch, log):
    (tmp_path / "torchcodec").mkdir()
    (tmp_path / "torchcodec" / "__init__.py").write_text("raise RuntimeError('Could not load libtorchcodec.\\nLikely')")
    monkeypatch.syspath_prepend(tmp_path)
    assert torchcodec.torchcodec_decoder() is None
    assert "not used (Could not load libtorchcodec.): videos are decoded by PyAV" in log.text


def test_torchcodec_decodes_where_it_is_installed(install):
    install("0.17.1")
    assert torchcodec.torchcodec_decoder() is StandIn
    assert torchcodec.decoder_version() == ("torchcodec", "0.17.1")


def test_a_version_that_may_not_turn_pictures_is_not_used_and_named(install, log):
    install("0.9.1+cpu")
    assert torchcodec.torchcodec_decoder() is None
    assert "version 0.9.1+cpu is older than 0.17" in log.text


@pytest.mark.parametrize("fps, start, end", [(None, 0.0, None), (None, 0.35, 1.0), (2.0, 0.0, None), (7.0, 0.4, 1.3)])
def test_frames_are_those_that_pyav_gives(install, monkeypatch, path, fps, start, end):
    monkeypatch.setattr("mmn.apps.video.decode.torchcodec_decoder", lambda: None)
    expected = list(iter_frames(path, fps, start, end))
    monkeypatch.setattr("mmn.apps.video.decode.torchcodec_decoder", lambda: StandIn)
    found = list(iter_frames(path, fps, start, end))
    assert numbers(found) == [odd_videos.number_of(frame.image) for frame in expected]
    assert [frame.time for frame in found] == pytest.approx([frame.time for frame in expected])


def test_a_file_that_was_cut_off_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("mmn.apps.video.decode.torchcodec_decoder", lambda: StandIn)
    path = odd_videos.write_video(tmp_path / "v.mp4", tuple(np.arange(60) / 10))
    with pytest.raises(DataError, match=r"v\.mp4 is truncated"):
        list(iter_frames(path, 2))


def test_an_error_of_torchcodec_names_the_file(monkeypatch, path):
    def fail(self, seconds):
        raise RuntimeError("Could not decode\nwith much more below")

    monkeypatch.setattr(StandIn, "get_frames_played_at", fail)
    monkeypatch.setattr("mmn.apps.video.decode.torchcodec_decoder", lambda: StandIn)
    with pytest.raises(DataError, match=r"v\.mp4 cannot be decoded \(Could not decode\)"):
        list(iter_frames(path, 2))
