"""A dual encoder tested on a whole split like any other model, without a checkpoint, and not trained."""

import pytest
from tiny import tiny_options

from mmn.commands.frame import run_command

WORD_VECTORS = 64  # width of the tiny dataset's text encoder


@pytest.fixture
def split(dataset_root, tmp_path):
    """Options of a test split whose features are as wide as the sentence vectors."""
    import h5py
    import numpy as np

    root = tmp_path / "dataset"
    (root / "synthetic").mkdir(parents=True)
    for path in (dataset_root / "synthetic").glob("*.json"):
        (root / "synthetic" / path.name).write_bytes(path.read_bytes())
    generator = np.random.default_rng(0)
    with (
        h5py.File(dataset_root / "synthetic" / "features.hdf5") as old,
        h5py.File(root / "synthetic" / "features.hdf5", "w") as file,
    ):
        for name in old:
            file[name] = generator.standard_normal((len(old[name]), WORD_VECTORS)).astype(np.float32)
    values = dict(zip(*[iter(tiny_options(dataset_root, tmp_path / "output"))] * 2, strict=True))
    return {
        "DATASETS.ROOT": str(root),
        "DATASETS.TEST": "('synthetic_test',)",
        "MODEL.DEVICE": "cpu",
        "MODEL.MMN.TEXT_ENCODER.PRETRAINED": values["MODEL.MMN.TEXT_ENCODER.PRETRAINED"],
        "MODEL.MMN.TEXT_ENCODER.POOLING": "mean",
        "MODEL.MMN.FEATPOOL.INPUT_SIZE": str(WORD_VECTORS),
        "MODEL.MMN.JOINT_SPACE_SIZE": str(WORD_VECTORS),
        "DATALOADER.NUM_WORKERS": "0",
        "OUTPUT_DIR": str(tmp_path / "output"),
    }


def run(command, split, *flags):
    options = [word for pair in split.items() for word in pair]
    run_command(command, ["--config-file", "zero_shot", *flags, *options], tool="")


def test_every_rule_scores_a_split_without_a_checkpoint(split, capsys):
    run("test", split, "--sweep", "TEST.CONTRASTIVE_RULE=cosine,scaled,local")
    table = capsys.readouterr().out
    assert "CONTRASTIVE_RULE" in table
    rows = {words[1]: words[3:] for words in map(str.split, table.splitlines()) if len(words) > 3}
    assert rows["scaled"] != rows["cosine"]


def test_training_it_is_refused(split, capsys):
    with pytest.raises(SystemExit):
        run("train", split | {"DATASETS.TRAIN": "('synthetic_train',)"})
    assert "ZERO_SHOT has nothing to train" in capsys.readouterr().err
