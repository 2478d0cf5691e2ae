"""tools/search.py and tools/calibrate_index.py: what they print and write, and how they refuse."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from localizing import checkpoint_content
from processes import launch
from tiny import DIM, tiny_config

from mmn import MomentIndex, MomentLocalizer
from mmn.apps.localize.trained_model import checkpoint_config
from mmn.apps.search.build_index import build_index
from mmn.apps.search.calibrate_index import calibrate_index, own_videos
from mmn.apps.search.confidence import Calibration
from mmn.apps.search.exact_store import ExactStore
from mmn.apps.search.search_command import format_found, open_index, search_index
from mmn.apps.search.vector_store import open_store
from mmn.apps.search.video_collections import FeatureCollection
from mmn.data.annotations import VideoAnnotation
from mmn.evaluation.prediction_file import read_predictions
from mmn.utils.checkpoint import load_checkpoint
from mmn.utils.clock import clock
from mmn.utils.errors import ConfigError, DataError, UserError

QUERIES = ["A man throws a ball.", "Somebody washes a cup."]
CATALOG = "library_{split}:\n  annotation: library/{split}.json\n  features: library/features.hdf5\n"


@pytest.fixture(scope="module")
def root(dataset_root, tmp_path_factory):
    """A DATASETS.ROOT with splits `library_val` of 12 and `library_test` of 9 videos, of 5 sentences each."""
    root = tmp_path_factory.mktemp("library")
    (root / "library").mkdir()
    generator = np.random.default_rng(0)
    with h5py.File(root / "library" / "features.hdf5", "w") as file:
        for split, num_videos in (("val", 12), ("test", 9)):
            videos = {}
            for number in range(num_videos):
                name = f"{split}_{number}"
                file[name] = generator.standard_normal((40, DIM)).astype(np.float32)
                sentences = [f"A man throws ball {number} {word}." for word in ("up", "down", "here", "there", "away")]
                times = [[5.0, 12.0]] * len(sentences)
                videos[name] = {"duration": 25.0 + number, "sentences": sentences, "timestamps": times}
            (root / "library" / f"{split}.json").write_text(json.dumps(videos))
    catalog = "".join(CATALOG.format(split=split) for split in ("val", "test"))
    (root / "catalog.yaml").write_text(catalog)
    return root


@pytest.fixture(scope="module")
def checkpoint(dataset_root, root, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pth"
    options = {
        "PATHS_CATALOG": root / "catalog.yaml",
        "DATASETS.VAL": "('library_val',)",
        "DATASETS.TEST": "('library_test',)",
    }
    cfg = tiny_config(dataset_root, "output", *(str(part) for pair in options.items() for part in pair))
    cfg.defrost()
    cfg.DATASETS.ROOT = str(root)
    torch.save(checkpoint_content(cfg), path)
    return str(path)


@pytest.fixture(scope="module")
def localizer(checkpoint):
    return MomentLocalizer.from_checkpoint(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def place(localizer, root, tmp_path_factory):
    """An index of the test videos, calibrated."""
    place = str(tmp_path_factory.mktemp("place") / "index")
    features = FeatureCollection(
        str(root / "library" / "features.hdf5"), "{vid}", DIM, str(root / "library" / "test.json")
    )
    build_index(localizer, features, place, "exact")
    return place


@pytest.fixture(scope="module")
def calibrated(localizer, checkpoint, place):
    calibrate_index(localizer, checkpoint_config(load_checkpoint(checkpoint), checkpoint, None, ()), place)
    return place


@pytest.fixture
def index(calibrated, localizer):
    with MomentIndex.open(calibrated, localizer) as index:
        yield index


def table_rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


# ---- Searching ---------------------------------------------------------------------------------------------------------


def test_table_has_the_moments_of_each_query(index, calibrated, capsys):
    search_index(index, QUERIES, options={"top_k": 3})
    text = capsys.readouterr().out
    results = index.search(QUERIES, top_k=3)
    assert text == format_found(index, results) + "\n"
    assert text.startswith(f"{calibrated}: 9 videos with {9 * 136} moments\n\nA man throws a ball.  (confidence ")
    rows = table_rows(text)
    assert [row[0] for row in rows] == ["", "1", "2", "3"] * 2
    for row, moment in zip(rows[1:4], results[0].moments, strict=True):
        assert row[1:4] == [moment.video, clock(moment.start), clock(moment.end)]
        numbers = (moment.score, moment.contrastive, moment.iou, moment.confidence)
        assert row[4:] == [f"{number:.3f}" for number in numbers]


def test_query_that_nothing_fits_is_said_to_be_so(index, capsys, tmp_path):
    (result,) = index.search(QUERIES[0])
    assert result.confidence < 1
    path = str(tmp_path / "found.jsonl")
    search_index(index, QUERIES[:1], threshold=1.0, json_path=path)
    text = capsys.readouterr().out
    assert "Nothing in this corpus fits: the confidence is below 1." in text and not table_rows(text)
    with open(path, encoding="utf-8") as file:
        (record,) = map(json.loads, file)
    assert (record["vid"], record["pred_relevant_windows"]) == ("", [])


def test_weak_answer_is_said_before_its_table(index):
    (result,) = index.search(QUERIES[0], top_k=2)
    for confidence, is_weak in ((0.2, True), (0.9, False)):
        text = format_found(index, [replace(result, confidence=confidence)])
        sentence = text.find(f"Nothing fits well: the confidence that a right video is here is {confidence:.2f}")
        assert (sentence >= 0) == is_weak
        assert sentence < text.index("| 1 |") and len(table_rows(text)) == 3


def test_example_is_searched_by_its_span(index, capsys):
    search_index(index, [], like=["test_1", "5", "12.5"], options={"top_k": 4})
    text = capsys.readouterr().out
    assert "like test_1 from 5 to 12.5 s" in text
    assert [row[1] for row in table_rows(text)[1:]] == [
        m.video for m in index.search_like("test_1", 5, 12.5, 4).moments
    ]
    assert "confidence" not in text


def test_wordings_of_one_query_are_one_table(index, capsys):
    search_index(index, QUERIES, paraphrases=True, options={"top_k": 4})
    text = capsys.readouterr().out
    assert " / ".join(QUERIES) in text
    assert [row[1] for row in table_rows(text)[1:]] == [m.video for m in index.search_paraphrases(QUERIES, 4).moments]


def test_json_lines_hold_the_whole_answer_by_video(index, tmp_path, capsys):
    path = str(tmp_path / "found.jsonl")
    queries = [*QUERIES, "naïve\u2028café"]
    search_index(index, queries, options={"top_k": 5}, json_path=path)
    assert f"wrote {path}" in capsys.readouterr().out
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file.read().strip().split("\n")]
    for number, result in enumerate(index.search(queries, top_k=5)):
        lines = [record for record in records if record["qid"] == number]
        assert {line["query"] for line in lines} == {queries[number]}
        ranked = {
            rank: (line["vid"], *window)
            for line in lines
            for rank, window in zip(line["ranks"], line["pred_relevant_windows"], strict=True)
        }
        wanted = [(moment.video, moment.start, moment.end, moment.score) for moment in result.moments]
        assert [ranked[rank] for rank in sorted(ranked)] == wanted
        assert {line["duration"] for line in lines} == {25.0 + int(line["vid"][-1]) for line in lines}


def test_json_lines_of_one_moment_per_query_are_read_as_a_prediction_file(index, tmp_path, capsys):
    path, truth = str(tmp_path / "found.jsonl"), tmp_path / "truth.jsonl"
    search_index(index, QUERIES, options={"top_k": 1}, json_path=path)
    lines = [{"qid": number, "query": query, "relevant_windows": [[1, 9]]} for number, query in enumerate(QUERIES)]
    truth.write_text("\n".join(map(json.dumps, lines)))
    assert {record.query for record in read_predictions(path, str(truth))} == set(QUERIES)


def test_tool_finds_the_model_by_the_index(calibrated, checkpoint):
    words = [QUERIES[0], "--top-k", "2", "--videos", "test_3", "MODEL.DEVICE", "cpu"]
    result = launch(1, "search.py", "--index", calibrated, *words)
    assert result.returncode == 0, result.stderr
    assert [row[1] for row in table_rows(result.stdout)] == ["video", "test_3", "test_3"]


def test_model_that_has_moved_must_be_named(localizer, checkpoint, root, tmp_path):
    moved = tmp_path / "moved.pth"
    shutil.copy(checkpoint, moved)
    features = FeatureCollection(
        str(root / "library" / "features.hdf5"), "{vid}", DIM, str(root / "library" / "test.json")
    )
    place = str(tmp_path / "index")
    build_index(MomentLocalizer.from_checkpoint(moved, device="cpu"), features, place, "exact")
    moved.unlink()
    with pytest.raises(
        ConfigError, match="was built by .*moved.pth, which is not there: say where the model is, by --ckpt"
    ):
        open_index(place)
    with open_index(place, checkpoint, options=["MODEL.DEVICE", "cpu"]) as index:
        assert index.search(QUERIES[0])[0].moments


def test_index_that_is_opened_for_a_single_search_reads_nothing_ahead(calibrated, checkpoint, monkeypatch):
    monkeypatch.setattr(ExactStore, "prewarm", lambda _: pytest.fail("the store was prewarmed"))
    open_index(calibrated, checkpoint, options=["MODEL.DEVICE", "cpu"]).close()


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"sentences": []}, "give a list of at least one sentence"),
        ({"sentences": ["a man"], "like": ["test_1", "1", "2"]}, "--like is a query of its own"),
        ({"sentences": [], "like": ["test_1", "1", "2"], "threshold": 0.5}, "--like is a query of its own"),
        ({"sentences": [], "like": ["test_1", "one", "2"]}, "'one' is no number"),
        ({"sentences": [], "like": ["test_99", "1", "2"]}, "no video 'test_99'"),
        ({"sentences": [], "like": ["test_1", "1", "99"]}, "give a start and a later end within it"),
        ({"sentences": ["a man"], "options": {"top_k": 0}}, "top_k is 0"),
    ],
)
def test_search_that_cannot_be_is_a_sentence(index, arguments, named):
    with pytest.raises(UserError, match=named) as error:
        search_index(index, **arguments)
    assert "\n" not in str(error.value)


# ---- Calibration -------------------------------------------------------------------------------------------------------


def test_calibration_is_kept_by_the_index(calibrated, localizer):
    with open_store(calibrated) as store:
        calibration = Calibration.from_dict(store.info.calibration, calibrated)
    assert (calibration.split, calibration.num_queries, calibration.num_videos) == ("library_val", 60, 12)
    assert calibration.num_pairs == 60 * 11
    assert [(rate["split"], rate["num_videos"]) for rate in calibration.rates] == [
        ("library_val", 10),
        ("library_val", 12),
        ("library_test", 9),
    ]


def test_rates_are_printed(localizer, checkpoint, place, capsys):
    cfg = checkpoint_config(load_checkpoint(checkpoint), checkpoint, None, ())
    calibration = calibrate_index(localizer, cfg, place, measured=["library_test"])
    rows = table_rows(capsys.readouterr().out)
    assert rows[0][:5] == ["split", "videos", "error", "equal", "T=0.1"]
    last = calibration.rates[-1]
    assert rows[-2][4:] == [f"{100 * share:.1f}" for share in last["false_accept"]]
    assert rows[-1][4:] == [f"{100 * share:.1f}" for share in last["false_reject"]]


def test_sentences_that_several_videos_have_are_their_own_in_all_of_them():
    moments = np.zeros((2, 2), np.float32)
    videos = [
        VideoAnnotation("a", 9.0, ["A man runs.", "He sits"], moments[:, None]),
        VideoAnnotation("b", 9.0, ["a man  runs", "She stands."], moments[:, None]),
    ]
    assert own_videos(videos).tolist() == [[True, True], [True, False], [True, True], [False, True]]


def test_model_without_a_validation_split_says_which_option_names_one(localizer, checkpoint, place):
    cfg = checkpoint_config(load_checkpoint(checkpoint), checkpoint, None, ["DATASETS.VAL", "()"])
    with pytest.raises(ConfigError, match="DATASETS.VAL is empty.*--split"):
        calibrate_index(localizer, cfg, place)


def test_tool_says_what_is_wrong(checkpoint, tmp_path):
    result = launch(1, "calibrate_index.py", "--index", tmp_path / "none", "--ckpt", checkpoint, "MODEL.DEVICE", "cpu")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: there is no index at ")


def test_split_that_is_too_small_leaves_the_index_as_it_was(localizer, checkpoint, place, root):
    videos = json.loads((root / "library" / "val.json").read_text())
    (root / "library" / "small.json").write_text(json.dumps(dict(list(videos.items())[:3])))
    (root / "small.yaml").write_text(CATALOG.format(split="small"))
    cfg = checkpoint_config(load_checkpoint(checkpoint), checkpoint, None, ["PATHS_CATALOG", str(root / "small.yaml")])
    with open_store(place) as store:
        before = store.info
    with pytest.raises(DataError, match="library_small has 30 pairs"):
        calibrate_index(localizer, cfg, place, split="library_small")
    with open_store(place) as store:
        assert store.info == before
