"""The process of one job: `python -m huiyi.workspace.job_process FOLDER`. It says how it stands in lines of JSON on standard output.

Lines are {"about": sentence}, {"progress": {...}}, and at the end {"result": {...}} or {"error": {status, code, message}}. It runs behind
everything else on the machine, and ends, with all it started, when standard input does: then nobody waits for it any more.
"""

import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from huiyi.ending import end_at_once
from huiyi.errors import HuiyiError
from huiyi.model import Model
from huiyi.workspace.jobfile import Job, plain, read, unplaced
from huiyi.workspace.jobkinds import KINDS, Place
from huiyi.workspace.texts import Progress

NICE = 19
log = logging.getLogger("huiyi.jobs")


def main(folder: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    """tell: gets the lines, in which the job's own folders are not named."""
    job = read(folder)

    def fail(status: int, code: str, message: str) -> None:
        tell({"error": {"status": status, "code": code, "message": message}})

    try:
        place = Place(
            _loader(job), lambda line: tell({"about": line}), lambda progress: tell({"progress": _progress(progress)}),
            folder / "in", folder / "out", folder.parent, job.origin.model if job.origin else None,
        )  # fmt: skip
        result = plain(asdict(KINDS[job.kind](place, **job.arguments)))
    except HuiyiError as error:
        fail(error.status, error.code, str(error))
    except MemoryError:
        fail(500, "out_of_memory", "there was not enough memory for this; free some, or take less at a time")
    except Exception as error:  # noqa: BLE001  told without its words, which may quote what was sent
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("%s in the job %s (%s)\n%s", type(error).__name__, job.id, job.kind, frames)
        fail(500, "internal_error", "something went wrong; the server's log has more")
    else:
        tell({"result": result})


def _loader(job: Job) -> Callable[[str | None], Model]:
    """What the job was submitted with, else by name; one that is not on this machine is not fetched for a job."""
    from huiyi.workspace.models import load

    def made(name: str | None) -> Model:
        origin = job.origin
        if origin is not None:
            max_tokens, adapter, device = origin.max_tokens, origin.adapter, origin.device
            return load(origin.model, origin.precision, max_tokens=max_tokens, adapter=adapter, device=device, offline=True)
        return load(name, offline=True)

    return made


def _progress(progress: Progress) -> dict[str, Any]:
    left = progress.seconds_left
    return {
        "done": progress.rows_done,
        "total": progress.rows,
        "texts_per_s": round(progress.texts_per_s, 1),
        "seconds_left": round(left, 1),
    }


def _end_with_parent() -> None:
    """When whoever started this is gone."""
    while os.read(0, 1):
        pass
    if os.name == "posix":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _teller(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Lines go where standard output was; what libraries print goes to standard error."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(what: dict[str, Any]) -> None:
        line = unplaced(json.dumps(what, ensure_ascii=False, allow_nan=False), folder / "in", folder / "out")
        with lock:
            lines.write(line + "\n")
            lines.flush()

    return tell


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    with suppress(AttributeError, OSError):
        os.nice(NICE)
    signal.signal(signal.SIGTERM, _interrupted)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        end_at_once(lambda: main(Path(sys.argv[1]), _teller(Path(sys.argv[1]))))
    except KeyboardInterrupt:  # what was half done is put away; what threads still compute, nobody wants
        os._exit(130)
