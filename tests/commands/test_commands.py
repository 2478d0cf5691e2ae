"""The command `mmn` and its subcommands, as far as their arguments go."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from processes import run_python
from tiny import ROOT

from mmn.commands import main as command_line
from mmn.commands.main import COMMANDS
from mmn.utils.version import VERSION

RUN_ALL = """
import contextlib, io, json, sys
from mmn.commands.frame import run_command
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        run_command(words[0], words[1:], tool="")
    loaded = sorted({"torch", "transformers", "h5py", "matplotlib", "av", "lancedb"} & sys.modules.keys())
    print(json.dumps([text.getvalue(), loaded]))
"""


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["mmn", *words])
    command_line.main()


def test_help_and_scoring_a_file_load_no_large_library(tmp_path):
    """One process runs them all, one after the other."""
    line = {"qid": 1, "vid": "a", "query": "q", "relevant_windows": [[0, 5]], "pred_relevant_windows": [[0, 4, 0.5]]}
    (tmp_path / "found.jsonl").write_text(json.dumps(line) + "\n")
    scoring = ["evaluate", "--predictions", str(tmp_path / "found.jsonl"), "--split", "tacos_test", "--examples", "1"]
    words = [*([name, "--help"] for name in COMMANDS), ["configs"], scoring]
    done = run_python("-c", RUN_ALL, text=json.dumps(words))
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [loaded for _, loaded in results] == [[]] * len(words)
    for name, (text, _) in zip(COMMANDS, results, strict=False):
        assert text.startswith(f"usage: mmn {name} "), text
    assert "R@1,IoU@0.1" in results[-1][0]


def test_overview_names_every_command(monkeypatch, capsys):
    run(monkeypatch)
    assert re.findall(r"^  ([a-z-]+) +[A-Z]", capsys.readouterr().out, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("words", [["--version"], ["train", "--version"]])
def test_version(monkeypatch, capsys, words):
    run(monkeypatch, *words)
    assert capsys.readouterr().out == f"mmn {VERSION}\n"


def test_unknown_command_is_one_sentence(monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, "tain")
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: mmn has no command 'tain': did you mean train?\n"


def test_every_tool_is_a_command_and_prints_its_own_name(tmp_path):
    """From another folder than the checkout's."""
    tools = {path.name: path.read_text() for path in (ROOT / "tools").glob("*.py") if path.name != "_path.py"}
    names = {name: re.search(r'run_command\("([a-z-]+)"\)', text)[1] for name, text in tools.items()}
    assert sorted(names.values()) == sorted(set(COMMANDS) - {"configs"})
    done = run_python(ROOT / "tools" / "train_net.py", "--help", folder=tmp_path)
    assert done.stdout.startswith("usage: train_net.py ")
    assert "python tools/train_net.py --config-file F" in done.stdout


SIMULATE = "simulate-features --noise 1 --out o"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("test --config-file synthetic --maps-first 3", "--maps-first and --maps-of go with --dump-maps FILE"),
        ("evaluate --predictions f --missing-as-wrong", "--missing-as-wrong goes with --truth FILE or --annotations"),
        ("compare f g --missing-as-wrong", "--missing-as-wrong goes with --truth FILE"),
        ("compare f g --split tacos_test --thresholds 0.5", "argument --thresholds: not allowed with argument --split"),
        ("visualize --out o --predictions f --missing-as-wrong", "--missing-as-wrong goes with --truth FILE"),
        ("visualize --out o --metrics f --qids 1", "only --predictions have queries: leave out --qids"),
        ("visualize --out o --predictions f --qids 1 --seed 3", "--qids are the queries themselves: leave out --seed"),
        ("visualize --out o --predictions f --choose best --seed 3", "without random draws nothing: leave out --seed"),
        ("probe --config-file synthetic --truth f", "only --predictions are held against a truth: leave out --truth"),
        ("probe --config-file synthetic tacos --ckpt f", "--ckpt and --predictions belong to one dataset"),
        (
            "evaluate --predictions f --annotations f --truth f",
            "--annotations are the truth of tubes: leave out --truth",
        ),
        (
            f"{SIMULATE} --layout mad --dataset mad --fps 2 --feature-key {{vid}}/x",
            "keys: leave out --fps, --feature-key",
        ),
        (f"{SIMULATE} --layout mad", "--layout goes with --dataset"),
        (f"{SIMULATE} --annotations f --dim 4 --dataset mad", "only a --layout has datasets: leave out --dataset"),
        ("make-synthetic --long mad --dim 4", "--long has its own videos, rows and noise: leave out --dim"),
        ("make-synthetic --minutes 4", "only --long joins videos: leave out --minutes"),
        ("make-glove --annotations f --out o --size 0", "--size is 0: it must be at least 1"),
        ("localize v q --feature-key x/{vid}", "only --features has keys: leave out --feature-key"),
        ("localize v q --features f --backbone clip", "--features are extracted already: leave out --backbone"),
        ("index --index i --remove v --sync --window 5", "--remove encodes nothing: leave out --sync, --window"),
        ("index --index i --from j --ckpt W SOLVER.SEED 1", "--from encodes nothing: leave out --ckpt, KEY VALUE"),
        ("index --index i --features f --keep-extension", "are extracted already: leave out --keep-extension"),
        ("index --index i --videos f --annotations f", "--videos are files, not features: leave out --annotations"),
        ("train --config-file synthetic --partial", "no weights are loaded: leave out --partial"),
        ("demo --ckpt W --annotations f", "of --videos or of an --index: leave out --annotations"),
        ("benchmark --latency --tan2d", "argument --tan2d: not allowed with argument --latency"),
        ("benchmark --latency --sentences 3 --split val", "--ckpt alone: leave out --sentences, --split"),
        ("benchmark --tan2d --ckpt W", "--sentences alone: leave out --ckpt"),
        ("benchmark --minutes 5 --components text", "--no-data alone: leave out --minutes"),
        ("benchmark --components text --no-data", "--components are measured alone: leave out --no-data"),
        ("benchmark --components losses --modes eval", "'losses' is measured with --modes train alone"),
        ("benchmark --long-recall", "--long-recall measures a model of configs/synthetic.yaml: name its checkpoint by"),
        ("launch --processes 2 localize", "'localize' cannot be launched: give train or test"),
        ("launch --processes 2 --nodes 2 train", "--master-port is needed with several machines"),
    ],
)
def test_arguments_that_do_not_go_together_end_with_the_usage(monkeypatch, capsys, tmp_path, words, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, *words.split())
    assert exit_info.value.code == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith(f"mmn {words.split()[0]}: error: ") and text in sentence


def test_configs_are_listed_with_their_short_names(monkeypatch, capsys):
    run(monkeypatch, "configs")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {"pool_charades_16x16_k5l8": "charades", "conv_tacos_128x128_k5l8": "conv_tacos"}.items() <= {
        row[0]: row[1] for row in rows if len(row) == 2
    }.items()
    assert sorted(row[0] for row in rows) == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


LAUNCH = "launch --processes 1 --master-port 1 --default OUTPUT_DIR o --default TEST.BATCH_SIZE 4"


@pytest.mark.parametrize(
    ("words", "flags", "options"),
    [
        ("test --config-file synthetic --dump p.jsonl --partial SOLVER.SEED 1", 5, "SOLVER.SEED 1"),
        ("test --config-file synthetic --sweep-out R.CSV --sweep TEST.SCORE=iou,product", 6, ""),
        ("test --config-file synthetic --sweep TEST.SCORE=iou TEST.NMS_THRESH=0.4 OUTPUT_DIR x", 5, "OUTPUT_DIR x"),
        ("tools/train_net.py --config-file synthetic --skip-test", 3, ""),
    ],
)
def test_launcher_reads_the_arguments_of_a_command_as_the_command_does(monkeypatch, words, flags, options):
    started = []
    monkeypatch.setattr("mmn.engine.launch.launch", lambda program, *_: started.append(program))
    run(monkeypatch, *f"{LAUNCH} {words}".split())
    (program,) = started
    tool, *arguments = words.split()
    options = f"OUTPUT_DIR o TEST.BATCH_SIZE 4 {options}".split()
    assert (program.config_file, program.options, program.training) == ("synthetic", options, "train" in tool)
    assert program.words[-len(options) - flags :] == [*arguments[:flags], *options]


@pytest.mark.parametrize("words", [("configs",), ("--help",)])
def test_output_that_nobody_reads_any_more_ends_without_a_word(words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "mmn", *words]
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
