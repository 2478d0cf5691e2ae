"""What the page asks the model, and the html of the answer."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from mmn.apps.demo.result_html import message_html, results_html
from mmn.apps.demo.video_search import Found
from mmn.utils.errors import ConfigError, DataError


def moment(start, end, score=0.5, iou=0.6):
    return SimpleNamespace(start=start, end=end, score=score, iou=iou)


def found(**changes):
    values = {
        "query": "a man",
        "duration": 20.0,
        "moments": (moment(5, 15), moment(0, 1)),
        "truth": (),
        "ious": None,
        "maps": np.zeros((1, 1, 3), np.uint8),
    }
    return Found(**(values | changes))


def test_moments_are_those_of_the_localizer(search, listed):
    result = search.find(listed[0].path, " A man throws a ball. ")
    (wanted,) = search.localizer.localize(listed[0].path, ["A man throws a ball."], top_k=5)
    assert result.moments == wanted.moments
    assert result.duration == pytest.approx(24.0)
    assert result.ious is None


def test_known_truth_gives_the_iou_of_every_moment(search, listed):
    result = search.find(listed[0].path, "a man", truth=((3, 9), (10, 20)))
    for moment, iou in zip(result.moments, result.ious, strict=True):
        overlaps = [max(0, min(moment.end, end) - max(moment.start, start)) for start, end in result.truth]
        hulls = [max(moment.end, end) - min(moment.start, start) for start, end in result.truth]
        assert iou == pytest.approx(
            max(overlap / hull for overlap, hull in zip(overlaps, hulls, strict=True)), abs=1e-5
        )


def test_maps_are_a_picture(search, listed):
    maps = search.find(listed[0].path, "a man").maps
    assert maps.dtype == np.uint8 and maps.shape[2] == 3 and maps.std() > 10


def test_video_is_encoded_once_until_it_changes_or_is_pushed_out(search, listed, tmp_path, monkeypatch):
    asked = []
    encode = search.localizer.encode_video
    monkeypatch.setattr(search.localizer, "encode_video", lambda path: asked.append(path) or encode(path))
    path = tmp_path / "video.mp4"
    shutil.copyfile(listed[0].path, path)
    for _ in range(2):
        search.encode(str(path))
    assert len(asked) == 1
    shutil.copyfile(listed[0].path, path)
    search.encode(str(path))
    assert len(asked) == 2
    search.num_kept = 1
    search.encode(listed[1].path)
    search.encode(str(path))
    assert len(asked) == 4


def test_file_that_is_no_video_and_empty_query_are_sentences(search, listed, video_folder):
    with pytest.raises(DataError, match="no video"):
        search.find(str(video_folder / "notes.txt"), "a man")
    with pytest.raises(ConfigError, match="must be a text that is not empty"):
        search.find(listed[0].path, "  ")


# ---- Html ------------------------------------------------------------------------------------------------------------


def test_every_moment_is_a_button_with_its_times_and_its_place():
    rows = re.findall(
        r'data-start="([\d.]+)" data-end="([\d.]+)".*?left:([\d.]+)%;width:([\d.]+)%', results_html(found())
    )
    assert [tuple(map(float, row)) for row in rows] == [(5, 15, 25, 50), (0, 1, 0, 5)]


def test_truth_stands_above_the_moments_with_their_iou():
    text = results_html(found(truth=((4, 16),), ious=(0.8333, 0.0)))
    assert re.findall(r'<button type="button" class="([a-z ]+)"', text) == ["moment truth", "moment", "moment"]
    assert "IoU 0.83" in text and "IoU 0.00" in text


def test_bars_stay_on_the_axis():
    rows = re.findall(
        r"left:([\d.]+)%;width:([\d.]+)%", results_html(found(moments=(moment(15, 40), moment(19.9, 20))))
    )
    assert [tuple(map(float, row)) for row in rows] == [(75, 25), (99.5, 0.8)]


def test_moments_that_fit_badly_stand_muted_below_a_sentence():
    text = results_html(found(moments=(moment(5, 15, 0.004, 0.006), moment(0, 1, 0.002, 0.008))))
    assert text.index("Nothing fits well: the best score is 0.00") < text.index('class="moment"')
    assert "(IoU) of at most 0.01" in text
    assert '<div class="found weak">' in text and text.count('class="moment"') == 2
    assert "weak" not in results_html(found()) and "Nothing" not in results_html(found())


def test_no_moment_is_said():
    assert "finds no moment" in results_html(found(moments=()))


def test_texts_from_outside_are_escaped():
    query = '<img src=x onerror="alert(1)">'
    for text in (results_html(found(query=query)), message_html(query), message_html(query, is_error=True)):
        assert "<img" not in text and "&lt;img" in text
