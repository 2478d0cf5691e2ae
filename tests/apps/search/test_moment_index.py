"""`MomentIndex`: what users see of a search."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from localizing import RECIPE, checkpoint_content, random_rows
from moment_library import memory_store, plain_iou, plain_search, plain_select, whole_ranking
from tiny import tiny_config

from mmn import MomentIndex, MomentLocalizer, SearchResult
from mmn.apps.localize.identity import model_identity
from mmn.apps.search.confidence import fit_calibration
from mmn.apps.search.index_types import VideoMoments
from mmn.apps.search.indexed_video import BuildSettings, index_info
from mmn.apps.search.ranking_rules import RULES
from mmn.apps.search.vector_store import create_store, open_store
from mmn.structures.query_vectors import QueryVectors
from mmn.utils.errors import ConfigError, DataError, UserError

QUERIES = ["A man throws a ball.", "The woman opens a box in the yard.", "Somebody washes a cup."]


@pytest.fixture(scope="module")
def checkpoint(dataset_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pth"
    cfg = tiny_config(dataset_root, "output", "MODEL.MMN.PREDICTOR.IMPL", "fast")
    torch.save(checkpoint_content(cfg, feature_recipe=RECIPE.to_dict()), path)
    return path


@pytest.fixture(scope="module")
def localizer(checkpoint):
    return MomentLocalizer.from_checkpoint(checkpoint, device="cpu")


def moments_of(encoded, path=""):
    parts = (encoded.moments, encoded.moments_contrastive, encoded.moments_iou)
    moments, *vectors = (part.flatten(0, 1).numpy() for part in parts)
    return VideoMoments(
        encoded.name, encoded.duration, moments, *(part.astype(np.float16) for part in vectors), path=path
    )


@pytest.fixture(scope="module")
def videos(localizer):
    """Five videos of 20 to 40 s, as an index holds them."""
    encoded = [
        localizer.encode_video(random_rows(40, seed), duration=20.0 + 5 * seed, name=f"film_{seed}")
        for seed in range(5)
    ]
    return [moments_of(video, f"{video.name}.mp4") for video in encoded]


@pytest.fixture
def store(localizer, videos):
    return memory_store(videos, model_identity(localizer.encoder), recipe=RECIPE.to_dict())


@pytest.fixture
def index(store, localizer):
    return MomentIndex(store, localizer)


def spans(result):
    return [(moment.video, moment.start, moment.end) for moment in result.moments]


# ---- What is found -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", list(RULES))
def test_moments_are_those_of_the_whole_ranking(index, localizer, videos, rule):
    vectors = localizer.encode_queries(QUERIES)
    results = index.search(QUERIES, top_k=7, per_video=2, rule=rule, exact=True)
    assert [result.query for result in results] == QUERIES
    for row, result in enumerate(results):
        wanted = plain_search(videos, vectors, row, index.plan(7, per_video=2, rule=rule))
        assert spans(result) == [(name, *moment) for name, moment, _ in wanted]
        assert [moment.score for moment in result.moments] == pytest.approx([value for *_, value in wanted], abs=1e-5)


def test_moment_has_the_heads_scores_and_the_path_of_its_video(index, localizer, videos):
    (result,) = index.search(QUERIES[0], top_k=4)
    vectors = localizer.encode_queries(QUERIES[0])
    for moment in result.moments:
        video = videos[int(moment.video[-1])]
        (place,) = np.flatnonzero((video.moments == (moment.start, moment.end)).all(axis=1))
        assert moment.contrastive == pytest.approx(video.contrastive[place] @ vectors.contrastive[0], abs=1e-3)
        iou = video.iou[place].astype(np.float32) @ vectors.iou[0]
        assert moment.iou == pytest.approx(1 / (1 + np.exp(-10 * iou)), abs=1e-3)
        assert moment.path == f"{moment.video}.mp4"


def test_one_video_is_searched_as_the_localizer_does(index, localizer):
    video = localizer.encode_video(random_rows(40, 3), duration=35.0, name="film_3")
    for result, wanted in zip(
        index.search(QUERIES, top_k=5, per_video=None, videos=["film_3"], rule="product"),
        localizer.localize(video, QUERIES, top_k=5),
        strict=True,
    ):
        assert [(m.start, m.end) for m in result.moments] == [(m.start, m.end) for m in wanted.moments]
        assert [m.score for m in result.moments] == pytest.approx([m.score for m in wanted.moments], abs=2e-3)


def test_equal_queries_are_searched_once(index, store):
    results = index.search([QUERIES[0], QUERIES[1], QUERIES[0]])
    assert results[0] == results[2] != results[1]
    assert store.asked[0][0] == 2


@pytest.mark.parametrize(
    "options, passes",
    [
        ({"videos": ["film_1", "film_4"]}, lambda m: m.video in ("film_1", "film_4")),
        ({"min_length": 12.0}, lambda m: m.end - m.start >= 12),
        ({"max_length": 5.0}, lambda m: m.end - m.start <= 5),
    ],
    ids=["videos", "shortest", "longest"],
)
def test_only_moments_that_pass_are_found(index, options, passes):
    for result in index.search(QUERIES, top_k=6, **options):
        assert len(result.moments) == 6 and all(map(passes, result.moments))


def test_limit_per_video_holds_and_overlapping_moments_are_dropped(index):
    for result in index.search(QUERIES, top_k=100, per_video=2, nms_threshold=0.3):
        names = [moment.video for moment in result.moments]
        assert sorted(names) == sorted([f"film_{number}" for number in range(5)] * 2)
        for name in set(names):
            first, second = [(m.start, m.end) for m in result.moments if m.video == name]
            assert plain_iou(first, second) <= 0.3


def test_results_are_frozen(index):
    (result,) = index.search(QUERIES[0])
    with pytest.raises(FrozenInstanceError):
        result.moments[0].start = 0


# ---- By example, and by paraphrases ------------------------------------------------------------------------------------


def test_moments_like_one_are_those_nearest_to_its_vectors(index, videos, localizer):
    example = videos[2]
    start, end = example.moments[20]
    near = index.search_like("film_2", start + 0.05, end - 0.05, top_k=6)
    vectors = QueryVectors(*(part[20:21].astype(np.float32) for part in (example.contrastive, example.iou)))
    apart = lambda name, moment: name != "film_2" or moment[1] <= start + 0.05 or moment[0] >= end - 0.05  # noqa: E731
    ranking = [entry[:3] for entry in whole_ranking(videos, vectors, 0) if apart(entry[0], entry[1])]
    wanted = plain_select(ranking, 6, localizer.nms_threshold, per_video=3)
    assert spans(near) == [(name, *moment) for name, moment, _ in wanted]
    assert near.query == f"like film_2 from {start + 0.05:g} to {end - 0.05:g} s"


def test_example_may_be_of_a_video_that_the_index_lacks(index, localizer, store):
    video = localizer.encode_video(random_rows(30, seed=9), duration=25.0, name="elsewhere")
    near = index.search_like(video, 5.0, 12.0)
    assert len(near.moments) == 10
    store.put([moments_of(video)])
    assert spans(index.search_like("elsewhere", 5.0, 12.0, videos=[f"film_{n}" for n in range(5)])) == spans(near)


def test_encoded_example_that_the_index_has_is_left_out_of_its_answer(index, localizer):
    video = localizer.encode_video(random_rows(40, 1), duration=25.0, name="film_1")
    assert spans(index.search_like(video, 5.0, 12.0)) == spans(index.search_like("film_1", 5.0, 12.0))


@pytest.mark.parametrize(
    "start, end", [(5.0, 5.0), (9.0, 3.0), (-1.0, 3.0), (3.0, 99.0), (float("nan"), 3.0), ("1", 2)]
)
def test_example_that_cannot_be_is_a_sentence(index, start, end):
    with pytest.raises(ConfigError, match="film_1 from .* the video is 25.0 s long"):
        index.search_like("film_1", start, end)


def test_paraphrases_are_searched_by_the_direction_between_them(index, localizer, store, videos):
    vectors = localizer.encode_queries(QUERIES)
    result = index.search_paraphrases(QUERIES, top_k=5, rule="contrastive")
    assert result.query == " / ".join(QUERIES)
    mean = [sum(rows) for rows in (vectors.contrastive, vectors.iou)]
    mean = QueryVectors(*((part / np.linalg.norm(part))[None] for part in mean))
    wanted = plain_search(videos, mean, 0, index.plan(5, rule="contrastive"))
    assert spans(result) == [(name, *moment) for name, moment, _ in wanted]
    assert [moment.score for moment in result.moments] == pytest.approx([value for *_, value in wanted], abs=1e-5)


def test_one_wording_is_a_query(index):
    assert spans(index.search_paraphrases([QUERIES[0]] * 2)) == spans(index.search(QUERIES[0])[0])


# ---- Whether anything fits ---------------------------------------------------------------------------------------------


@pytest.fixture
def calibrated(index, store):
    """The index with a calibration of wrong videos that reach cosines from 0 to 0.5, and that calibration."""
    null = np.random.default_rng(0).uniform(0, 0.5, (50, 20))
    calibration = fit_calibration("val", null, np.zeros(null.shape, bool))
    store.write_info(store.info.with_calibration(json.loads(json.dumps(calibration.to_dict()))))
    return index, calibration


def test_confidence_is_that_of_the_best_cosine_of_the_video(calibrated, localizer, videos):
    index, calibration = calibrated
    assert index.calibration == calibration
    vectors = localizer.encode_queries(QUERIES)
    for names, count in ((None, 5), (["film_0", "film_3", "film_0"], 2)):
        for row, result in enumerate(index.search(QUERIES, videos=names)):
            ranking = whole_ranking(videos, vectors, row)
            for moment in result.moments:
                best = max(entry[2] for entry in ranking if entry[0] == moment.video)
                assert moment.confidence == pytest.approx(calibration.confidence(best, count), abs=1e-4)
            assert result.confidence >= max(moment.confidence for moment in result.moments)


def test_confidence_of_a_result_is_that_of_the_best_cosine_in_the_library(calibrated, localizer, videos):
    index, calibration = calibrated
    vectors = localizer.encode_queries(QUERIES)
    for row, result in enumerate(index.search(QUERIES, top_k=1)):
        best = max(entry[2] for entry in whole_ranking(videos, vectors, row))
        assert result.confidence == pytest.approx(calibration.confidence(best, 5), abs=1e-4)


def test_query_below_the_threshold_gets_no_moments(calibrated):
    index, _ = calibrated
    without = index.search(QUERIES)
    confidence = sorted(result.confidence for result in without)
    assert confidence[0] < confidence[1]
    threshold = (confidence[0] + confidence[1]) / 2
    for before, result in zip(without, index.search(QUERIES, threshold=threshold), strict=True):
        if before.confidence < threshold:
            assert result == SearchResult(before.query, (), before.confidence, nothing_fits=True)
        else:
            assert result == before and not result.nothing_fits
    paraphrases = index.search_paraphrases(QUERIES[:2])
    assert index.search_paraphrases(QUERIES[:2], threshold=1.0).moments in ((), paraphrases.moments)


@pytest.mark.parametrize("options", [{"min_length": 1000.0}, {}], ids=["none passes", "no video"])
def test_query_without_any_moment_has_no_confidence_at_all(calibrated, store, options):
    index, _ = calibrated
    if not options:
        store.remove(list(store.videos()))
    (result,) = index.search(QUERIES[0], threshold=0.1, **options)
    assert result == SearchResult(QUERIES[0], (), 0.0, nothing_fits=True)


def test_confidence_is_none_without_calibration_and_by_example(index, calibrated, store):
    assert {moment.confidence for moment in index.search_like("film_0", 2.0, 9.0).moments} == {None}
    store.write_info(replace(store.info, calibration=None))
    (result,) = index.search(QUERIES[0])
    assert result.confidence is None and {moment.confidence for moment in result.moments} == {None}


def test_threshold_on_an_index_without_calibration_says_how_to_get_one(index):
    with pytest.raises(ConfigError, match="memory is not calibrated.*`mmn calibrate-index --index memory"):
        index.search(QUERIES, threshold=0.5)


# ---- Which model -------------------------------------------------------------------------------------------------------


def test_model_that_did_not_build_the_index_is_refused(store, localizer, dataset_root, tmp_path):
    cfg = tiny_config(dataset_root, "output", "MODEL.MMN.PREDICTOR.IMPL", "fast")
    content = checkpoint_content(cfg)
    next(iter(content["model"].values())).add_(1)
    torch.save(content, tmp_path / "other.pth")
    other = MomentLocalizer.from_checkpoint(tmp_path / "other.pth", device="cpu")
    with pytest.raises(
        ConfigError, match=r"memory was built by a model \(\w{12}\), but the checkpoint .*other.pth \(\w{12}\)"
    ):
        MomentIndex(store, other)


def test_index_of_another_model_in_its_place_is_refused_at_a_refresh(index, store):
    store.write_info(replace(store.info, model="0" * 64))
    with pytest.raises(ConfigError, match="is another model"):
        index.refresh()


def test_opened_index_is_prewarmed_before_the_first_search(store, localizer, monkeypatch):
    calls = []
    monkeypatch.setattr(store, "prewarm", lambda: calls.append("prewarm"))
    MomentIndex(store, localizer)
    assert calls == ["prewarm"]


def test_features_of_another_recipe_are_refused(store, localizer):
    store.write_info(replace(store.info, recipe=replace(RECIPE, fps=3.0).to_dict()))
    with pytest.raises(ConfigError, match=r"of features of colours.*3 fps.*trained on colours.*10 fps.*differs in fps"):
        MomentIndex(store, localizer)


def test_recipe_that_is_not_known_is_no_obstacle(store, localizer):
    store.write_info(replace(store.info, recipe=None))
    assert MomentIndex(store, localizer).search(QUERIES[0])


def test_video_of_another_model_is_no_example(index, checkpoint):
    other = MomentLocalizer.from_checkpoint(checkpoint, device="cpu")
    video = other.encode_video(random_rows(30), duration=25.0, name="elsewhere")
    with pytest.raises(ConfigError, match="elsewhere was encoded by another model"):
        index.search_like(video, 5.0, 12.0)


def test_place_without_an_index_is_a_sentence(localizer, tmp_path):
    with pytest.raises(DataError, match="there is no index at"):
        MomentIndex.open(tmp_path, localizer)


@pytest.mark.parametrize(
    "options, named",
    [
        ({"top_k": 0}, "top_k is 0"),
        ({"per_video": 0}, "per_video is 0"),
        ({"per_video": 1.5}, "per_video is 1.5"),
        ({"nms_threshold": 1.5}, "nms_threshold is 1.5"),
        ({"rule": "produkt"}, "no rule 'produkt'.*product"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"videos": ["film_9"]}, "no video 'film_9'.*did you mean"),
        ({"videos": []}, "list of videos to search is empty"),
        ({"videos": "film_1"}, "give a list of ids"),
        ({"min_length": 5.0, "max_length": 2.0}, "no moment is like that"),
    ],
)
def test_option_that_cannot_be_is_a_sentence(index, options, named):
    with pytest.raises(UserError, match=named) as error:
        index.search(QUERIES, **options)
    assert "\n" not in str(error.value)


# ---- Files -------------------------------------------------------------------------------------------------------------


def folder_of(store, path, localizer, videos):
    """An index of some videos in a folder, kept by a store."""
    with create_store(str(path), index_info(localizer, BuildSettings()), store) as index:
        index.put(videos)
    return str(path)


@pytest.fixture
def place(localizer, videos, tmp_path):
    """An exact index of the first four videos."""
    return folder_of("exact", tmp_path / "library", localizer, videos[:4])


@pytest.mark.parametrize("keeper", ["exact", "lance"])
def test_index_of_a_folder_finds_what_one_in_memory_does(keeper, index, localizer, checkpoint, videos, tmp_path):
    if keeper == "lance":
        pytest.importorskip("lancedb")
    place = folder_of(keeper, tmp_path / "library", localizer, videos[:4])
    names = [f"film_{number}" for number in range(4)]
    for options in ({}, {"rule": "contrastive", "top_k": 50, "per_video": 1}, {"min_length": 9.0, "exact": True}):
        with MomentIndex.open(place, localizer) as opened:
            for found, wanted in zip(
                opened.search(QUERIES, **options), index.search(QUERIES, videos=names, **options), strict=True
            ):
                assert spans(found) == spans(wanted)
    with MomentIndex.open(Path(place), checkpoint, device="cpu") as opened:
        assert spans(opened.search(QUERIES[0])[0]) == spans(index.search(QUERIES[0], videos=names)[0])


def test_what_another_process_adds_is_found_after_a_refresh(place, localizer, videos):
    with MomentIndex.open(place, localizer) as index, open_store(place) as writer:
        before = spans(index.search(QUERIES[0])[0])
        writer.put(videos[4:])
        assert spans(index.search(QUERIES[0])[0]) == before
        with pytest.raises(ConfigError, match="no video 'film_4'"):
            index.search(QUERIES[0], videos=["film_4"])
        index.refresh()
        assert {moment.video for moment in index.search(QUERIES[0], videos=["film_4"])[0].moments} == {"film_4"}


def test_threads_search_while_videos_come_and_go(place, localizer, videos):
    with MomentIndex.open(place, localizer) as index, open_store(place) as writer, ThreadPoolExecutor(4) as pool:
        allowed = [spans(index.search(QUERIES[0], top_k=30)[0])]
        writer.put(videos[4:])
        index.refresh()
        allowed.append(spans(index.search(QUERIES[0], top_k=30)[0]))
        assert allowed[0] != allowed[1]
        searches = [pool.submit(index.search, QUERIES[0], top_k=30) for _ in range(40)]
        for turn in range(10):
            writer.remove(["film_4"]) if turn % 2 == 0 else writer.put(videos[4:])
            index.refresh()
        assert all(spans(search.result()[0]) in allowed for search in searches)


def test_device_that_is_not_there_is_a_sentence(place, localizer):
    with pytest.raises(ConfigError, match="the device is 'cuda:99', but"):
        MomentIndex.open(place, localizer, device="cuda:99")


# ---- Threads, and the package ------------------------------------------------------------------------------------------


def test_threads_find_what_one_thread_finds(index):
    wanted = [spans(index.search(query)[0]) for query in QUERIES]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: spans(index.search(query)[0]), QUERIES * 8))
    assert found == wanted * 8


def test_package_offers_the_index():
    assert sys.modules["mmn"].MomentIndex is MomentIndex
