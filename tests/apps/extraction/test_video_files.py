"""Which videos are meant, and who extracts which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.extraction.video_files import VideoFile, list_videos, share_out
from mmn.utils.errors import ConfigError, DataError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return str(folder)


def test_folders_are_looked_through_and_files_taken_as_they_are(tmp_path):
    folder = touch(tmp_path / "a", "two.MP4", "deeper/one.mkv", "notes.txt", ".hidden.mp4")
    odd = touch(tmp_path, "odd.ext") + "/odd.ext"
    assert [video.video_id for video in list_videos([folder, odd, odd])] == ["one", "two", "odd"]


def test_ids_keep_their_dots_and_their_extension_if_asked(tmp_path):
    folder = touch(tmp_path, "s13-d21.avi", "a.b.mp4")
    assert [video.video_id for video in list_videos([folder])] == ["a.b", "s13-d21"]
    assert [video.video_id for video in list_videos([folder], keep_extension=True)] == ["a.b.mp4", "s13-d21.avi"]


def test_two_videos_of_one_id_are_refused_with_both(tmp_path):
    folder = touch(tmp_path, "a/one.mp4", "b/one.mkv")
    with pytest.raises(ConfigError, match=r"a/one\.mp4 and .*b/one\.mkv would both be 'one'"):
        list_videos([folder])


def test_a_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no video in it"):
        list_videos([touch(tmp_path, "notes.txt")])


def test_a_file_that_does_not_exist_is_left_to_decoding(tmp_path):
    assert list_videos([str(tmp_path / "none.mp4")])[0].size == 0


@given(st.lists(st.integers(0, 10**9), max_size=30), st.integers(1, 7))
def test_every_video_has_one_process_and_no_load_could_be_moved_for_the_better(sizes, num_processes):
    videos = [VideoFile(f"v{number:02}", "", size) for number, size in enumerate(sizes)]
    shares = share_out(videos, num_processes)
    assert sorted(video.video_id for share in shares for video in share) == [video.video_id for video in videos]
    loads = [sum(max(video.size, 1) for video in share) for share in shares]
    heaviest = shares[loads.index(max(loads))]
    assert all(max(loads) - min(loads) <= max(video.size, 1) for video in heaviest)
