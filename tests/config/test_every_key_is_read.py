"""A key that nothing reads, or a read of a key that does not exist, is a mistake."""

import re

import pytest
from tiny import ROOT

from mmn.config.load import config_keys

UNUSED = {"MODEL.MMN.LOSS.BCE_WEIGHT", "MODEL.MMN.LOSS.PAIRWISE_SENT_WEIGHT"}
SOURCE = "\n".join(
    path.read_text()
    for path in sorted([*(ROOT / "mmn").rglob("*.py"), *(ROOT / "tools").glob("*.py")])
    # Declaring and checking a value is not using it.
    if path.name not in ("defaults.py", "validate.py")
)


@pytest.mark.parametrize("key", sorted(set(config_keys()) - UNUSED))
def test_key_is_read(key):
    name = key.rpartition(".")[2]
    # As an attribute; or, for DATASETS.TRAIN and TEST, by the name handed to `split_names`.
    is_read = re.search(rf"\.{name}\b(?!\s*=[^=])", SOURCE) or re.search(rf'split_names\(cfg, "{name}"\)', SOURCE)
    is_checked_choice = key == "MODEL.MMN.TEXT_ENCODER.NAME"  # one choice, refused otherwise
    assert is_read or is_checked_choice, f"nothing reads {key}"


@pytest.mark.parametrize("key", sorted(UNUSED))
def test_unused_key_is_said_to_be_unused(key):
    line = next(line for line in (ROOT / "mmn/config/defaults.py").read_text().splitlines() if f"{key} =" in line)
    assert "# unused" in line


def test_every_key_that_is_read_is_declared():
    known = {part for key in config_keys() for part in key.split(".")}
    reads = re.findall(r"\bcfg((?:\.[A-Z][A-Z0-9_]+)+)", SOURCE)
    assert reads
    assert {part for read in reads for part in read.strip(".").split(".")} <= known
