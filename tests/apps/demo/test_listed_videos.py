"""Which videos can be picked, what is known of them, and copies that browsers play."""

import pytest
from small_videos import write_avi

from mmn.apps.demo.listed_videos import ListedVideo, PlayableCopies, find_videos, plays_in_browsers
from mmn.apps.video.decode import probe
from mmn.utils.errors import DataError


def names(videos):
    return [video.name for video in videos]


def test_folder_gives_its_videos_in_alphabetical_order(video_folder):
    assert names(find_videos([str(video_folder)])) == ["garden", "walk"]


def test_files_stay_in_their_order_and_come_once(video_folder):
    paths = [str(video_folder / name) for name in ("walk.mp4", "garden.mp4", "walk.mp4")]
    assert names(find_videos(paths)) == ["walk", "garden"]


def test_videos_of_one_name_are_told_apart(video_folder, tmp_path):
    (tmp_path / "walk.mp4").write_bytes(b"")
    assert names(find_videos([str(video_folder / "walk.mp4"), str(tmp_path)])) == ["walk", "walk (2)"]


def test_of_a_folder_only_the_annotated_videos_are_listed(video_folder):
    (video,) = find_videos([str(video_folder)], str(video_folder / "annotations.json"))
    assert (video.name, list(video.sentences)) == ("walk", ["A man throws a ball.", "A box <b>opens."])


@pytest.mark.parametrize("query", ["A man throws a ball.", " a man  THROWS a ball", "A man throws a ball!"])
def test_truth_is_found_but_for_case_spaces_and_the_full_stop(listed, query):
    assert listed[0].truth(query) == ((3, 9),)


def test_truth_of_another_sentence_is_not_known(listed):
    assert listed[0].truth("A man throws a box.") == listed[1].truth("A man throws a ball.") == ()


def test_sentence_that_happens_twice_has_both_moments():
    video = ListedVideo("v", "v.mp4", {"A dog.": ((0, 1), (5, 6))})
    assert video.truth("a dog") == ((0, 1), (5, 6))


@pytest.mark.parametrize("place, named", [("none.mp4", "none.mp4 does not exist"), (".", "has no video file")])
def test_place_without_a_video_is_named(tmp_path, place, named):
    with pytest.raises(DataError, match=named):
        find_videos([str(tmp_path / place)])


def test_annotations_of_other_videos_are_named(video_folder, tmp_path):
    (tmp_path / "other.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="annotations have no video of the folder"):
        find_videos([str(tmp_path)], str(video_folder / "annotations.json"))


def test_mp4_with_h264_is_played_as_it_is(video_folder):
    path = str(video_folder / "walk.mp4")
    assert PlayableCopies().path_of(path) == path


def test_video_that_browsers_do_not_play_gets_a_copy_that_they_do(tmp_path):
    path = str(write_avi(tmp_path / "old.avi"))
    copies = PlayableCopies()
    copy = copies.path_of(path)
    assert not plays_in_browsers(path) and plays_in_browsers(copy)
    assert probe(copy).duration == pytest.approx(probe(path).duration, abs=0.1)
    assert copies.path_of(path) == copy
