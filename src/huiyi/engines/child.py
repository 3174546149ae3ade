"""`ChildServer`: SGLang or vLLM started beside us, watched, started again when it ends, and ended with us.

Owns the process and its log; whether its vectors are right is others' business. Its command lines are those of the two projects' pages.
"""

import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Literal, get_args

from huiyi.errors import InvalidInput, NotFound, Unavailable

EngineName = Literal["sglang", "vllm"]
START_S = 1800.0  # weights of several gigabytes, compiled kernels
POLL_S = 0.25
HEALTH_S = 5.0  # between two looks at a server that works
DEAF = 24  # looks in vain, one after the other, before it is ended and started again
END_S = 20.0
FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S = 1.0, 60.0, 60.0
LOG_BYTES = 20 * 2**20
TAIL_LINES = 8
PR_SET_PDEATHSIG = 1
log = logging.getLogger("huiyi.engine")


class ChildServer:
    """command: its words. port: of 127.0.0.1, where /health answers 200 once it serves. log_file: gets all that it prints."""

    def __init__(self, name: str, command: Sequence[str], port: int, log_file: Path) -> None:
        self.name, self.command, self.port, self.log_file = name, list(command), port, log_file
        self.url = f"http://127.0.0.1:{port}"
        self.starts = 0
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._process: subprocess.Popen[bytes] | None = None
        self._ready, self._failed, self._ending = threading.Event(), threading.Event(), threading.Event()
        # A child whose parent is killed is to end as well; Linux tells it when the thread that made it ends, so one thread makes them all.
        self._watcher = threading.Thread(target=self._watch, name=f"huiyi-{name}", daemon=True)

    def start(self, say: Callable[[str], None] = lambda line: None, limit_s: float = START_S) -> None:
        """Until it serves. Raises Unavailable with the end of its log when it ends before, or takes too long."""
        say(f"starting {' '.join(self.command)}; its log is {self.log_file}")
        self._watcher.start()
        end = monotonic() + limit_s
        while not self._ready.wait(POLL_S):
            if self._failed.is_set() or monotonic() > end:
                ended = self._failed.is_set()
                self.close()
                raise Unavailable(f"{self.name} {'ended' if ended else 'was not ready'} before it could serve: {self.tail()}")

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def tail(self) -> str:
        """The last lines of its log, as one."""
        try:
            lines = self.log_file.read_text("utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        except OSError:
            lines = []
        return " | ".join(line.strip() for line in lines if line.strip()) or f"it printed nothing; see {self.log_file}"

    def close(self) -> None:
        """Ends it: SIGTERM to it and what it started, SIGKILL to whatever is left after a while."""
        self._ending.set()
        if self._watcher.is_alive() and self._watcher is not threading.current_thread():
            self._watcher.join(END_S + 10)

    def _watch(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._ending.is_set():
            began = monotonic()
            try:
                self._launch()
            except OSError as error:
                log.error("%s cannot be started: %s", self.name, error)
                self._failed.set()
                return
            reason = self._until_it_ends()
            self._end()
            if self._ending.is_set():
                return
            if not self._ready.is_set():
                self._failed.set()
                return
            pause = FIRST_PAUSE_S if monotonic() - began > STEADY_S else min(LONGEST_PAUSE_S, 2 * pause)
            log.warning("%s %s; it is started again in %.0f s. Its last words: %s", self.name, reason, pause, self.tail())
            self._ending.wait(pause)

    def _launch(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".old.log"))
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        self.starts += 1

    def _until_it_ends(self) -> str:
        """Why it is over."""
        assert self._process
        in_vain = 0
        while not self._ending.wait(HEALTH_S if self._ready.is_set() and not in_vain else POLL_S):
            if self._process.poll() is not None:
                return f"ended with status {self._process.returncode}"
            if self._healthy():
                in_vain = 0
                self._ready.set()
            elif self._ready.is_set():
                in_vain += 1
                if in_vain * POLL_S >= DEAF * HEALTH_S:
                    return "did not answer any more"
        return "was told to end"

    def _healthy(self) -> bool:
        try:
            with self._opener.open(f"{self.url}/health", timeout=HEALTH_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        for sent in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sent)
            except ProcessLookupError:
                break
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                continue
        process.wait()


def command_of(engine: str, model: str, name: str, port: int, arguments: Sequence[str] = ()) -> list[str]:
    """The command line of an engine for a model (a folder or a hub's name) served as `name`. Raises NotFound where it is not installed."""
    if engine not in get_args(EngineName):
        raise InvalidInput(f"there is no engine {engine!r}; there are {' and '.join(get_args(EngineName))}")
    program = shutil.which(engine)
    if program is None:
        raise NotFound(f"{engine} is not installed on this machine: pip install {engine}, in this environment or another one on PATH")
    model_words = ["--model-path", model, "--is-embedding"] if engine == "sglang" else [model, "--runner", "pooling"]
    return [program, "serve", *model_words, "--host", "127.0.0.1", "--port", str(port), "--served-model-name", name, *arguments]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
