"""The pictures and the page of a prediction file."""

import html.parser
import json
import re

import pytest
import torch
from processes import launch

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install .[plots]")

from matplotlib.image import imread

from mmn.apps.visual import picture_report as report
from mmn.apps.visual.picture_report import write_report
from mmn.apps.visual.query_choice import QueryChoice
from mmn.data import Splits, build_dataset
from mmn.data.tokenizer import build_tokenizer
from mmn.evaluation.inference import MomentRanker, Predictions
from mmn.evaluation.map_file import write_maps
from mmn.evaluation.moment_metrics import write_predictions
from mmn.evaluation.prediction_file import read_predictions
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import ConfigError, DataError, UserError

CHARTS = {"recall_by_moment", "recall_by_query", "iou", "errors", "places", "confidence"}
NASTY = '<img src="http://example.com/x.png"> & "$x$" </title><script>alert(1)</script>'


@pytest.fixture
def no_charts(monkeypatch):
    """Only the pictures of queries."""
    monkeypatch.setattr(report, "CHARTS", ())


@pytest.fixture
def dataset(tiny_cfg):
    return build_dataset(tiny_cfg, Splits(tiny_cfg).find("synthetic_test"), build_tokenizer(tiny_cfg))


@pytest.fixture
def predictions(dataset, tmp_path):
    """The path of a prediction file of the tiny test split; the first prediction of query q gets worse with q."""
    truth = torch.cat([torch.from_numpy(video.moments) for video in dataset.videos])
    count = len(truth)
    first = truth + torch.arange(count)[:, None] / count * (truth[:, 1:] - truth[:, :1])
    moments = torch.stack([first, truth], dim=1)
    path = str(tmp_path / "predictions.jsonl")
    write_predictions(path, dataset, Predictions(torch.arange(count), moments, torch.tensor([[0.9, 0.2]] * count)))
    return path


@pytest.fixture
def maps(dataset, tmp_path):
    """The path of a map file of queries 1, 4 and 6."""
    cells = ProposalCells(16, [15])
    scores = torch.rand(2, 3, len(cells)).half()
    path = str(tmp_path / "maps.h5")
    write_maps(path, dataset, MomentRanker(cells, 0.5, 0.5, 5), [15], (torch.tensor([1, 4, 6]), *scores))
    return path


def pictures(folder):
    return {path.stem for path in folder.glob("*.png")}


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class Page(html.parser.HTMLParser):
    """What a page refers to, and the text of its captions."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.captions, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        self.captions += [value for name, value in attributes if name == "alt"]


def test_pictures_of_all_queries_and_of_the_chosen_ones(predictions, tmp_path):
    choice = QueryChoice(count=2, kinds=("worst", "first"))
    write_report(str(tmp_path / "out"), predictions, choice=choice)
    last = len(lines_of(predictions)) - 1
    queries = {f"query_{number:06d}" for number in (0, 1, last, last - 1)}
    assert pictures(tmp_path / "out") == CHARTS | queries
    assert all(imread(path).std() > 0 for path in (tmp_path / "out").glob("*.png"))


def test_asked_queries_are_drawn(no_charts, predictions, tmp_path):
    write_report(str(tmp_path / "out"), predictions, choice=QueryChoice(qids=("3", "0")))
    assert pictures(tmp_path / "out") == {"query_000003", "query_000000"}


def test_queries_are_chosen_among_those_with_maps(no_charts, predictions, maps, tmp_path):
    write_report(str(tmp_path / "out"), predictions, maps=maps, choice=QueryChoice(count=9, kinds=("random",)))
    chosen = {f"query_{number:06d}" for number in (1, 4, 6)}
    assert pictures(tmp_path / "out") == chosen
    heights = {imread(tmp_path / "out" / f"{name}.png").shape[0] for name in chosen}
    assert min(heights) > 500  # inches of maps below the timeline


def test_random_choice_depends_on_the_seed_alone(no_charts, predictions, tmp_path):
    drawn = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        write_report(str(folder), predictions, choice=QueryChoice(count=3, kinds=("random",), seed=seed))
        drawn.append(pictures(folder))
    assert drawn[0] == drawn[1] != drawn[2]


def test_page_embeds_everything_and_refers_to_nothing(no_charts, predictions, tmp_path):
    records = lines_of(predictions)
    records[0]["query"] = NASTY
    (tmp_path / "nasty.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    path = write_report(str(tmp_path / "out"), str(tmp_path / "nasty.jsonl"), choice=QueryChoice(qids=("0",)))
    with open(path, encoding="utf-8") as file:
        text = file.read()
    page = Page(text)
    assert all(re.match(r"data:image/png;base64,|#s\d", source) for source in page.sources)
    assert "script" not in page.tags
    assert any(NASTY in caption for caption in page.captions)
    assert sum(source.startswith("data:") for source in page.sources) == 1


def test_training_curves_alone_make_a_page(tmp_path):
    row = {"kind": "train", "epoch": 1, "step": 1, "loss": 1.0, "lr": 0.1}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    write_report(str(tmp_path / "out"), metrics=str(tmp_path / "metrics.jsonl"))
    assert pictures(tmp_path / "out") == {"training"}


def qvhighlights(tmp_path, with_truth=True):
    """A prediction file as another tool writes it: no duration, and the truth in a file of its own; some queries odd."""
    lines = [
        {
            "qid": 10,
            "query": "两个人 在说话",
            "vid": "a_0_150",
            "pred_relevant_windows": [[0, 150, 0.99], [30.5, 41, -2]],
        },
        {"qid": 11, "query": "nothing found", "vid": "b", "pred_relevant_windows": []},
        {"qid": "twelve", "query": "", "vid": "c", "pred_relevant_windows": [[4, 4.5, 0.0]]},
    ]
    truth = [{"qid": line["qid"], "relevant_windows": [[10, 20], [60, 90.5]], "duration": 150} for line in lines]
    paths = tmp_path / "other.jsonl", tmp_path / "truth.jsonl"
    for path, records in zip(paths, (lines, truth if with_truth else truth[:2]), strict=True):
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return map(str, paths)


@pytest.mark.filterwarnings("error:Glyph .* missing:UserWarning")
def test_file_of_another_tool_with_its_truth_apart(tmp_path):
    path, truth = qvhighlights(tmp_path)
    assert [record.duration for record in read_predictions(path, truth)] == [150, 150, 150]
    write_report(str(tmp_path / "out"), path, truth, choice=QueryChoice(qids=("10", "11", "twelve")))
    assert pictures(tmp_path / "out") == CHARTS | {f"query_00000{number}" for number in range(3)}


def test_query_that_the_truth_lacks_is_named(tmp_path):
    path, truth = qvhighlights(tmp_path, with_truth=False)
    with pytest.raises(
        DataError, match=r"1 of the 3 queries of .*other\.jsonl are not in .*truth\.jsonl \(qid twelve\)"
    ):
        read_predictions(path, truth)


def test_file_without_any_truth_is_named(tmp_path):
    path, _ = qvhighlights(tmp_path)
    with pytest.raises(DataError, match="line 1 .*no relevant_windows.* --truth"):
        read_predictions(path)


def test_maps_of_other_sentences_are_refused(predictions, maps, tmp_path):
    records = lines_of(predictions)
    records[4]["query"] = "another"
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(DataError, match=r"query 4 is 'another' .*maps\.h5"):
        write_report(str(tmp_path / "out"), str(tmp_path / "other.jsonl"), maps=maps)


def test_maps_of_no_predicted_query_are_refused(maps, tmp_path):
    path, truth = qvhighlights(tmp_path)
    with pytest.raises(DataError, match="maps of none"):
        write_report(str(tmp_path / "out"), path, truth, maps=maps)


def test_unknown_query_and_nothing_to_draw_are_refused(predictions, tmp_path):
    with pytest.raises(DataError, match="no query with the qid 999"):
        write_report(str(tmp_path / "out"), predictions, choice=QueryChoice(qids=("999",)))
    with pytest.raises(UserError, match="nothing to draw"):
        write_report(str(tmp_path / "out"))
    with pytest.raises(UserError, match="--maps and --truth go with"):
        write_report(str(tmp_path / "out"), maps="maps.h5", metrics="metrics.jsonl")
    with pytest.raises(ConfigError, match="--queries is -1"):
        QueryChoice(count=-1)


def test_tool_writes_the_page_without_a_display(predictions, maps, tmp_path):
    done = launch(
        *(1, "visualize.py", "--predictions", predictions, "--maps", maps, "--out", tmp_path / "out"),
        *("--queries", "1", "--choose", "best"),
        DISPLAY="",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "index.html").stat().st_size > 100_000


def test_tool_names_a_missing_file(tmp_path):
    done = launch(1, "visualize.py", "--predictions", "none.jsonl", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "error: the prediction file none.jsonl cannot be read (No such file or directory): check the path"
    )


@pytest.mark.parametrize(
    "count, predicted, truth",
    [
        (1, [], [[0, 10]]),  # nothing was found
        (7, [[0, 10, 0.5]], [[0, 10]]),  # all alike and all right
        (7, [[-5, 400, 1e9], [9, 9.001, -1e9]], [[0, 0.001]]),  # beyond the video, and hardly a moment
    ],
)
def test_strange_predictions_can_be_drawn(tmp_path, count, predicted, truth):
    line = {"query": "a", "vid": "v", "relevant_windows": truth, "pred_relevant_windows": predicted}
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"qid": number, **line}) + "\n" for number in range(count)))
    write_report(str(tmp_path / "out"), str(tmp_path / "p.jsonl"), choice=QueryChoice(count=1, kinds=("first",)))
    assert pictures(tmp_path / "out") == CHARTS | {"query_000000"}
