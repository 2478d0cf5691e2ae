"""How a tool ends: a user's mistake is one sentence and exit code 2, anything else a traceback."""

import os
import sys
import time
from collections.abc import Callable

from mmn.utils.comm import destroy_process_group
from mmn.utils.errors import UserError

USER_ERROR_EXIT_CODE = 2
# Most mistakes meet all processes at once. Those of rank > 0 wait this many seconds before they speak, in which the
# launcher ends them if rank 0 has spoken.
OTHER_RANKS_DELAY = 3


def run_tool(main: Callable[[], None]) -> None:
    """Call `main()`. With MMN_DEBUG=1 a user's mistake shows its traceback too."""
    try:
        main()
    except UserError as error:
        if os.environ.get("MMN_DEBUG", "0") not in ("", "0"):
            raise
        # An error of a data loader worker arrives with its traceback as text; the sentence is its last line.
        sentence = str(error).strip().splitlines()[-1].split("Error: ")[-1]
        if os.environ.get("RANK", "0") != "0":
            time.sleep(OTHER_RANKS_DELAY)
        print(f"error: {sentence}", file=sys.stderr, flush=True)
        sys.exit(USER_ERROR_EXIT_CODE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        destroy_process_group()
