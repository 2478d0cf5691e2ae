"""The corpus benchmark from a config to its tables, and the mistakes that it names."""

import json

import numpy as np
import pytest
import torch
from localizing import checkpoint_content
from processes import launch
from tiny import SYNTHETIC_CONFIG, tiny_options

from mmn.apps.ablation.resampling import Resampling
from mmn.apps.corpus.corpus_recall import CorpusScores, rank_names, recall_names
from mmn.apps.corpus.corpus_tables import (
    PRIOR,
    CorpusTable,
    Training,
    corpus_json,
    corpus_markdown,
    evaluate_corpus,
    find_rules,
    format_corpus,
    parse_training,
)
from mmn.utils.errors import CheckpointError, ConfigError

FEW = Resampling(100)
CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(tiny_cfg, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(checkpoint_content(tiny_cfg), path)
    return str(path)


def scores(*shares):
    """Of four queries: a first share for the recall of videos, a second for that of moments."""
    values = {
        name: np.resize([share] * 3 + [0.0], 4)
        for name, share in zip(recall_names(), np.resize(shares, 12), strict=True)
    }
    ranks = {name: np.array([1.0, 2.0, 6.0, np.nan]) for name in rank_names()}
    return CorpusScores(values, ranks)


def table(**rows):
    return CorpusTable("a split", ["9 queries."], {**rows, PRIOR: [scores(0.5)]}, FEW)


def test_tool_writes_tables_of_every_rule_and_the_prior(dataset_root, tmp_path, checkpoint):
    out = tmp_path / "corpus.md"
    done = launch(
        *(1, "evaluate_corpus.py", "--config-file", SYNTHETIC_CONFIG, "--ckpt", checkpoint, "--out", out),
        *("--resamples", "100", *tiny_options(dataset_root, tmp_path / "output")),
    )
    assert done.returncode == 0, done.stderr
    for text in (done.stdout, out.read_text()):
        assert "18 queries over 5 videos of 136 moments each, 680 in all." in text
        for words in ("rerank", "contrastive", "iou", "product of all", PRIOR, "R@100,IoU@0.7", "median video rank"):
            assert words in text
    assert "Differences to **rerank** in points" in out.read_text()


def test_every_training_has_a_row_per_rule(tiny_cfg, tmp_path, checkpoint, capsys):
    trainings = [Training("one", [checkpoint, checkpoint]), Training("two", [checkpoint])]
    evaluate_corpus(tiny_cfg, CPU, trainings, find_rules(["rerank", "iou"]), FEW, out=str(tmp_path / "corpus.json"))
    content = json.loads((tmp_path / "corpus.json").read_text())
    assert list(content["rows"]) == ["one: rerank", "one: iou", "two: rerank", "two: iou", PRIOR]
    assert [row["seeds"] for row in content["rows"].values()] == [2, 2, 1, 1, 1]
    for metric, found in content["rows"]["one: iou"]["recall"].items():
        assert found["mean"] == pytest.approx(content["rows"]["two: iou"]["recall"][metric]["mean"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in content["rows"])


def test_every_video_of_a_small_split_is_found_at_last(tiny_cfg, checkpoint, tmp_path):
    out = tmp_path / "corpus.json"
    evaluate_corpus(
        tiny_cfg, CPU, [Training("model", [checkpoint])], find_rules(["rerank", "product"]), FEW, 1, str(out)
    )
    content = json.loads(out.read_text())
    assert list(content["rows"]) == ["rerank", "product", PRIOR]
    for row in content["rows"].values():
        assert row["recall"]["video R@5"]["mean"] == pytest.approx(1)
        assert 1 <= row["rank"]["video rank"]["mean"] <= 5
    assert "at most 1 moments of one" in content["facts"][2]


def test_means_have_the_deviation_over_seeds_and_ranks_leave_out_what_has_none():
    text = corpus_markdown(table(rerank=[scores(0.4), scores(0.8)], iou=[scores(0.4), scores(0.4)]))
    rerank = next(line for line in text.splitlines() if line.startswith("| rerank"))
    # Means 30 and 60 %; ranks 1, 2 and 6.
    assert rerank.split(" | ")[1] == "45.00 ± 21.21"
    assert rerank.rstrip(" |").split(" | ")[-2:] == ["3.0", "2.0"]


def test_json_has_an_interval_around_every_recall():
    found = corpus_json(table(rerank=[scores(0.4, 0.8)]))["rows"]["rerank"]["recall"]
    assert found["video R@1"]["mean"] == pytest.approx(0.3) and found["video R@5"]["mean"] == pytest.approx(0.6)
    assert 0 <= found["video R@1"]["low"] < 0.3 < found["video R@1"]["high"] <= 0.4 + 1e-6


def test_single_row_is_compared_with_nothing():
    assert "Differences" not in corpus_markdown(table(rerank=[scores(0.4)]))


def test_rank_that_no_query_has_is_a_dash():
    nothing = CorpusScores(scores(0.4).recalls, {name: np.full(4, np.nan) for name in rank_names()})
    printed = format_corpus(table(rerank=[nothing]))
    assert next(line for line in printed.splitlines() if "rerank" in line).split("|")[-3:-1] == [
        "               – ",
        "                 – ",
    ]


def test_pattern_stands_for_the_seeds_of_a_training(tmp_path):
    for seed in (2, 1):
        (tmp_path / f"seed_{seed}.pth").touch()
    training = parse_training(f"inside the video={tmp_path}/seed_*.pth")
    assert training == Training("inside the video", [str(tmp_path / f"seed_{seed}.pth") for seed in (1, 2)])
    assert parse_training("a/b=c.pth") == Training("a/b=c.pth", ["a/b=c.pth"])


def test_pattern_without_a_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="--ckpt a=.*no file is like .*correct the pattern"):
        parse_training(f"a={tmp_path}/*.pth")


@pytest.mark.parametrize(
    ("names", "words"),
    [(["re-rank"], "no rule 're-rank' .*did you mean rerank"), (["iou", "iou"], "--rules names iou twice")],
)
def test_rules_that_cannot_be_compared_are_refused(names, words):
    with pytest.raises(ConfigError, match=words):
        find_rules(names)


@pytest.mark.parametrize(
    ("per_video", "out", "words"), [(0, None, "--per-video is 0"), (3, "corpus.txt", "--out corpus.txt must end in")]
)
def test_wrong_arguments_are_refused_before_the_model_is_loaded(tiny_cfg, per_video, out, words):
    with pytest.raises(ConfigError, match=words):
        evaluate_corpus(tiny_cfg, CPU, [Training("model", ["none.pth"])], find_rules(["iou"]), FEW, per_video, out)


def test_tubes_are_refused(stvg_cfg):
    with pytest.raises(ConfigError, match="MODEL.ARCHITECTURE STVG does not find: give a config of MMN"):
        evaluate_corpus(stvg_cfg, CPU, [Training("model", [None])], find_rules(["iou"]), FEW)
