"""Print, per fixture, the largest differences from the recorded values: `python tests/parity_report.py`.

With --sensitivity, print instead how much rounding can change the recorded training runs, see tests/rounding.py.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import parity  # noqa: E402
import stvg_parity  # noqa: E402
import tan_parity  # noqa: E402

from golden_fixture import GOLDEN, MMN_FIXTURES, STVG_FIXTURES, TAN_FIXTURES  # noqa: E402


def print_report() -> None:
    if not MMN_FIXTURES and not STVG_FIXTURES and not TAN_FIXTURES:
        print(f"no fixtures in {GOLDEN}: set MMN_GOLDEN to their folder")
    for module, names in ((parity, MMN_FIXTURES), (stvg_parity, STVG_FIXTURES), (tan_parity, TAN_FIXTURES)):
        for name in names:
            print(name)
            for kind, error in module.worst_errors(name).items():
                print(f"  {kind:<58} {error:.1e}")


def print_sensitivity() -> None:
    for name in MMN_FIXTURES:
        changes = parity.rounding_changes(name)
        print(f"{name} {parity.fixture(name).digest()}", changes)


if __name__ == "__main__":
    print_sensitivity() if "--sensitivity" in sys.argv[1:] else print_report()
