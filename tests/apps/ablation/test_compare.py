"""Prediction files side by side: pairing, tables, files; and the tool."""

import csv
import io
import json

import pytest
from processes import launch

from mmn.apps.ablation.ablation_command import compare_files
from mmn.apps.ablation.ablation_tables import RowScores, Table
from mmn.apps.ablation.paired_scores import read_scores
from mmn.apps.ablation.resampling import Resampling
from mmn.utils.errors import DataError, UserError


def record(qid, predicted, truth=((0, 10),), **more):
    return {
        "qid": qid,
        "query": f"query {qid}",
        "vid": "v",
        "relevant_windows": [list(moment) for moment in truth],
        "pred_relevant_windows": [[*moment, 1.0] for moment in predicted],
    } | more


@pytest.fixture
def write(tmp_path):
    def write_file(name, *records):
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in records))
        return str(path)

    return write_file


def hits(*values):
    """Records whose first prediction is right where the value is 1."""
    return [record(qid, [(0, 10) if value else (20, 30)]) for qid, value in enumerate(values)]


def test_queries_are_paired_by_qid_in_any_order(write):
    one, other = write("a.jsonl", *hits(1, 0, 1)), write("b.jsonl", *hits(1, 0, 1)[::-1])
    scores = read_scores([one, other], (0.5,))
    assert scores[0]["R@1,IoU@0.5"].tolist() == scores[1]["R@1,IoU@0.5"].tolist() == [1, 0, 1]


def test_files_of_other_tools_may_write_qid_as_text_and_leave_words_out(write):
    other = record("0", [(0, 10)], query="", vid="")
    assert len(read_scores([write("a.jsonl", record(0, [])), write("b.jsonl", other)], (0.5,))) == 2


def test_true_moments_may_be_rounded_and_in_another_order(write):
    one = record(0, [], truth=[(0, 10.004), (20, 30)])
    other = record(0, [], truth=[(20, 30), (0, 10)])
    assert read_scores([write("a.jsonl", one), write("b.jsonl", other)], (0.5,))


@pytest.mark.parametrize(
    "other, named",
    [
        ([record(0, [])], r"b\.jsonl lacks 1 of the 2 queries of .*a\.jsonl \(qid 1\)"),
        ([*hits(1, 1), record(7, [])], r"1 of the 3 queries of .*b\.jsonl are not in .*a\.jsonl \(qid 7\)"),
        ([record(0, []), record(1, [], query="another")], "qid 1 has the query 'another' in .* but 'query 1'"),
        ([record(0, []), record(1, [], vid="w")], "qid 1 has the video 'w' in .* but 'v'"),
        ([record(0, []), record(1, [], truth=[(0, 11)])], "'query 1' of v has the true moments"),
        ([record(0, []), record(0, [])], r"has 1 queries more than once \(qid 0\)"),
        ([record(0, []), record(None, [])], r"b\.jsonl has a qid in 1 of its 2 lines, .* is number 2"),
    ],
)
def test_files_that_are_not_of_the_same_queries_are_refused_by_name(write, other, named):
    with pytest.raises(DataError, match=named):
        read_scores([write("a.jsonl", *hits(1, 1)), write("b.jsonl", *other)], (0.5,))


def table_of(write, *groups):
    rows = []
    for number, group in enumerate(groups):
        paths = [write(f"{number}_{seed}.jsonl", *hits(*values)) for seed, values in enumerate(group)]
        scores = dict(enumerate(read_scores(paths, (0.5, 0.7))))
        rows.append(RowScores(f"row | {number}", scores, f"changes {number}", len(paths), seconds=61.4))
    return Table("title", rows, Resampling(500))


def test_markdown_has_means_deviations_and_differences(write):
    text = table_of(write, [[0] * 20, [0] * 20], [[1] * 20, [1] * 19 + [0]]).markdown()
    assert "| row \\| 0 | 0.00 ± 0.00 |" in text
    assert "| row \\| 1 | 97.50 ± 3.54 |" in text
    assert "| **+97.50** [+" in text
    assert "| 2 | 61 |" in text


def test_row_with_fewer_seeds_than_wanted_says_so(write):
    table = table_of(write, [[0, 1], [1, 1]])
    table.rows[0].num_wanted = 3
    assert "| 2 of 3 |" in table.markdown()


def test_one_file_per_row_is_said_to_say_nothing_about_seeds(write):
    text = table_of(write, [[0, 1]], [[1, 1]]).markdown()
    assert "chance between seeds is not in the intervals" in text
    assert "±" not in text.split("Means over")[0]


def test_csv_has_a_line_per_row_and_metric(write):
    table = table_of(write, [[0, 1, 0, 1]], [[1, 1, 0, 1]])
    lines = list(csv.DictReader(io.StringIO(table.csv())))
    assert len(lines) == 2 * len(table.metrics)
    first, other = (line for line in lines if line["metric"] == "R@1,IoU@0.5")
    assert (float(first["mean"]), first["difference"]) == (0.5, "")
    assert float(other["difference"]) == 0.25
    assert float(other["low"]) <= 0.25 <= float(other["high"])
    assert other["changes"] == "changes 1"


def test_files_are_written_with_a_figure(write, tmp_path):
    pytest.importorskip("matplotlib")
    table = table_of(write, [[0, 1, 0, 1]], [[1, 1, 0, 1]], [[1, 1, 0, 0]])
    paths = table.write(str(tmp_path / "out" / "table"), with_figure=True)
    assert [path.rsplit(".")[-1] for path in paths] == ["md", "csv", "png"]
    assert (tmp_path / "out" / "table.png").read_bytes().startswith(b"\x89PNG")


def test_missing_matplotlib_is_a_sentence_before_any_work(write, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    paths = [write("a.jsonl", *hits(1)), write("b.jsonl", *hits(1))]
    with pytest.raises(UserError, match=r"pip install \.\[plots\]"):
        compare_files([paths[:1], paths[1:]], (0.5,), Resampling(100), stem="out", log=pytest.fail)


def test_a_single_side_is_nothing_to_compare(write):
    with pytest.raises(UserError, match="nothing to compare"):
        compare_files([[write("a.jsonl", *hits(1))]], (0.5,), Resampling(100))


def test_tool_compares_groups_of_files(write, tmp_path):
    files = {name: write(f"{name}.jsonl", *hits(*values)) for name, values in {"a1": [0, 1], "a2": [1, 1]}.items()}
    other = write("b.jsonl", *hits(1, 1))
    options = ["--thresholds", "0.5", "--resamples", "200", "--no-figure", "--out", tmp_path / "table"]
    done = launch(1, "compare.py", *files.values(), "vs", other, *options)
    assert done.returncode == 0, done.stderr
    assert "| a | 75.00 ± 35.36 |" in done.stdout
    assert "| b.jsonl | 100.00 |" in done.stdout
    assert (tmp_path / "table.csv").exists()
