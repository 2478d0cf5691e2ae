"""Print, per fixture, the largest differences from the recorded values: `python tests/parity_report.py`."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from parity import worst_errors  # noqa: E402

from golden_fixture import GOLDEN, MMN_FIXTURES  # noqa: E402


def print_report() -> None:
    if not MMN_FIXTURES:
        print(f"no fixtures in {GOLDEN}: set MMN_GOLDEN to their folder")
    for name in MMN_FIXTURES:
        print(name)
        for kind, error in worst_errors(name).items():
            print(f"  {kind:<58} {error:.1e}")


if __name__ == "__main__":
    print_report()
