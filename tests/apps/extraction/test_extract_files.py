"""From files to one feature file: what is in it, failures, stopping at any point, going on, several processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import odd_videos
import pytest
from processes import launch, start_tool
from tiny import ROOT

from mmn.apps.extraction.extract_files import extract_videos
from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.extraction.feature_store import FeatureStore
from mmn.apps.extraction.video_files import list_videos
from mmn.data.features import FeatureFile
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import DataError, UserError
from mmn.utils.files import FolderLock
from mmn.utils.logger import get_logger

GOOD = ["one", "three", "two"]


@pytest.fixture(scope="module")
def extractor(clip_folder):
    return FeatureExtractor("clip", clip_folder, fps=5, batch_size=4)


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "features.hdf5")


@pytest.fixture
def good_folder(tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    for name in GOOD:
        odd_videos.write_video(folder / f"{name}.mp4")
    return folder


def content(path):
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def test_rows_are_those_of_the_extractor_in_the_layout_that_training_reads(extractor, good_folder, out):
    extract_videos(extractor, list_videos([str(good_folder)]), out)
    features = FeatureFile(out, "{vid}", 16)
    features.check(GOOD)
    for name in GOOD:
        assert np.array_equal(features.read(name), extractor.extract(good_folder / f"{name}.mp4"))
    assert features.recipe() == extractor.recipe
    assert os.listdir(os.path.dirname(out)).count("features.hdf5.parts") == 0


def test_the_file_says_what_it_holds(extractor, good_folder, out):
    extract_videos(extractor, list_videos([str(good_folder)]), out)
    with h5py.File(out) as file:
        assert file.attrs["recipe_backbone"] == "clip"
        assert len(file.attrs["recipe_weights_sha256"]) == 64
        assert '"torch"' in file.attrs["recipe_versions"]
        attributes = file["one"].attrs
        assert (attributes["source"], attributes["num_frames"]) == ("one.mp4", 10)
        assert attributes["duration"] == pytest.approx(2.0)


def test_a_bad_file_stops_nothing_and_is_named_at_the_end(extractor, video_folder, out, caplog, monkeypatch):
    monkeypatch.setattr(get_logger(), "propagate", True)
    videos = list_videos([str(video_folder), str(video_folder / "none.mp4"), str(video_folder / "notes.txt")])
    with pytest.raises(UserError, match="3 of 6 videos could not be used"):
        extract_videos(extractor, videos, out)
    assert sorted(content(out)) == GOOD
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [name for name in ("broken.mp4", "none.mp4", "notes.txt") if any(name in text for text in errors)] == [
        "broken.mp4",
        "none.mp4",
        "notes.txt",
    ]


def test_what_is_done_is_not_made_again_and_what_failed_is(extractor, good_folder, out, monkeypatch):
    path = good_folder / "late.mp4"
    path.write_text("not yet")
    with pytest.raises(UserError):
        extract_videos(extractor, list_videos([str(good_folder)]), out)
    before = content(out)
    path.unlink()
    odd_videos.write_video(path)
    made = []
    frames = extractor.frames
    monkeypatch.setattr(extractor, "frames", lambda video: made.append(os.path.basename(video)) or frames(video))
    extract_videos(extractor, list_videos([str(good_folder)]), out)
    assert made == ["late.mp4"]
    after = content(out)
    assert sorted(after) == sorted([*GOOD, "late"])
    assert all(np.array_equal(after[name], before[name]) for name in GOOD)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("num_frames", [3, 13, 27])
def test_a_stop_at_any_frame_costs_one_video_at_most(extractor, good_folder, out, monkeypatch, num_frames):
    frames, left, made = extractor.frames, iter(range(num_frames)), []

    def stopping(video):
        made.append(os.path.basename(video))
        for frame in frames(video):
            if next(left, None) is None:
                raise Killed
            yield frame

    with monkeypatch.context() as patch:
        patch.setattr(extractor, "frames", stopping)
        with pytest.raises(Killed):
            extract_videos(extractor, list_videos([str(good_folder)]), out)
    assert not os.path.exists(out)
    first_run = list(made)
    monkeypatch.setattr(extractor, "frames", lambda video: made.append(os.path.basename(video)) or frames(video))
    extract_videos(extractor, list_videos([str(good_folder)]), out)
    assert sorted(content(out)) == GOOD
    assert len(made) == 4  # three, and the one that was at hand
    assert made[len(first_run)] == first_run[-1]


def test_a_stop_while_putting_together_costs_nothing(extractor, good_folder, out, monkeypatch):
    def stop(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("mmn.apps.extraction.feature_store._copy_rows", stop)
        with pytest.raises(Killed):
            extract_videos(extractor, list_videos([str(good_folder)]), out)
    monkeypatch.setattr(extractor, "frames", stop)
    extract_videos(extractor, list_videos([str(good_folder)]), out)
    assert sorted(content(out)) == GOOD


def test_a_file_of_another_recipe_is_refused_with_both(extractor, clip_folder, good_folder, out):
    extract_videos(extractor, list_videos([str(good_folder)]), out)
    other = FeatureExtractor("clip", clip_folder, fps=2)
    with pytest.raises(DataError, match="clip.* 5 fps.*these would be clip.* 2 fps.*differs in fps"):
        extract_videos(other, list_videos([str(good_folder)]), out)
    assert not os.path.exists(f"{out}.parts")


def test_a_file_without_a_recipe_is_not_added_to(extractor, good_folder, out):
    with h5py.File(out, "w") as file:
        file["one"] = np.ones((2, 16))
    with pytest.raises(DataError, match="does not say how its features were made"):
        extract_videos(extractor, list_videos([str(good_folder)]), out)
    assert list(content(out)) == ["one"]


@pytest.mark.parametrize("content", [b"words", b"\x89HDF\r\n\x1a\n cut off"])
def test_a_file_at_out_that_cannot_be_read_is_left_alone(extractor, good_folder, out, content):
    Path(out).write_bytes(content)
    with pytest.raises(DataError, match="choose another --out") as raised:
        extract_videos(extractor, list_videos([str(good_folder)]), out)
    assert "delete" not in str(raised.value)
    assert Path(out).read_bytes() == content


def test_other_files_in_the_folder_of_parts_stay(extractor, good_folder, out):
    notes = Path(f"{out}.parts", "notes.hdf5")
    notes.parent.mkdir()
    notes.write_text("mine")
    extract_videos(extractor, list_videos([str(good_folder)]), out)
    assert sorted(content(out)) == GOOD
    assert os.listdir(notes.parent) == ["notes.hdf5"]
    assert notes.read_text() == "mine"


def test_a_second_run_on_the_same_file_is_refused(extractor, out):
    store = FeatureStore(out, extractor.recipe)
    os.makedirs(store.folder)
    hold = f"lock = FolderLock({store.folder!r}); print('held', flush=True); input()"
    code = f"from mmn.utils.files import FolderLock; {hold}"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another run is writing to .*parts.*choose another --out"):
            FolderLock(store.folder, patience=0, place="--out")
        holder.communicate("\n")


def test_a_full_disk_ends_the_run_and_keeps_what_is_done(extractor, good_folder, out, monkeypatch):
    store_write, written = FeatureStore.write, []

    def fill(self, video_id, parts, attributes):
        if written:
            raise UserError("the disk is full")
        written.append(video_id)
        store_write(self, video_id, parts, attributes)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "write", fill)
        with pytest.raises(UserError, match="full"):
            extract_videos(extractor, list_videos([str(good_folder)]), out)
    assert len(FeatureStore(out, extractor.recipe).prepare()) == 1


# ---- The tool ----------------------------------------------------------------------------------------------------------


def arguments(clip_folder, videos, out, *more):
    return ["--videos", str(videos), "--backbone", "clip", "--weights", clip_folder, "--fps", "5", "--out", out, *more]


def test_the_tool_on_two_processes_makes_the_same_file(extractor, clip_folder, good_folder, out, tmp_path):
    extract_videos(extractor, list_videos([str(good_folder)]), out)
    both = str(tmp_path / "both.hdf5")
    done = launch(2, "extract_features.py", *arguments(clip_folder, good_folder, both, "--device", "cpu"))
    assert done.returncode == 0, done.stderr[-2000:]
    expected, found = content(out), content(both)
    assert sorted(found) == GOOD
    assert all(found[name] == pytest.approx(expected[name], abs=1e-5) for name in GOOD)
    assert "times real time" in done.stderr


def test_the_tool_ends_with_an_error_after_all_others(clip_folder, video_folder, out):
    done = launch(1, "extract_features.py", *arguments(clip_folder, video_folder, out))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: 1 of 4 videos could not be used, each named above")
    assert "broken.mp4 is no video" in done.stderr
    assert sorted(content(out)) == GOOD


def test_a_killed_tool_goes_on_where_it_was(clip_folder, tmp_path, out):
    folder = tmp_path / "videos"
    folder.mkdir()
    source = odd_videos.write_video(folder / "v00.mp4", tuple(np.arange(200) / 10))
    for number in range(1, 12):
        shutil.copy(source, folder / f"v{number:02}.mp4")
    command = ["tools/extract_features.py", *arguments(clip_folder, folder, out, "--batch-size", "1")]
    process = start_tool(command, tmp_path / "output.txt")
    deadline = time.monotonic() + 60
    parts = folder.parent / "features.hdf5.parts"
    while len(list(parts.glob("*.hdf5"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(parts.glob("*.hdf5")))
    assert 3 <= finished < 12
    done = launch(1, "extract_features.py", *arguments(clip_folder, folder, out))
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{finished} of 12 videos are done already" in done.stderr
    rows = list(content(out).values())
    assert len(rows) == 12
    assert all(row == pytest.approx(rows[0], abs=1e-5) for row in rows)
    with h5py.File(out) as file:
        assert FeatureRecipe.from_attributes(file.attrs, out).weights == os.path.basename(clip_folder)
