"""`python -m mmn`, and the file by which other processes of this package are started (`mmn.utils.program`)."""

import sys
from pathlib import Path

if not __package__:  # started by its path: the folder to import from is the one that holds the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from mmn.commands.main import main  # noqa: E402

if __name__ == "__main__":
    main()
