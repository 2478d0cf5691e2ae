"""Trainings with ever fewer annotations: the files that they are made of, and the curves that are read of them."""

import json
from pathlib import Path

import pytest

from mmn.apps.benchmark import few_shot
from mmn.config import load_config
from mmn.data.splits import Splits


@pytest.fixture
def out(tmp_path):
    """Folder with the dataset of the parts 1 and 0.5, of six and two made-up videos."""
    for split, count in (("train", 6), ("test", 2)):
        videos = {
            f"{split}{number}": {"duration": 9.0, "timestamps": [[1, 4]], "sentences": [f"person opens box {number}"]}
            for number in range(count)
        }
        (tmp_path / f"charades_{split}.json").write_text(json.dumps(videos))
    few_shot.write_dataset(tmp_path, tmp_path / "out", noise=1.0, parts=[1.0, 0.5])
    return tmp_path / "out"


@pytest.mark.parametrize("start", few_shot.STARTS)
def test_training_of_a_part_reads_that_part_and_gives_its_curve_in_percent(out, monkeypatch, start):
    configs = []

    def run(command, words):
        configs.append(load_config("ablation_charades_simulated", words))
        folder = Path(configs[-1].OUTPUT_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"loss": 1.0}, {"R@1,IoU@0.5": 0.25}, {"loss": 0.5}, {"R@1,IoU@0.5": 0.5}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return 12.5

    monkeypatch.setattr(few_shot, "run", run)
    assert few_shot.train(out, 0.5, start, epochs=4) == [12.5, 25.0, 50.0]
    for cfg in configs:
        (train,), (test,) = (Splits(cfg).named(key) for key in ("TRAIN", "TEST"))
        assert list(json.loads(Path(train.entry.annotation).read_text())) == ["train0", "train2", "train4"]
        assert list(json.loads(Path(test.entry.annotation).read_text())) == ["test0", "test1"]
        assert Path(train.entry.tracks[0].path).exists() and Path(cfg.MODEL.MMN.TEXT_ENCODER.PRETRAINED).is_dir()
        assert cfg.MODEL.MMN.DUAL_START is (start == "dual encoder")
