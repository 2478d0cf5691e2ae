"""Long videos, encoded in parts that are kept."""

import contextlib
import mmap
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from localizing import RECIPE, checkpoint_content, colour_extractor, random_rows
from small_videos import write_plain_video
from tiny import TAN2D_CONFIG, tiny_config
from torch import nn

from mmn import MomentLocalizer
from mmn.apps.extraction import video_parts
from mmn.apps.localize import encode_in_parts
from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.encoding_files import EncodingFiles
from mmn.apps.localize.feature_source import GivenVideo
from mmn.modeling.build import build_tan2d
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import DataError

QUERIES = ["A man throws a ball.", "Somebody washes a cup."]
WINDOWS = {"window": 1.0, "overlap": 0.5}


@pytest.fixture(scope="module")
def localizer(dataset_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pth"
    torch.save(checkpoint_content(tiny_config(dataset_root, "output"), feature_recipe=RECIPE.to_dict()), path)
    localizer = MomentLocalizer.from_checkpoint(path, device="cpu")
    localizer.use_extractor(colour_extractor())
    return localizer


@pytest.fixture(scope="module")
def video_file(tmp_path_factory):
    return str(write_plain_video(tmp_path_factory.mktemp("videos") / "colours.mp4", num_frames=83, fps=10))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Two seconds of video, and one batch of windows."""
    monkeypatch.setattr(video_parts, "PART_SECONDS", 2.0)
    monkeypatch.setattr(encode_in_parts, "PART_BYTES", 1)


class Stopped(Exception):
    """In the place of a kill: every file is renamed into its place or not there."""


def count_windows(localizer, monkeypatch, stop_at):
    """The windows of each batch that is encoded from now on; batch number `stop_at` is stopped, None is none."""
    encode, calls = localizer.encoder.encode_windows, []

    def counted(windows, device):
        calls.append(len(windows))
        if len(calls) == stop_at:
            raise Stopped
        return encode(windows, device)

    monkeypatch.setattr(localizer.encoder, "encode_windows", counted)
    return calls


@pytest.fixture(scope="module")
def tan2d(dataset_root, tmp_path_factory):
    """The localizer of an untrained 2D-TAN."""
    path = tmp_path_factory.mktemp("tan2d") / "model.pth"
    cfg = tiny_config(dataset_root, "output", config=TAN2D_CONFIG)
    torch.manual_seed(0)
    torch.save({"model": build_tan2d(cfg, False).state_dict(), "config": cfg.dump(), "architecture": "TAN2D"}, path)
    return MomentLocalizer.from_checkpoint(path, device="cpu")


def vectors(video):
    return [getattr(video, name).numpy().copy() for name in ("moments_contrastive", "moments_iou", "finder", "moments")]


def files_in(folder):
    return {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}


def test_kept_encoding_is_the_one_in_memory(localizer, tmp_path):
    rows = random_rows(100)
    wanted = localizer.encode_video(rows, duration=50.0, window=10.0)
    kept = localizer.encode_video(rows, duration=50.0, window=10.0, cache=tmp_path)
    assert kept.windows == wanted.windows
    for one, other in zip(vectors(kept), vectors(wanted), strict=True):
        np.testing.assert_array_equal(one, other)
    assert localizer.localize(kept, QUERIES) == localizer.localize(wanted, QUERIES)


def test_vectors_of_a_2d_tan_are_stored_once(tan2d, tmp_path):
    rows = random_rows(100)
    kept = tan2d.encode_video(rows, duration=50.0, window=10.0, cache=tmp_path)
    assert {os.path.basename(path) for path in files_in(tmp_path)} == {"video.json", "iou.npy", ".lock"}
    assert tan2d.localize(kept, QUERIES) == tan2d.localize(tan2d.encode_video(rows, 50.0, window=10.0), QUERIES)


@pytest.mark.parametrize("stop_at", [3, None])
def test_files_of_a_2d_tan_that_hold_its_vectors_twice_are_read(tan2d, tmp_path, monkeypatch, stop_at):
    video = {"video": random_rows(400), "duration": 200.0, "window": 10.0, "cache": tmp_path}
    calls = count_windows(tan2d, monkeypatch, stop_at)
    with monkeypatch.context() as patch, pytest.raises(Stopped) if stop_at else contextlib.nullcontext():
        patch.setattr(type(tan2d.encoder), "num_vectors", 2)  # as earlier versions wrote them
        tan2d.encode_video(**video)
    resumed = tan2d.encode_video(**video)
    assert sum(calls) == len(resumed.windows) + (calls[stop_at - 1] if stop_at else 0)
    wanted = tan2d.encode_video(**{**video, "cache": None}, keep_on="cpu")
    np.testing.assert_array_equal(resumed.moments_iou.numpy(), wanted.moments_iou.numpy())


@pytest.mark.parametrize("ask", ["localize", "score_maps"])
@pytest.mark.parametrize("model", ["localizer", "tan2d"])
def test_every_query_gives_back_the_memory_of_what_it_read(model, ask, tmp_path, monkeypatch, request):
    localizer = request.getfixturevalue(model)
    video = localizer.encode_video(random_rows(100), duration=50.0, window=10.0, cache=tmp_path)
    held, let_go = [], EncodedVideo.let_go
    monkeypatch.setattr(EncodedVideo, "let_go", lambda self: held.append(self) or let_go(self))
    getattr(localizer, ask)(video, QUERIES)
    assert video in held


@pytest.mark.parametrize("stop_at", [0.0, 2.1, 4.5, 8.2])
def test_stopped_while_decoding_goes_on_to_the_same_bits(localizer, video_file, tmp_path, stop_at):
    undisturbed = localizer.encode_video(video_file, **WINDOWS, cache=tmp_path / "undisturbed")

    def stop(seconds, duration):
        if seconds >= stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        localizer.encode_video(video_file, **WINDOWS, cache=tmp_path / "stopped", on_progress=stop)
    decoded = []
    resumed = localizer.encode_video(
        video_file, **WINDOWS, cache=tmp_path / "stopped", on_progress=lambda seconds, _: decoded.append(seconds)
    )
    assert min(decoded) == pytest.approx(stop_at - stop_at % 2)  # whole parts are not decoded again
    for one, other in zip(vectors(resumed), vectors(undisturbed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("stop_at", [1, 3, 8])
def test_stopped_among_the_windows_goes_on_to_the_same_bits(localizer, video_file, tmp_path, stop_at, monkeypatch):
    undisturbed = localizer.encode_video(video_file, **WINDOWS, cache=tmp_path / "undisturbed")
    calls = count_windows(localizer, monkeypatch, stop_at)
    with pytest.raises(Stopped):
        localizer.encode_video(video_file, **WINDOWS, cache=tmp_path / "stopped")
    resumed = localizer.encode_video(video_file, **WINDOWS, cache=tmp_path / "stopped")
    assert sum(calls) == len(resumed.windows) + calls[stop_at - 1]  # the batch that was stopped is made again
    for one, other in zip(vectors(resumed), vectors(undisturbed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_whole_encoding_is_loaded_and_nothing_is_decoded_or_left_over(localizer, video_file, tmp_path, monkeypatch):
    first = localizer.encode_video(video_file, **WINDOWS, cache=tmp_path)
    assert {os.path.basename(path) for path in files_in(tmp_path)} == {
        *("video.json", "rows.npy", "contrastive.npy", "iou.npy", "finder.npy", ".lock")
    }
    monkeypatch.setattr(localizer.encoder, "encode_windows", lambda *_: pytest.fail("encoded"))
    again = localizer.encode_video(video_file, **WINDOWS, cache=tmp_path, on_progress=lambda *_: pytest.fail("decoded"))
    for one, other in zip(vectors(first), vectors(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_parts_whose_deletion_was_stopped_are_deleted_the_next_time(localizer, video_file, tmp_path, monkeypatch):
    unlink, calls = os.unlink, []

    def stopping(path, *args, **options):
        calls.append(path)
        if len(calls) == 2:
            raise Stopped
        unlink(path, *args, **options)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(EncodingFiles, "writing", lambda files: contextlib.nullcontext())
        patch.setattr(os, "unlink", stopping)
        localizer.encode_video(video_file, **WINDOWS, cache=tmp_path)
    localizer.encode_video(video_file, **WINDOWS, cache=tmp_path)
    assert not [path for path in files_in(tmp_path) if "-0" in os.path.basename(path)]


def test_other_windows_and_other_rows_are_another_encoding(localizer, tmp_path):
    rows = random_rows(100)
    for changed, window in ((rows, 10.0), (rows, 20.0), (rows + 1, 10.0)):
        kept = localizer.encode_video(changed, duration=50.0, window=window, cache=tmp_path)
        wanted = localizer.encode_video(changed, duration=50.0, window=window)
        np.testing.assert_array_equal(vectors(kept)[0], vectors(wanted)[0])
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize(
    "kind, name", [("rows", "mmn-2f46a29f55303dae34c4899fca866bc0"), ("file", "mmn-507cd59d0d4b585fe74e176bc5ccdd15")]
)
def test_folder_of_an_encoding_is_called_as_ever(tmp_path, kind, name):
    """Where this name changes, what users have kept in their folders is encoded again."""
    model = nn.Linear(2, 1)
    nn.init.constant_(model.weight, 0.5), nn.init.constant_(model.bias, 0.25)
    encoder = SimpleNamespace(model=model, cells=ProposalCells(8, [3, 2]), num_pre_clips=16, batch_size=4)
    video = GivenVideo("v", 50.0, np.arange(6, dtype=np.float32).reshape(3, 2))
    if kind == "file":
        (tmp_path / "video.mp4").write_bytes(b"pixels")
        os.utime(tmp_path / "video.mp4", ns=(0, 1_700_000_000_000_000_000))
        video = GivenVideo("v", 50.0, None, str(tmp_path / "video.mp4"))
    features = SimpleNamespace(recipe_for=lambda path: RECIPE)
    steps = encode_in_parts.PartwiseEncoding(encoder, features, "id")
    folder = EncodingFiles(str(tmp_path), steps._description(video, [10.0, 20.5], None)).folder
    assert os.path.basename(folder) == name


def test_files_that_are_not_ours_stay(localizer, tmp_path):
    (tmp_path / "rows-00000.npy").write_text("mine")
    localizer.encode_video(random_rows(100), duration=50.0, window=10.0, cache=tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (folder / "notes.txt").write_text("mine")
    (folder / "vectors-old.npy").write_text("mine")
    localizer.encode_video(random_rows(100), duration=50.0, window=10.0, cache=tmp_path)
    assert (tmp_path / "rows-00000.npy").read_text() == (folder / "notes.txt").read_text() == "mine"
    assert (folder / "vectors-old.npy").read_text() == "mine"


def test_damaged_files_are_named(localizer, tmp_path):
    localizer.encode_video(random_rows(100), duration=50.0, window=10.0, cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / "iou.npy").write_bytes((folder / "iou.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match="iou.npy cannot be read.*delete the folder"):
        localizer.encode_video(random_rows(100), duration=50.0, window=10.0, cache=tmp_path)
    (folder / "video.json").write_text("{}")
    with pytest.raises(DataError, match="video.json was changed"):
        localizer.encode_video(random_rows(100), duration=50.0, window=10.0, cache=tmp_path)


def test_long_video_is_encoded_in_a_folder_that_goes_with_it(localizer, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    video = localizer.encode_video(random_rows(400), duration=301.0, window=50.0)
    assert len(files_in(tmp_path)) == 5  # the rows were given
    assert localizer.localize(video, QUERIES)
    del video
    assert not files_in(tmp_path)
    localizer.encode_video(random_rows(400), duration=300.0, window=50.0)
    assert not os.listdir(tmp_path)


def test_folder_that_would_have_gone_with_a_video_goes_with_its_error(localizer, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def stop(windows, device):
        raise Stopped

    monkeypatch.setattr(localizer.encoder, "encode_windows", stop)
    with pytest.raises(Stopped):
        localizer.encode_video(random_rows(400), duration=301.0, window=50.0)
    assert not os.listdir(tmp_path)


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE / 2**20


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_memory_of_what_queries_read_is_given_back_and_its_values_stay(tmp_path):
    np.save(tmp_path / "vectors.npy", np.ones((2**23,), "<f4"))  # 32 MB
    array = np.load(tmp_path / "vectors.npy", mmap_mode="c")
    vectors = torch.from_numpy(array)
    video = EncodedVideo("v", 1.0, ((0.0, 1.0),), vectors, vectors, vectors, vectors, "id", (array,))
    assert vectors.sum() == 2**23
    before = resident_mb()
    video.let_go()
    assert resident_mb() < before - 24
    assert vectors.sum() == 2**23
