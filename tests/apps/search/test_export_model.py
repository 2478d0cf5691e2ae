"""Models to hand on: what their cards say, and where it is from."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from localizing import checkpoint_content, random_rows
from processes import ROOT, launch, run_python
from tiny import tiny_config, tiny_options

from golden_fixture import POOL_FIXTURES, GoldenFixture
from mmn import MomentIndex, MomentLocalizer
from mmn.apps.publish import onnx_export
from mmn.apps.publish.model_card import CardFacts, write_card
from mmn.apps.publish.save import Evidence, save_model
from mmn.apps.search.build_index import build_index
from mmn.apps.search.confidence import fit_calibration
from mmn.apps.search.export_model import export_model
from mmn.apps.search.vector_store import open_store
from mmn.apps.search.video_collections import FeatureCollection
from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder
from mmn.utils.errors import ConfigError, DataError, UserError
from mmn.utils.model_folder import read_description


@pytest.fixture(scope="module")
def checkpoint(dataset_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.pth"
    torch.save(checkpoint_content(tiny_config(dataset_root, "output"), epoch=7, git_revision="abc123"), path)
    return str(path)


@pytest.fixture(scope="module")
def tested(checkpoint, dataset_root, tmp_path_factory):
    """The folder of what a test of an exported model wrote: metrics.json, p.jsonl and maps.h5, and the table it printed."""
    folder = tmp_path_factory.mktemp("tested")
    export_model(checkpoint, str(folder / "model"))
    options = tiny_options(dataset_root, folder)
    place = options.index("MODEL.MMN.TEXT_ENCODER.PRETRAINED")
    del options[place : place + 2]  # the model brings its own
    files = ("--metrics-out", "metrics.json", "--dump", "p.jsonl", "--dump-maps", "maps.h5")
    arguments = ("--config-file", "synthetic", "--ckpt", folder / "model", *files, *options)
    done = launch(1, "test_net.py", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def test_card_has_the_numbers_of_the_test_and_its_example_runs(checkpoint, tested, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install .[plots]")
    folder, table = tested
    files = [str(folder / name) for name in ("metrics.json", "p.jsonl", "maps.h5")]
    export_model(checkpoint, str(tmp_path / "mine"), evidence=Evidence(*files))
    text = (tmp_path / "mine" / "README.md").read_text()
    printed = re.findall(r"\d+\.\d\d", table)
    row = next(line for line in text.splitlines() if re.match(r"\| \d", line))
    assert re.findall(r"\d+\.\d\d", row) == printed
    assert "synthetic_test: 5 videos, 18 sentences" in text
    assert "revision abc123" in text and "epoch 7" in text
    assert "| `MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS` | 8 | 2 |" in text
    pictures = re.findall(r"\]\((images/[^)]+)\)", text)
    assert len(pictures) == 5 and all((tmp_path / "mine" / name).stat().st_size > 1000 for name in pictures)
    metadata = yaml.safe_load(text.split("---")[1])
    values = [metric["value"] for metric in metadata["model-index"][0]["results"][0]["metrics"]]
    assert values == [float(value) for value in printed]
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    exec(code, {"rows": random_rows(20)})


def test_facts_stay_with_a_model_that_is_handed_on_again(checkpoint, tested, tmp_path):
    folder, _ = tested
    export_model(checkpoint, str(tmp_path / "one"), evidence=Evidence(str(folder / "metrics.json")))
    MomentLocalizer.from_pretrained(tmp_path / "one", device="cpu").save_pretrained(tmp_path / "two")
    one, two = ((tmp_path / name / "README.md").read_text() for name in ("one", "two"))
    assert two == re.sub(r"\bone\b(?! or)", "two", one)


def test_card_has_the_licences_of_the_catalog_and_names_the_splits_without_one(dataset_root, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "mine: {annotation: a.json, features: a.hdf5, licence: 'My videos: CC BY 4.0.'}\n"
        "tacos_train: {annotation: b.json, features: b.hdf5}\n"
    )
    options = ["PATHS_CATALOG", str(tmp_path / "mine.yaml"), "DATASETS.TRAIN"]
    cfg = tiny_config(dataset_root, "output", *options, "('mine', 'tacos_train', 'charades_train')")
    text = write_card(CardFacts("model", cfg, checkpoint_content(cfg)))
    assert re.search("My videos: CC BY 4.0.\nCharades-STA: .*\n.* of tacos_train is, is not known", text)


def test_catalog_that_cannot_be_read_is_reported_and_no_licence_is_claimed(dataset_root, tmp_path, caplog):
    (tmp_path / "damaged.yaml").write_text("charades_train: {annotation: [}")
    options = ["PATHS_CATALOG", str(tmp_path / "damaged.yaml"), "DATASETS.TRAIN", "('charades_train',)"]
    cfg = tiny_config(dataset_root, "output", *options)
    text = write_card(CardFacts("model", cfg, checkpoint_content(cfg)))
    assert "damaged.yaml is not valid yaml" in caplog.text
    assert "data of charades_train is, is not known" in text and "Charades-STA" not in text


def test_model_of_another_architecture_is_refused_before_anything_is_written(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.ARCHITECTURE = "TAN2D"
    with pytest.raises(ConfigError, match="a text encoder, which MODEL.ARCHITECTURE TAN2D has not"):
        save_model(tmp_path / "out", tiny_cfg, {})
    assert not (tmp_path / "out").exists()


def test_metrics_of_other_weights_are_refused(tested, dataset_root, tmp_path):
    content = checkpoint_content(tiny_config(dataset_root, "output"))
    content["model"]["featpool.conv.bias"] += 1
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(DataError, match="are of other weights"):
        metrics = str(tested[0] / "metrics.json")
        export_model(str(tmp_path / "other.pth"), str(tmp_path / "out"), evidence=Evidence(metrics))
    assert not (tmp_path / "out").exists()


def test_released_file_with_its_config_gives_the_same_scores_as_a_folder(tmp_path):
    fixture = GoldenFixture(POOL_FIXTURES[0])
    (tmp_path / "released.yaml").write_text(fixture.cfg.dump())
    ckpt, config = str(fixture.checkpoint()), str(tmp_path / "released.yaml")
    export_model(ckpt, str(tmp_path / "folder"), config)
    rows = np.random.default_rng(0).standard_normal((40, fixture.meta["config"]["IN"])).astype(np.float32)
    maps = [
        localizer.score_maps(rows, ["he washes the carrot"], duration=30.0)
        for localizer in (
            MomentLocalizer.from_checkpoint(ckpt, config, "cpu"),
            MomentLocalizer.from_pretrained(tmp_path / "folder", device="cpu"),
        )
    ]
    np.testing.assert_array_equal(*maps)
    assert read_description(str(tmp_path / "folder"))["config"]["OUTPUT_DIR"] == "."


SERVING = """
import sys
sys.modules.update(dict.fromkeys(("mmn", "torch", "transformers")))  # importing one fails
"""


def test_onnx_files_find_what_the_model_finds_without_this_package(dataset_root, tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install .[onnx]")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install .[onnx]")
    # A single layer each: the exporter takes half a second for a layer.
    write_tiny_encoder(tmp_path / "encoder", ["a person opens a door", "a dog runs"], 8, num_layers=1)
    checkpoint, options = str(tmp_path / "model.pth"), ["MODEL.MMN.NUM_CLIPS", "4", "INPUT.NUM_PRE_CLIPS", "8"]
    options += ["MODEL.MMN.FEAT2D.POOLING_COUNTS", "[3]", "MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", "1"]
    options += ["MODEL.MMN.TEXT_ENCODER.PRETRAINED", str(tmp_path / "encoder")]
    torch.save(checkpoint_content(tiny_config(dataset_root, "output", *options)), checkpoint)
    export_model(checkpoint, str(tmp_path / "mmn-charades"), onnx=True)
    np.save(tmp_path / "rows.npy", random_rows(90))
    page = (ROOT / "docs" / "WEIGHTS.md").read_text()
    example = re.search(r"```python\n(import json\n.*?)```", page, re.DOTALL)[1]
    done = run_python("-c", SERVING + example, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = [ast.literal_eval(line[line.index("[") :]) for line in done.stdout.splitlines()]
    localizer = MomentLocalizer.from_checkpoint(checkpoint, device="cpu")
    maps = localizer.score_maps(random_rows(90), ["a person opens a door", "a dog runs"], duration=25.0, window=25.0)
    clip = 25.0 / localizer.cells.num_clips
    for rows, final in zip(printed, maps.final[:, 0], strict=True):
        assert [row[2] for row in rows] == pytest.approx(np.sort(final.ravel())[::-1][:5], abs=1e-5)
        for start, end, score in rows:
            assert score == pytest.approx(final[round(start / clip), round(end / clip) - 1], abs=1e-5)

    export_model(checkpoint, str(tmp_path / "mmn-charades"))  # the same weights
    content = torch.load(checkpoint)
    content["model"]["featpool.conv.bias"] += 1
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="is of other weights: remove it"):
        export_model(str(tmp_path / "other.pth"), str(tmp_path / "mmn-charades"))


@pytest.mark.parametrize(
    "exporter, sentence",
    [
        ("raises", "cannot write video_encoder.onnx .no such operator.: hand the model on without --onnx"),
        ("writes what cannot be run", "onnxruntime cannot run video_encoder.onnx"),
        (
            "writes what is inexact",
            "video_encoder.onnx differs from PyTorch by 5.0e-01, more than 1e-05, and is not kept",
        ),
    ],
)
def test_onnx_export_that_fails_ends_in_a_sentence_and_leaves_the_folder(
    checkpoint, tmp_path, monkeypatch, exporter, sentence
):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install .[onnx]")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install .[onnx]")

    def export(*_, f, **__):
        if exporter == "raises":
            raise RuntimeError("no such operator\nand much more")
        Path(f).write_bytes(b"not a graph")

    monkeypatch.setattr(torch.onnx, "export", export)
    if exporter == "writes what is inexact":
        monkeypatch.setattr(onnx_export, "_error", lambda *_: 0.5)
    (tmp_path / "model" / "onnx").mkdir(parents=True)
    (tmp_path / "model" / "onnx" / "video_encoder.onnx").write_text("of the weights before")
    with pytest.raises(UserError, match=sentence):
        export_model(checkpoint, str(tmp_path / "model"), onnx=True)
    (left,) = (tmp_path / "model" / "onnx").iterdir()
    assert left.read_text() == "of the weights before"


def test_onnx_files_of_other_weights_do_not_stay_where_an_export_fails(checkpoint, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install .[onnx]")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install .[onnx]")
    (tmp_path / "model" / "onnx").mkdir(parents=True)
    for name in ("video_encoder.onnx", "sentence_encoder.onnx", "mine.onnx"):
        (tmp_path / "model" / "onnx" / name).touch()
    (tmp_path / "model" / "onnx" / "facts.json").write_text('{"weights_sha256": "another"}')
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match="cannot write video_encoder.onnx"):
        export_model(checkpoint, str(tmp_path / "model"), onnx=True)
    assert [path.name for path in (tmp_path / "model" / "onnx").iterdir()] == ["mine.onnx"]


@pytest.mark.parametrize("damage", ["{", "[]", "{}"])
def test_onnx_files_that_do_not_say_whose_they_are_are_refused(checkpoint, tmp_path, damage):
    (tmp_path / "model" / "onnx").mkdir(parents=True)
    (tmp_path / "model" / "onnx" / "facts.json").write_text(damage)
    with pytest.raises(ConfigError, match="facts.json does not say which weights the ONNX files are of"):
        export_model(checkpoint, str(tmp_path / "model"))


def test_calibration_of_an_index_goes_along_and_serves_one_that_has_none(checkpoint, dataset_root, tmp_path):
    localizer = MomentLocalizer.from_checkpoint(checkpoint, device="cpu")
    features = FeatureCollection(
        str(dataset_root / "synthetic" / "features.hdf5"),
        "{vid}",
        localizer.input_size,
        str(dataset_root / "synthetic" / "test.json"),
    )
    for name in ("calibrated", "plain"):
        build_index(localizer, features, str(tmp_path / name), "exact")
    with pytest.raises(ConfigError, match="is not calibrated"):
        export_model(checkpoint, str(tmp_path / "out"), index=str(tmp_path / "calibrated"))
    null = np.random.default_rng(0).uniform(0, 0.5, (50, 20))
    calibration = fit_calibration("val", null, np.zeros(null.shape, bool))
    with open_store(str(tmp_path / "calibrated")) as store:
        store.write_info(store.info.with_calibration(json.loads(json.dumps(calibration.to_dict()))))
    export_model(checkpoint, str(tmp_path / "out"), index=str(tmp_path / "calibrated"))
    with MomentIndex.open(tmp_path / "plain", tmp_path / "out") as index:
        assert index.calibration == calibration
        assert index.search("a man throws a ball")[0].confidence is not None
