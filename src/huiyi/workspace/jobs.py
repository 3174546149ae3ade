"""Long work, one at a time, each in a process of its own that makes way for others; its state is on disk and outlives this process.

Owns HUIYI_HOME/jobs: a folder a job with `job.json`, the files it was given (`in`) and those it made (`out`). A job that was running when
its server ended, however it ended, goes on with the next one. Several servers on one folder take turns. What a job does is in `jobkinds`;
the process itself is `job_process`.
"""

import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from huiyi import settings
from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound, Overloaded
from huiyi.model import Model
from huiyi.serving import Served
from huiyi.stores.turns import Turns
from huiyi.workspace import jobkinds
from huiyi.workspace.arrivals import arriving, sweep
from huiyi.workspace.collections import canonical
from huiyi.workspace.jobfile import CANCEL, Job, JobError, JobProgress, State, plain, read, unplaced, write
from huiyi.workspace.opened import OpenCollections

log = logging.getLogger(__name__)


ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
FILE = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
MOST_QUEUED = 100
KEPT = 100  # finished ones; older ones are deleted
MOST_ATTEMPTS = 3  # that ended together with the server
LOOK_S = 0.2  # at a job that runs: whether it is to be cancelled
TURN_S = 1.0  # between two looks whether another server is done with its jobs
RETRY_S = 10.0
TELL_S = 0.5  # between two writings of the progress
GRACE_S = 10.0  # to end by itself when cancelled


class Jobs:
    """Safe to call from many threads. Nothing runs before `start`, and no folder is made before the first job.

    collections: what this process holds open. home: default HUIYI_HOME, when it is needed.
    """

    def __init__(self, collections: OpenCollections | None = None, home: str | Path | None = None) -> None:
        self._collections, self._home = collections, home
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work, with what an earlier process left."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="huiyi-jobs", daemon=True)
                self._thread.start()

    def submit(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        collection: str | None = None,
        model: Served | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> Job:
        """Queue a job: `jobkinds.KINDS[kind]`, with these arguments (what JSON can say). model: for what it has to embed.

        files: by the name that arguments use; they are moved to the job. InvalidInput, NotFound, Overloaded.
        """
        arguments = dict(arguments or {})
        jobkinds.require(kind, arguments)
        collection = canonical(collection) if collection is not None else None
        for option, name in jobkinds.EARLIER.items():
            if arguments.get(option) is not None:
                self.file(str(arguments[option]), name)
        for name in files or ():
            if not FILE.fullmatch(name):
                raise InvalidInput(f"{name[:80]!r} is no name for a file here; letters, digits, points, - and _ will do")
        if sum(not job.has_ended for job in self.list()) >= MOST_QUEUED:
            raise Overloaded(f"{MOST_QUEUED} jobs are waiting already; come again when some are done", 60)
        job = _new(kind, "queued", collection, arguments, model)
        with self.arriving() as folder:
            made = folder / "job"  # it is there whole, or not at all
            (made / "in").mkdir(parents=True)
            for name, path in (files or {}).items():
                shutil.move(path, made / "in" / name)
            write(made, job)
            made.rename(self._folder(job.id))
        self.start()
        self._wake.set()
        return job

    def work_now(self, kind: str, arguments: Mapping[str, Any], load: Callable[[str | None], Model], inputs: Path, collection: str) -> Job:
        """Do here and now what a job of this kind would do, and keep it as one that succeeded. inputs: the folder of its files, which stay.

        Raises what the work raises; then nothing is kept.
        """
        jobkinds.require(kind, arguments)
        job = _new(kind, "succeeded", canonical(collection), arguments)
        with self.arriving() as folder:
            made, out = folder / "job", folder / "job" / "out"
            out.mkdir(parents=True)
            place = jobkinds.Place(load, lambda line: None, lambda progress: None, inputs, out, self._jobs())
            found = json.dumps(plain(asdict(jobkinds.KINDS[kind](place, **arguments))), ensure_ascii=False)
            result = json.loads(unplaced(found, inputs, out))
            write(made, replace(job, started=job.created, ended=time.time(), attempts=1, result=result, files=_files(out)))
            made.rename(self._folder(job.id))
        return self.get(job.id)

    def get(self, id: str) -> Job:
        """NotFound."""
        return read(self._existing(id))

    def list(self) -> Sequence[Job]:
        """All that are known, newest first."""
        folder = self._jobs()
        names = sorted((path.name for path in folder.iterdir() if ID.fullmatch(path.name)), reverse=True) if folder.is_dir() else []
        found = []
        for name in names:
            with suppress(NotFound):
                found.append(read(folder / name))
        return found

    def cancel(self, id: str) -> Job:
        """Take it out of the queue, or end its process; it is cancelled when its state says so. Conflict when it has ended."""
        folder = self._existing(id)
        if (job := read(folder)).has_ended:
            raise Conflict(f"the job {id} is over: {job.state}")
        (folder / CANCEL).touch()
        with self._lock:
            if (job := read(folder)).state == "queued":
                self._end(replace(job, state="cancelled"))
            elif not job.has_ended:
                with suppress(Conflict), self._turn():  # a server that was at it was killed, else it has the turn
                    self._end(replace(job, state="cancelled"))
        return read(folder)

    def delete(self, id: str) -> None:
        """Forget a job that has ended, with its files. Conflict while it has not."""
        folder = self._existing(id)
        if not read(folder).has_ended:
            raise Conflict(f"the job {id} has not ended; cancel it first")
        shutil.rmtree(folder, ignore_errors=True)

    def file(self, id: str, name: str) -> Path:
        """One of `Job.files`. NotFound."""
        job = self.get(id)
        if name not in job.files:
            there = ", ".join(job.files) or ("none" if job.has_ended else f"none yet, it is {job.state}")
            raise NotFound(f"the job {id} has no file {name[:80]!r}; it has: {there}")
        return self._folder(id) / "out" / name

    def arriving(self) -> AbstractContextManager[Path]:
        """A folder for what is on its way to a job; for its owner only, and gone at the end, also when this process is killed."""
        folder = self._jobs()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        return arriving(folder)

    def are_worked_on(self) -> bool:
        """Whether a server is at the jobs that have not ended."""
        if self._jobs().is_dir():
            try:
                with self._turn():
                    pass
            except Conflict:
                return True
        return False

    def require_idle(self, collection: str) -> None:
        """Conflict while a job of this collection waits or runs."""
        for job in self.list():
            if job.collection == collection and not job.has_ended:
                raise Conflict(f"the job {job.id} ({job.kind}) works on {collection}; wait for its end, or cancel it")

    def close(self) -> None:
        """End the process of the job that runs; it is taken up again at the next start."""
        self._closing.set()
        self._wake.set()
        thread = self._thread
        if thread is not None:
            thread.join(2 * GRACE_S)

    # the thread that works

    def _work(self) -> None:
        with suppress(OSError, HuiyiError):
            sweep(self._jobs())
        while not self._closing.is_set():
            self._wake.clear()
            if not any(not job.has_ended for job in self.list()):
                self._wake.wait()
                continue
            try:
                with self._turn():
                    self._work_off()
            except Conflict:  # another server has the turn
                self._closing.wait(TURN_S)
            except Exception as error:  # noqa: BLE001  such as a full disk: the jobs stay, and so does the thread
                log.warning("jobs cannot go on, and will be tried again: %s", error)
                self._closing.wait(RETRY_S)

    def _work_off(self) -> None:
        """All that wait, oldest first. Nobody else is at it: what is said to run was left by a process that ended."""
        for job in reversed(self.list()):
            if job.state == "running":
                self._left(job)
        while not self._closing.is_set():
            waiting = [job for job in self.list() if not job.has_ended]
            if not waiting:
                return
            self._run(waiting[-1])

    def _left(self, job: Job) -> None:
        folder = self._folder(job.id)
        shutil.rmtree(folder / "out", ignore_errors=True)
        if job.attempts < MOST_ATTEMPTS:
            write(folder, replace(job, state="queued", progress=None, about="interrupted when the server ended; it is begun again"))
            return
        message = f"the server ended {job.attempts} times while this job ran (was memory short?); free some, and submit it again"
        self._end(replace(job, state="failed", error=JobError(500, "interrupted", message)))

    def _run(self, job: Job) -> None:
        folder = self._folder(job.id)
        with self._lock:
            if read(folder).has_ended:
                return
            job = replace(job, state="running", started=time.time(), attempts=job.attempts + 1, about="")
            (folder / "out").mkdir(exist_ok=True)
            write(folder, job)
        lent = self._collections.lent(job.collection) if self._collections and job.collection else nullcontext()
        with lent:
            ended = self._watched(job, _process(folder, self._jobs().parent))
        if ended is None:  # this server ends
            shutil.rmtree(folder / "out", ignore_errors=True)
            write(folder, replace(job, state="queued", attempts=job.attempts - 1, about="interrupted; it goes on with the next start"))
        else:
            self._end(ended)

    def _watched(self, job: Job, process: "subprocess.Popen[bytes]") -> Job | None:
        """The job as it ended; None when it was stopped since this process ends."""
        folder = self._folder(job.id)
        heard = _Heard(job, folder)
        assert process.stdout
        listening = threading.Thread(target=heard.listen, args=[process.stdout], daemon=True)
        listening.start()
        cancelled = False
        while process.poll() is None:
            cancelled = (folder / CANCEL).exists()
            if cancelled or self._closing.wait(LOOK_S):
                _stop(process)
                break
        _kill(process)  # and whatever it had started
        listening.join(GRACE_S)
        process.stdout.close()
        assert process.stdin
        with suppress(OSError):
            process.stdin.close()
        job = heard.job
        if job.result is not None:
            return replace(job, state="succeeded", files=_files(folder / "out"))
        if cancelled:
            return replace(job, state="cancelled")
        if self._closing.is_set():
            return None
        code = process.returncode
        died = f"signal {-code}" if code < 0 else f"code {code}"
        why = "; was memory short? Free some, and submit it again" if code < 0 else ""
        message = f"its process ended with {died} and said nothing{why}"
        return replace(job, state="failed", error=job.error or JobError(500, "process_ended", message))

    def _end(self, job: Job) -> None:
        folder = self._folder(job.id)
        if job.state != "succeeded":
            shutil.rmtree(folder / "out", ignore_errors=True)
        write(folder, replace(job, ended=time.time(), about="" if job.state == "succeeded" else job.about))
        shutil.rmtree(folder / "in", ignore_errors=True)
        for old in [each for each in self.list() if each.has_ended][KEPT:]:
            shutil.rmtree(self._folder(old.id), ignore_errors=True)

    def _turn(self) -> AbstractContextManager[None]:
        """Of the one server that works. Conflict while another has it."""
        return Turns(self._jobs() / "lock", 0).taken("the jobs")

    def _jobs(self) -> Path:
        return (Path(self._home).expanduser() if self._home is not None else settings.home()) / "jobs"

    def _folder(self, id: str) -> Path:
        return self._jobs() / id

    def _existing(self, id: str) -> Path:
        if not ID.fullmatch(id) or not self._folder(id).is_dir():
            raise NotFound("there is no such job; huiyi jobs list and /v1/jobs show those there are, and the oldest are forgotten")
        return self._folder(id)


class _Heard:
    """What a job's process says, a line of JSON each, put into the job and on disk."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self._folder = job, folder
        self._told = 0.0

    def listen(self, lines: IO[bytes]) -> None:
        with suppress(ValueError):  # of a pipe that was closed
            for line in lines:
                self._hear(json.loads(line))

    def _hear(self, said: dict[str, Any]) -> None:
        if "about" in said:
            self.job = replace(self.job, about=str(said["about"])[:1000])
        if "progress" in said:
            self.job = replace(self.job, progress=JobProgress(**said["progress"]))
        if "error" in said:
            self.job = replace(self.job, error=JobError(**said["error"]))
        if "result" in said:
            self.job = replace(self.job, result=said["result"])
        elif time.monotonic() - self._told > TELL_S or "about" in said:
            self._told = time.monotonic()
            with suppress(OSError):  # the end is written once more
                write(self._folder, self.job, durable=False)


def _new(kind: str, state: State, collection: str | None, arguments: Mapping[str, Any], model: Served | None = None) -> Job:
    now = time.time()
    id_ = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(4)}"
    return Job(id_, kind, state, collection, dict(arguments), now, model.origin if model else None)


def _files(out: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in out.iterdir() if FILE.fullmatch(path.name)))


def _process(folder: Path, home: Path) -> "subprocess.Popen[bytes]":
    """In a group of its own, so that it can be ended with all it started, but in this session: niceness counts within one."""
    grouped: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
    return subprocess.Popen(
        [sys.executable, "-m", "huiyi.workspace.job_process", str(folder)],
        stdin=subprocess.PIPE,  # which ends when this process does
        stdout=subprocess.PIPE,
        env=os.environ | {"HUIYI_HOME": str(home.resolve())},
        **grouped,
    )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Time to put away what is half done."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 9) if os.name == "posix" else process.kill()
    process.wait()
