"""The Python API, against evaluation and against plain loops."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from localizing import DURATIONS, RECIPE, checkpoint_content, colour_extractor, random_rows
from small_videos import write_plain_video
from tiny import DIM, SYNTHETIC_CONFIG, run_python, tiny_config, tiny_options
from torch.testing import assert_close
from torch.utils.data import DataLoader

from mmn import MomentLocalizer
from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.localize.search_windows import window_lengths
from mmn.config.load import override_config
from mmn.data import Splits, build_dataset
from mmn.data.collate import Collator
from mmn.data.tokenizer import build_tokenizer
from mmn.evaluation.inference import MomentRanker, predict
from mmn.utils.checkpoint import export_weights
from mmn.utils.errors import CheckpointError, ConfigError, DataError, UserError

QUERIES = ["A man throws a ball.", "The woman opens a box in the yard.", "Somebody washes a cup."]
KEY = "MODEL.MMN.TEXT_ENCODER.PRETRAINED"


@pytest.fixture(scope="module")
def cfg(dataset_root):
    return tiny_config(dataset_root, "output", "MODEL.MMN.PREDICTOR.IMPL", "fast")


@pytest.fixture(scope="module")
def write(cfg, tmp_path_factory):
    """(changes of its content, None leaves a part out) -> the path of a checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def write_checkpoint(**changes):
        path = folder / f"{len(os.listdir(folder))}.pth"
        torch.save(checkpoint_content(cfg, **changes), path)
        return path

    return write_checkpoint


@pytest.fixture(scope="module")
def path(write):
    return write()


@pytest.fixture(scope="module")
def localizer(path):
    return MomentLocalizer.from_checkpoint(path, device="cpu")


@pytest.fixture(scope="module")
def video(localizer):
    return localizer.encode_video(random_rows(50), duration=25.0, name="walk")


@pytest.fixture(scope="module")
def video_file(tmp_path_factory):
    return write_plain_video(tmp_path_factory.mktemp("videos") / "colours.mp4", num_frames=30, fps=10)


def values_of(results):
    """[queries, moments, 5] of results that have equally many moments."""
    columns = ("start", "end", "score", "contrastive", "iou")
    return torch.tensor([[[getattr(m, name) for name in columns] for m in result.moments] for result in results])


# ---- What is found -----------------------------------------------------------------------------------------------------


def test_moments_are_those_of_evaluation(localizer, cfg):
    dataset = build_dataset(cfg, Splits(cfg).find("synthetic_test"), build_tokenizer(cfg))
    ranker = MomentRanker(localizer.cells, cfg.TEST.NMS_THRESH, cfg.TEST.CONTRASTIVE_SCORE_POW, 6)
    loader = DataLoader(dataset, 5, collate_fn=Collator(dataset.pad_id))
    wanted = predict(localizer.model, loader, ranker, torch.device("cpu"))
    found = []
    for video in dataset.videos:
        rows = dataset.features.read(video.video_id)
        found += localizer.localize(rows, video.sentences, top_k=6, duration=video.duration)
    found = values_of(found)
    assert_close(found[..., 2], wanted.scores, rtol=1e-5, atol=1e-6)
    is_same = (found[..., :2] == wanted.moments).all(dim=-1)
    assert is_same.float().mean() > 0.95  # where two scores differ by rounding alone, either moment may be first


def test_score_is_the_product_of_the_heads_scores(localizer, video, cfg):
    _, _, score, contrastive, iou = values_of(localizer.localize(video, QUERIES)).unbind(-1)
    assert_close(score, ((contrastive + 1) / 2) ** cfg.TEST.CONTRASTIVE_SCORE_POW * iou)


@pytest.mark.parametrize("score", ["contrastive", "iou"])
def test_score_is_the_one_of_the_config_of_the_checkpoint(write, cfg, score):
    localizer = MomentLocalizer.from_checkpoint(write(config=override_config(cfg, ["TEST.SCORE", score]).dump()))
    video = localizer.encode_video(random_rows(50), duration=25.0, name="walk")
    _, _, found, contrastive, iou = values_of(localizer.localize(video, QUERIES)).unbind(-1)
    assert_close(found, {"contrastive": (contrastive + 1) / 2, "iou": iou}[score])
    maps = localizer.score_maps(video, QUERIES)
    cells = localizer.cells.mask.numpy()
    wanted = {"contrastive": (maps.contrastive + 1) / 2, "iou": maps.iou}[score]
    assert maps.final[..., cells] == pytest.approx(wanted[..., cells])


def test_maps_hold_the_scores_of_the_moments_that_are_found(localizer, video):
    maps = localizer.score_maps(video, QUERIES)
    clip = video.duration / localizer.cells.num_clips
    for number, result in enumerate(localizer.localize(video, QUERIES)):
        for moment in result.moments:
            cell = (number, 0, round(moment.start / clip), round(moment.end / clip) - 1)
            found = [part[cell] for part in (maps.contrastive, maps.iou, maps.final)]
            assert found == pytest.approx([moment.contrastive, moment.iou, moment.score])
    assert maps.final.max((1, 2, 3)) == pytest.approx([r.moments[0].score for r in localizer.localize(video, QUERIES)])


def test_moments_lie_in_the_video_and_descend_in_score(localizer, video):
    start, end, score, _, _ = values_of(localizer.localize(video, QUERIES, top_k=9)).unbind(-1)
    assert (start >= 0).all() and (start < end).all() and (end <= video.duration + 1e-4).all()
    assert (score.diff(dim=1) <= 0).all()


def test_top_k_counts_moments_from_the_best_on(localizer, video):
    (all_of_them,) = localizer.localize(video, QUERIES[0], top_k=10**6)
    (best,) = localizer.localize(video, QUERIES[0], top_k=2)
    assert best.moments == all_of_them.moments[:2]
    assert 2 < len(all_of_them.moments) < len(localizer.cells)


def test_results_come_in_the_order_of_the_queries(localizer, video):
    assert [result.query for result in localizer.localize(video, QUERIES)] == QUERIES
    alone = [localizer.localize(video, query)[0] for query in QUERIES]
    assert_close(values_of(alone), values_of(localizer.localize(video, QUERIES)), rtol=1e-5, atol=1e-6)


def test_results_cannot_be_changed(localizer, video):
    (result,) = localizer.localize(video, QUERIES[0])
    with pytest.raises(FrozenInstanceError):
        result.moments[0].start = 3.0
    with pytest.raises(FrozenInstanceError):
        result.query = "another"


@pytest.mark.parametrize("dtype", [np.float64, np.float16, torch.float32, torch.bfloat16], ids=str)
def test_features_of_any_float_type_are_taken(localizer, dtype):
    rows = torch.from_numpy(random_rows(20)).bfloat16().half().float().numpy()  # what all the types can hold
    given = torch.from_numpy(rows).to(dtype) if isinstance(dtype, torch.dtype) else rows.astype(dtype)
    wanted = localizer.encode_video(rows, duration=9.0)
    assert torch.equal(localizer.encode_video(given, duration=9.0).moments_iou, wanted.moments_iou)


# ---- What is computed --------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(localizer, monkeypatch):
    """(method, number of rows of its first argument) of every call of the network."""
    made = []
    for name in ("encode_videos", "encode_sentences"):
        method = getattr(localizer.model, name)
        monkeypatch.setattr(
            localizer.model, name, lambda *args, n=name, m=method: (made.append((n, len(args[0]))), m(*args))[1]
        )
    return made


def test_sentences_are_one_forward_and_equal_ones_are_encoded_once(localizer, video, calls):
    results = localizer.localize(video, [QUERIES[0], QUERIES[1], QUERIES[0], QUERIES[0]])
    assert calls == [("encode_sentences", 2)]
    assert results[0] == results[2] == results[3] != results[1]


def test_vectors_of_queries_are_those_that_moments_are_compared_with(localizer, video):
    vectors = localizer.encode_queries(QUERIES)
    assert len(vectors) == len(QUERIES) and vectors.contrastive.dtype == vectors.iou.dtype == np.float32
    for number, result in enumerate(localizer.localize(video, QUERIES)):
        for moment in result.moments:
            place = (video.moments[0] == torch.tensor([moment.start, moment.end])).all(dim=1).nonzero().item()
            cosines = [
                float(getattr(video, f"moments_{head}")[0, place] @ torch.from_numpy(vectors.vectors(head)[number]))
                for head in ("contrastive", "iou")
            ]
            wanted = [moment.contrastive, float(torch.tensor(moment.iou).logit()) / 10]
            assert cosines == pytest.approx(wanted, abs=1e-5)


def test_many_queries_are_encoded_in_parts_and_equal_ones_once(localizer, calls, monkeypatch):
    wanted = localizer.encode_queries(QUERIES)
    calls.clear()
    monkeypatch.setattr("mmn.apps.localize.localizer.SENTENCES_AT_ONCE", 2)
    vectors = localizer.encode_queries([*QUERIES, QUERIES[0]])
    assert calls == [("encode_sentences", 2), ("encode_sentences", 1)]
    for head in ("contrastive", "iou"):
        assert_close(vectors.vectors(head)[:3], wanted.vectors(head), rtol=1e-5, atol=1e-6)
        assert (vectors.vectors(head)[3] == vectors.vectors(head)[0]).all()


def test_video_is_encoded_once_for_many_queries(localizer, calls):
    video = localizer.encode_video(random_rows(30), duration=9.0)
    for query in QUERIES:
        localizer.localize(video, query)
    assert [call for call in calls if call[0] == "encode_videos"] == [("encode_videos", 1)]


def test_windows_go_through_the_network_in_batches(localizer, calls):
    localizer.encode_video(random_rows(100), duration=50.0, window=10.0, overlap=5.0)  # 9 windows
    sizes = [rows for name, rows in calls if name == "encode_videos"]
    assert sum(sizes) == 9
    assert max(sizes) == localizer.batch_size == 2


def test_nothing_takes_gradients(localizer, video):
    assert not any(parameter.requires_grad for parameter in localizer.model.parameters())
    assert not video.moments_iou.requires_grad
    assert not localizer.model.training


# ---- Threads -----------------------------------------------------------------------------------------------------------


def test_threads_find_what_one_thread_finds(path):
    jobs = [(random_rows(20 + number, number), QUERIES[number % 3 :]) for number in range(24)]

    def find(localizer, job):
        return localizer.localize(job[0], job[1], duration=12.0)

    alone = MomentLocalizer.from_checkpoint(path, device="cpu")
    wanted = [find(alone, job) for job in jobs]
    shared = MomentLocalizer.from_checkpoint(path, device="cpu")  # new: the first calls make what the network keeps
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: find(shared, job), jobs))
    for one, other in zip(wanted, found, strict=True):
        assert_close(values_of(one), values_of(other), rtol=1e-5, atol=1e-6)


def test_videos_go_through_the_network_one_after_the_other(path, monkeypatch):
    localizer = MomentLocalizer.from_checkpoint(path, device="cpu")
    encode, inside, most = localizer.model.encode_videos, [], []

    def watched(feats):
        inside.append(threading.get_ident())
        most.append(len(inside))
        time.sleep(0.01)
        try:
            return encode(feats)
        finally:
            inside.pop()

    monkeypatch.setattr(localizer.model, "encode_videos", watched)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: localizer.encode_video(random_rows(9, seed), duration=5.0), range(8)))
    assert most == [1] * 8


# ---- Long videos -------------------------------------------------------------------------------------------------------


def naive_search(localizer, rows, duration, spans, query, top_k):
    """Every window as a video of its own; each of its moments is asked about in all that hold it, in plain Python."""
    clips, candidates = localizer.cells.num_clips, []
    windows = [(first / len(rows) * duration, stop / len(rows) * duration) for first, stop in spans]
    cells = localizer.cells.mask.nonzero().tolist()
    moments, scores = [], []
    for (first, stop), (start, end) in zip(spans, windows, strict=True):
        maps = localizer.score_maps(rows[first:stop], query, duration=end - start, window=end - start)
        clip = (end - start) / clips
        moments.append({(row, col): (start + row * clip, start + (col + 1) * clip) for row, col in cells})
        scores.append({(row, col): power_16(maps, row, col) for row, col in cells})
    for own in moments:
        for moment in own.values():
            shares = []
            for (start, end), others, values in zip(windows, moments, scores, strict=True):
                if start - 1e-3 <= moment[0] and moment[1] <= end + 1e-3:
                    best = max(cells, key=lambda cell: naive_iou(moment, others[tuple(cell)]))
                    shares.append(values[tuple(best)] * naive_iou(moment, others[tuple(best)]))
            candidates.append((sum(shares) / len(shares), moment))
    kept = []
    for score, moment in sorted(candidates, reverse=True):
        if all(naive_iou(moment, other) <= localizer.nms_threshold for _, other in kept):
            kept.append((score, moment))
        if len(kept) == top_k:
            return kept
    return kept


def power_16(maps, row, col):
    return ((maps.contrastive[0, 0, row, col] + 1) / 2) ** 16 * maps.iou[0, 0, row, col]


def naive_iou(one, other):
    overlap = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return overlap / (max(one[1], other[1]) - min(one[0], other[0]))


def test_moments_are_asked_about_in_every_window_that_holds_them(localizer):
    rows, spans = random_rows(120, seed=3), [(0, 40), (20, 60), (40, 80), (60, 100), (80, 120)]
    wanted = naive_search(localizer, rows, 60.0, spans, QUERIES[0], top_k=4)
    (found,) = localizer.localize(rows, QUERIES[0], top_k=4, duration=60.0, window=20.0, overlap=10.0)
    assert [moment.score for moment in found.moments] == pytest.approx([score for score, _ in wanted], rel=1e-4)
    for moment, (_, bounds) in zip(found.moments, wanted, strict=True):
        assert (moment.start, moment.end) == pytest.approx(bounds, abs=1e-3)


def test_windows_are_told(localizer):
    video = localizer.encode_video(random_rows(120), duration=60.0, window=20.0, overlap=10.0)
    assert video.windows == ((0, 20), (10, 30), (20, 40), (30, 50), (40, 60))


@pytest.mark.parametrize(
    "duration, lengths",
    [(DURATIONS["longest"], [60.0]), (61.0, [60.0, 41.6, 28.8, 20.0]), (200.0, [60.0, 41.6, 28.8, 20.0])],
    ids=["longest", "longer", "long"],
)
def test_video_longer_than_all_that_were_trained_on_is_searched_at_several_scales(localizer, duration, lengths):
    windows = localizer.encode_video(random_rows(400), duration=duration).windows
    found = list(dict.fromkeys(round(end - start, 6) for start, end in windows))
    assert found == pytest.approx(lengths, abs=duration / 400)
    for length in found:
        starts = [start for start, end in windows if end - start == pytest.approx(length)]
        assert starts[0] == 0 and starts[-1] == pytest.approx(duration - length)
        assert all(
            later - start <= length / 2 + duration / 400 for start, later in zip(starts, starts[1:], strict=False)
        )


def test_window_as_long_as_the_video_searches_it_whole(localizer):
    assert len(localizer.encode_video(random_rows(40), duration=500.0, window=float("inf")).windows) == 1


def test_without_known_training_durations_there_is_one_window(write):
    localizer = MomentLocalizer.from_checkpoint(write(train_durations=None), device="cpu")
    assert len(localizer.encode_video(random_rows(40), duration=1e4).windows) == 1
    assert len(localizer.encode_video(random_rows(40), duration=1e4, window=5e3).windows) == 3


def test_window_is_the_video_up_to_the_longest_one_trained_on():
    lengths = [len(window_lengths(seconds, None, None, DURATIONS)) for seconds in (1.0, 60.0, 60.1)]
    assert lengths == [1, 1, 4] and window_lengths(1.0, None, None, DURATIONS) == (1.0,)


# ---- Checkpoints -------------------------------------------------------------------------------------------------------


def test_exported_weights_find_the_same(path, video, localizer, tmp_path):
    out = tmp_path / "weights.safetensors"
    export_weights(str(path), str(out))
    exported = MomentLocalizer.from_checkpoint(out, device="cpu")
    assert exported.train_durations == DURATIONS
    found = exported.localize(random_rows(50), QUERIES, duration=25.0)
    assert found == localizer.localize(video, QUERIES)


def test_old_checkpoint_takes_a_config(write, cfg, dataset_root, video, localizer):
    old = write(config=None)
    wanted = localizer.localize(video, QUERIES)
    for config, options in ((cfg, []), (SYNTHETIC_CONFIG, tiny_options(dataset_root, "output"))):
        found = MomentLocalizer.from_checkpoint(old, config, "cpu", options).localize(
            random_rows(50), QUERIES, duration=25.0
        )
        assert_close(values_of(found), values_of(wanted), rtol=1e-4, atol=1e-5)


def test_old_checkpoint_without_a_config_is_refused(write):
    with pytest.raises(CheckpointError, match=r"\.pth does not carry its config.*config=.*--config-file"):
        MomentLocalizer.from_checkpoint(write(config=None))


def test_config_of_another_model_is_refused(path, cfg):
    with pytest.raises(CheckpointError, match="does not fit the model.*give the config it was trained with$"):
        MomentLocalizer.from_checkpoint(path, cfg, options=["MODEL.MMN.JOINT_SPACE_SIZE", 4])


def test_device_of_the_training_does_not_bind(write, cfg):
    elsewhere = cfg.dump().replace("DEVICE: cpu", "DEVICE: cuda:7")
    assert "cuda:7" in elsewhere
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert MomentLocalizer.from_checkpoint(write(config=elsewhere)).device.type == wanted


def test_text_encoder_that_is_elsewhere_is_named_with_what_to_set(write, cfg, dataset_root):
    encoder = str(dataset_root / "synthetic" / "text_encoder")
    moved = write(config=cfg.dump().replace(encoder, "/nowhere/to/be/found"))
    with pytest.raises(ConfigError, match=rf"/nowhere/to/be/found.*options=\['{KEY}', FOLDER\]"):
        MomentLocalizer.from_checkpoint(moved)
    assert MomentLocalizer.from_checkpoint(moved, device="cpu", options=[KEY, encoder])


def test_model_of_another_task_is_refused(path):
    with pytest.raises(ConfigError, match=r"\.pth is of MODEL.ARCHITECTURE 'STVG'"):
        MomentLocalizer.from_checkpoint(path, options=["MODEL.ARCHITECTURE", "STVG"])


def test_options_may_be_numbers_as_well_as_texts(path):
    localizer = MomentLocalizer.from_checkpoint(
        path, device="cpu", options=["TEST.NMS_THRESH", 0.25, "TEST.BATCH_SIZE", "3"]
    )
    assert (localizer.nms_threshold, localizer.batch_size) == (0.25, 3)


def test_vectors_stay_where_they_are_told_to(localizer):
    video = localizer.encode_video(random_rows(9), duration=5.0, keep_on="cpu")
    assert video.moments_iou.device == video.moments_contrastive.device == video.moments.device == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_finds_what_the_cpu_finds(path, video, localizer):
    on_gpu = MomentLocalizer.from_checkpoint(path, device="cuda")
    for keep_on in (None, "cpu"):
        encoded = on_gpu.encode_video(random_rows(50), duration=25.0, keep_on=keep_on)
        scores = values_of(on_gpu.localize(encoded, QUERIES))[..., 2]
        assert_close(scores, values_of(localizer.localize(video, QUERIES))[..., 2], rtol=1e-3, atol=1e-4)


# ---- Video files and recipes -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_recipe(write):
    localizer = MomentLocalizer.from_checkpoint(write(feature_recipe=RECIPE.to_dict()), device="cpu")
    localizer.use_extractor(colour_extractor())
    return localizer


def test_video_file_is_its_features_and_its_length(with_recipe, video_file):
    video = with_recipe.encode_video(video_file)
    assert (video.name, video.duration) == ("colours", pytest.approx(3.0))
    extractor = colour_extractor()
    rows = np.concatenate(list(extractor.encode(extractor.frames(video_file), "")))
    assert len(rows) == 30
    assert with_recipe.localize(str(video_file), QUERIES) == with_recipe.localize(
        rows, QUERIES, duration=video.duration
    )


def test_progress_is_told_frame_by_frame(with_recipe, video_file):
    told = []
    with_recipe.encode_video(video_file, on_progress=lambda seconds, duration: told.append((seconds, duration)))
    assert [seconds for seconds, _ in told] == pytest.approx([number / 10 for number in range(30)])
    assert [duration for _, duration in told] == pytest.approx([3.0] * 30)


def test_recipe_of_the_checkpoint_makes_the_extractor(write, monkeypatch, video_file):
    asked = []

    def from_recipe(recipe, weights, device):
        asked.append((recipe, weights, device))
        return colour_extractor()

    monkeypatch.setattr(FeatureExtractor, "from_recipe", from_recipe)
    localizer = MomentLocalizer.from_checkpoint(
        write(feature_recipe=RECIPE.to_dict()), device="cpu", backbone_weights="a.pth"
    )
    for _ in range(2):
        localizer.encode_video(video_file)
    assert asked == [(RECIPE, "a.pth", torch.device("cpu"))]


def test_extractor_that_is_not_to_be_had_is_named_with_what_to_set(write, video_file):
    localizer = MomentLocalizer.from_checkpoint(write(feature_recipe=RECIPE.to_dict()), device="cpu")
    with pytest.raises(ConfigError, match=r"features that the checkpoint .*\.pth was trained on.*--backbone-weights"):
        localizer.encode_video(video_file)  # there is no backbone `colours`


def test_checkpoint_without_a_recipe_asks_for_features_or_an_extractor(localizer, video_file):
    with pytest.raises(ConfigError, match=r"checkpoint .*\.pth does not say which features.*--features, or --backbone"):
        localizer.encode_video(video_file)


def test_features_of_another_recipe_are_refused_with_both_named(with_recipe):
    other = replace(RECIPE, backbone="shapes")
    with pytest.raises(DataError, match="trained on features of colours mean.*are shapes mean.*differs in backbone"):
        with_recipe.encode_video(random_rows(9), duration=5.0, recipe=other)
    with pytest.raises(DataError, match="trained on features of colours mean.*are shapes mean.*differs in backbone"):
        with_recipe.use_extractor(colour_extractor(other))


def test_features_of_the_same_recipe_are_taken(with_recipe):
    assert with_recipe.encode_video(random_rows(9), duration=5.0, recipe=replace(RECIPE, versions={"av": "2"}))


# ---- Mistakes ----------------------------------------------------------------------------------------------------------

ROWS = random_rows(9)
MISTAKES = {
    "no top_k": ({"top_k": 0}, "top_k is 0"),
    "half a top_k": ({"top_k": 1.5}, "top_k is 1.5"),
    "no query": ({"queries": []}, "at least one sentence"),
    "a blank query": ({"queries": ["a man", " \n"]}, "query 2 of 2"),
    "an empty query": ({"queries": ""}, "query 1 of 1"),
    "a number for a query": ({"queries": [3]}, "query 1 of 1 is 3"),
    "queries that are no list": ({"queries": 7}, "the queries are 7"),
    "half a character": ({"queries": ["\ud800"]}, "no valid Unicode"),
    "features without a duration": ({"duration": None}, "give the duration"),
    "a duration of nothing": ({"duration": 0}, "duration of 0 seconds"),
    "a negative duration": ({"duration": -1.0}, "duration of -1.0 seconds"),
    "a NaN duration": ({"duration": float("nan")}, "duration of nan"),
    "a duration in words": ({"duration": "long"}, "duration of 'long'"),
    "features of another width": ({"video": ROWS[:, :3]}, rf"shape \[9, 3\].*\[rows, {DIM}\]"),
    "no feature row": ({"video": ROWS[:0]}, "shape"),
    "features in a row": ({"video": ROWS[0]}, "shape"),
    "a NaN feature": ({"video": np.full((3, DIM), np.nan)}, "not finite"),
    "a list for a video": ({"video": [[0.0] * DIM]}, "not a list"),
    "a window of nothing": ({"window": 0.0}, "the window is 0"),
    "a NaN window": ({"window": float("nan")}, "the window is nan"),
    "an overlap of a window": ({"window": 2.0, "overlap": 2.0}, "overlap is 2.0 seconds in windows of 2"),
    "an overlap of the usual window": ({"overlap": 40.0, "duration": 90.0}, "overlap is 40.0 seconds in windows of 20"),
    "a negative overlap": ({"window": 2.0, "overlap": -1.0}, "overlap is -1.0"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistake_is_a_sentence(localizer, kind):
    changes, named = MISTAKES[kind]
    given = {"video": ROWS, "queries": QUERIES[:1], "duration": 5.0} | changes
    with pytest.raises(UserError, match=named) as error:
        localizer.localize(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content, named", [(None, "does not exist"), (b"", "no video"), (b"words, not pictures" * 99, "no video")]
)
def test_file_that_is_no_video_is_named(with_recipe, tmp_path, content, named):
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"film.mp4.*{named}"):
        with_recipe.localize(path, QUERIES)


def test_windows_are_refused_before_features_are_extracted(with_recipe, video_file, monkeypatch):
    monkeypatch.setattr(with_recipe.features, "rows", lambda *args: pytest.fail("extracted"))
    with pytest.raises(ConfigError, match="the window is -1"):
        with_recipe.encode_video(video_file, window=-1.0)


def test_numbers_of_numpy_are_numbers(localizer):
    rows = random_rows(9)
    found = localizer.localize(rows, QUERIES, np.int64(2), duration=np.float32(5.0))
    assert found == localizer.localize(rows, QUERIES, 2, duration=5.0)


def test_missing_decoder_names_the_extra(with_recipe, video_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"PyAV.*pip install \.\[video\]"):
        with_recipe.localize(video_file, QUERIES)


def test_duration_of_a_video_file_is_its_own(with_recipe, video_file):
    with pytest.raises(ConfigError, match="duration and recipe go with features"):
        with_recipe.encode_video(video_file, duration=3.0)


def test_video_of_another_model_is_refused(path, video):
    with pytest.raises(ConfigError, match="walk was encoded by another model"):
        MomentLocalizer.from_checkpoint(path, device="cpu").localize(video, QUERIES)


def test_encoded_video_takes_no_further_encoding(localizer, video):
    with pytest.raises(ConfigError, match="walk is encoded already: give window to encode_video"):
        localizer.localize(video, QUERIES, window=3.0)


@pytest.mark.parametrize("device", ["cuda:99", "nowhere"])
def test_device_that_is_not_there_is_named(path, device):
    with pytest.raises(ConfigError, match=device):
        MomentLocalizer.from_checkpoint(path, device=device)


def test_importing_the_package_loads_no_library():
    done = run_python("-c", "import mmn, sys; print({'torch', 'numpy', 'transformers', 'av'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


def test_package_has_no_other_names():
    import mmn

    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mmn.no_such_name
