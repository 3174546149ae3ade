"""How a process of huiyi ends: everything is put away, and what native libraries would still take down is left to the system.

Their taking down has crashed once in some forty runs of `huiyi demo`, after its last line (a damaged pointer, read by malloc).
"""

import atexit
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

LOST_OUTPUT = 120  # Python's own exit code where the last output could not be written


def end_at_once(main: Callable[[], object]) -> NoReturn:
    """Run `main` and end the process as Python would, exit code and handlers of `atexit` included, but without its last clearing up."""
    code = 1

    def leave() -> None:
        status = code
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                status = status or LOST_OUTPUT
        os._exit(status)

    atexit.register(leave)  # before all others, so that it is called after them
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    sys.exit()
