"""Folders for what is on its way to a job: gone when they are left, and swept at the next start when their process was killed meanwhile.

Each is locked by the process that fills it, so that a sweep never takes one that is in use, whichever server began it.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from huiyi.errors import Conflict
from huiyi.stores.turns import Turns

ARRIVING, SWEPT = ".arriving-", ".swept-"


@contextmanager
def arriving(place: Path) -> Iterator[Path]:
    """A folder of one's own below `place`. It is left by the thread that entered it."""
    with ExitStack() as use:
        with _coming_and_going(place):  # so that whoever sweeps sees a folder with its lock
            folder = Path(tempfile.mkdtemp(prefix=ARRIVING, dir=place))
            use.enter_context(_in_use(folder))
        try:
            yield folder
        finally:
            use.close()
            shutil.rmtree(folder, ignore_errors=True)


def sweep(place: Path) -> None:
    """Take away what killed processes left."""
    left = list(place.glob(f"{ARRIVING}*"))
    if left:
        with _coming_and_going(place):
            for folder in left:
                with suppress(Conflict, FileNotFoundError):
                    with _in_use(folder):
                        pass
                    folder.rename(place / f"{SWEPT}{time.time_ns()}")  # deleting may take longer than others can wait
    for folder in place.glob(f"{SWEPT}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _coming_and_going(place: Path) -> AbstractContextManager[None]:
    return Turns(place / "arrivals.lock").taken("the folder of jobs")


def _in_use(folder: Path) -> AbstractContextManager[None]:
    return Turns(folder / "lock", 0).taken(folder.name)
