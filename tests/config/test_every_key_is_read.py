"""A key that nothing reads, or a read of a key that does not exist, is a mistake."""

import re

import pytest
from config_reads import TOP, config_reads
from tiny import ROOT

from mmn.config.load import config_keys

UNUSED = {"MODEL.MMN.LOSS.BCE_WEIGHT", "MODEL.MMN.LOSS.PAIRWISE_SENT_WEIGHT"}
ONE_CHOICE = {"MODEL.MMN.TEXT_ENCODER.NAME"}  # validate.py refuses any other
MENTION = re.compile(rf"\.({'|'.join(TOP)})\b")


@pytest.fixture(scope="module")
def reads():
    """Full names of all keys and sections that the package and its tools read."""
    paths = [*(ROOT / "mmn").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
    # Declaring and checking a value is not using it.
    sources = [path.read_text() for path in paths if path.name not in ("defaults.py", "validate.py")]
    return set().union(*(config_reads(source) for source in sources if MENTION.search(source)))


def test_every_key_is_read(reads):
    assert set(config_keys()) - reads == UNUSED | ONE_CHOICE


def test_every_key_that_is_read_is_declared(reads):
    sections = {key[: dot.start()] for key in config_keys() for dot in re.finditer(r"\.", key)}
    assert reads <= {*config_keys(), *sections}


@pytest.mark.parametrize("key", sorted(UNUSED))
def test_unused_key_is_said_to_be_unused(key):
    line = next(line for line in (ROOT / "mmn/config/defaults.py").read_text().splitlines() if f"{key} =" in line)
    assert "# unused" in line


# ---- What counts as a read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("cfg.SOLVER.LR", "SOLVER.LR"),
        ("rate = 2 * load(path).cfg.SOLVER.LR", "SOLVER.LR"),
        ("cfg.OUTPUT_DIR.split()", "OUTPUT_DIR"),
        ("cfg['SOLVER']; cfg.SOLVER['LR']", "SOLVER.LR"),
        ("solver = cfg.SOLVER\nsolver.LR", "SOLVER.LR"),
        ("mmn, name = self.cfg.MODEL.MMN, 'x'\nmmn.FEAT2D.NAME", "MODEL.MMN.FEAT2D.NAME"),
        ("mmn = cfg.MODEL.MMN\nloss = mmn.LOSS\nloss.MARGIN", "MODEL.MMN.LOSS.MARGIN"),
        ("def train(cfg):\n  solver = cfg.SOLVER\n  def step():\n    return solver.LR", "SOLVER.LR"),
    ],
)
def test_whole_name_of_a_key_is_found(source, key):
    assert key in config_reads(source)


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("cfg.TEST.BATCH_SIZE; loader.BATCH_SIZE", "SOLVER.BATCH_SIZE"),  # namesakes
        ("cfg.SOLVER.LR = 1", "SOLVER.LR"),  # set, not read
        ("'cfg.SOLVER.LR'  # cfg.SOLVER.LR", "SOLVER.LR"),
        ("solver = cfg.SOLVER\nsolver = build()\nsolver.LR", "SOLVER.LR"),
        ("def build(cfg):\n  solver = cfg.SOLVER\ndef step(solver):\n  return solver.LR", "SOLVER.LR"),
    ],
)
def test_what_is_no_read_of_a_key_does_not_count(source, key):
    assert key not in config_reads(source)
