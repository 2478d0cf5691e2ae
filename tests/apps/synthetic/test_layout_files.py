"""Every layout that others distribute: written from annotations, checked, trained on and tested."""

import json

import numpy as np
import pytest
import torch
from tiny import tiny_config

from mmn.apps.synthetic.layout_files import simulate_layout
from mmn.apps.synthetic.options import LayoutOptions
from mmn.config.distributed import LAYOUTS
from mmn.config.paths_catalog import CATALOG
from mmn.data.moment_files import build_dataset
from mmn.data.splits import Splits
from mmn.data.tokenizer import build_tokenizer
from mmn.engine.data_files import check_data
from mmn.engine.run import test as run_test
from mmn.engine.run import train
from mmn.utils.errors import ConfigError, DataError

LAYOUT_AND_DATASET = [
    *(("lighthouse", name) for name in ("qvhighlights", "charades", "activitynet")),
    *(("moment_detr", "qvhighlights"), ("univtg", "charades"), ("univtg_hdf5", "qvhighlights"), ("r2_tuning", "tacos")),
    *(("internvideo2", "tacos"), ("vslnet", "charades"), ("ego4d", "ego4d"), ("mad", "mad")),
]
SENTENCES = ["a person opens a door", "the dog runs", "she drops a cup", "a car stops", "he sings"]


def write_source(folder, dataset, split):
    """Annotations as they come: JSON lines with several windows for QVHighlights, section 1's json for the others."""
    path = folder / f"{split}.{'jsonl' if dataset == 'qvhighlights' else 'json'}"
    if dataset == "qvhighlights":
        windows = [[[2, 6], [10, 14]], [[4, 8]], [[0, 4]], [[6, 16]], [[8, 10], [12, 18], [0, 2]]]
        lines = [
            {
                "qid": number,
                "query": text,
                "duration": 20,
                "vid": f"{split}_{number}",
                "relevant_windows": windows[number],
            }
            for number, text in enumerate(SENTENCES)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        end = ".avi" if dataset == "tacos" else ""
        entry = {"fps": 25.0, "num_frames": 500} if dataset == "tacos" else {"duration": 20.0}
        rate = entry.get("fps", 1)
        times = [[2 * rate, 9 * rate], [5 * rate, 20 * rate]]
        entries = {
            f"{split}_{number}{end}": entry | {"timestamps": times, "sentences": SENTENCES[number : number + 2]}
            for number in range(4)
        }
        path.write_text(json.dumps(entries))
    return str(path)


@pytest.fixture
def simulate(tmp_path):
    def run(layout, dataset):
        (tmp_path / "sources").mkdir(exist_ok=True)
        splits = ("train", "test")
        sources = {split: write_source(tmp_path / "sources", dataset, split) for split in splits}
        options = LayoutOptions(layout, dataset, noise=0.5)
        return simulate_layout(tmp_path / "dataset", options, sources, log=lambda line: None)

    return run


def config_of(dataset_root, tmp_path, name, *options):
    entry = CATALOG[f"{name}_train"]
    return tiny_config(
        dataset_root,
        tmp_path / "output",
        *("DATASETS.ROOT", str(tmp_path / "dataset"), "SOLVER.MAX_EPOCH", "1"),
        *("MODEL.MMN.FEATPOOL.INPUT_SIZE", str([track.width for track in entry.tracks])),
        *("DATASETS.TRAIN", f"('{name}_train',)", "DATASETS.VAL", "()", "DATASETS.TEST", f"('{name}_test',)"),
        *options,
    )


def test_every_layout_is_tried():
    assert {layout for layout, _ in LAYOUT_AND_DATASET} == LAYOUTS.keys()


@pytest.mark.parametrize(("layout", "dataset"), LAYOUT_AND_DATASET)
def test_layout_is_checked_trained_on_and_tested(simulate, dataset_root, tmp_path, layout, dataset):
    names = simulate(layout, dataset)
    cfg = config_of(dataset_root, tmp_path, names[0].rpartition("_")[0])
    check_data(cfg)
    (tmp_path / "output").mkdir()
    train(cfg, torch.device("cpu"))
    run_test(cfg, torch.device("cpu"), dump=str(tmp_path / "found.jsonl"))
    found = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert len(found) == (5 if dataset == "qvhighlights" else 8)


@pytest.mark.parametrize("layout", ["univtg", "r2_tuning", "internvideo2"])
def test_rows_of_a_layout_carry_the_moments_through_its_own_form(simulate, dataset_root, tmp_path, layout):
    (name, *_) = simulate(layout, "charades")
    cfg = config_of(dataset_root, tmp_path, name.rpartition("_")[0], "INPUT.NUM_PRE_CLIPS", "16")
    clips = build_dataset(cfg, Splits(cfg).find(name), build_tokenizer(cfg)).clips(0)
    inside, outside = clips[5:7], clips[:1]  # of the moments from 2 and 5 s on, of 20 s
    assert np.dot(inside[0], inside[1]) > 3 * abs(np.dot(inside[0], outside[0]))


def test_real_features_are_left_alone(simulate, tmp_path):
    folder = tmp_path / "dataset" / "lighthouse" / "features" / "charades" / "clip"
    folder.mkdir(parents=True)
    (folder / "real.npz").write_text("real")
    with pytest.raises(DataError, match="does not say that it is simulated"):
        simulate("lighthouse", "charades")
    assert [path.name for path in folder.iterdir()] == ["real.npz"]


@pytest.mark.parametrize(("layout", "kind"), [("lighthouse", "npz"), ("r2_tuning", "npy"), ("internvideo2", "pt")])
def test_interrupted_writing_leaves_no_half_file(simulate, tmp_path, monkeypatch, layout, kind):
    def interrupted(file, *_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("mmn.apps.synthetic.layout_files.save_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(layout, "charades")
    (mark,) = (tmp_path / "dataset").rglob("SIMULATED.txt")
    assert [path.name for path in mark.parent.iterdir()] == [mark.name]
    left = mark.parent / f".video.{kind}.mmn-abcd1234.tmp"  # of a process that was killed
    left.touch()
    monkeypatch.undo()
    simulate_layout(tmp_path / "dataset", LayoutOptions(layout, "charades", noise=0.5), log=lambda line: None)
    assert not left.exists() and len(list(mark.parent.glob(f"*.{kind}"))) == 8


def test_annotations_in_place_are_left_alone(simulate, tmp_path):
    place = tmp_path / "dataset" / "QVHighlights" / "highlight_train_release.jsonl"
    place.parent.mkdir(parents=True)
    place.write_text("others")
    with pytest.raises(DataError, match="is there already"):
        simulate("lighthouse", "qvhighlights")
    assert place.read_text() == "others"


@pytest.mark.parametrize("options", [("nobodys", "charades"), ("mad", "charades")])
def test_unknown_layout_or_dataset_lists_the_choices(options):
    with pytest.raises(ConfigError, match="must be one of 'lighthouse'|must be one of 'mad'"):
        LayoutOptions(*options, noise=1)
