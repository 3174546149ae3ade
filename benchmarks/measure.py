"""Runs competitors side by side, each in a process of its own, in turns, so that a machine whose speed drifts is fair to all.

A competitor is a function in `competitors.py`: it loads and returns `run(texts) -> vectors`. Every figure is a median over rounds;
ratios are taken round by round, because neighbours in time saw the same machine.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


class Competitor:
    """A process that loads `competitors.NAME(**options)` and then encodes what it is given."""

    def __init__(self, name: str, **options) -> None:
        self.name = name
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, __file__, name, json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ready = self._answer()
        self.load_s = time.perf_counter() - started

    def run(self, texts: list[str], save: str | None = None, **how) -> dict:
        """{"seconds", "rss_mb", "peak_mb"} and what the competitor's `about` says; vectors to the file `save`. how: passed on to it."""
        self._process.stdin.write(json.dumps({"texts": texts, "save": save, "how": how}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait(60)}")
        return json.loads(line)


def serve() -> None:
    """The competitor's side of the pipe; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import competitors

    run = getattr(competitors, sys.argv[1])(**json.loads(sys.argv[2]))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        vectors = run(request["texts"], **request["how"])
        seconds = time.perf_counter() - started
        if request["save"]:
            np.save(request["save"], np.asarray(vectors))
        measured = {"seconds": seconds, "rss_mb": rss_mb(), "peak_mb": peak_mb(), **getattr(run, "about", {})}
        print(json.dumps(measured), file=answers, flush=True)


def rss_mb(process: str = "self") -> int:
    """Resident now, of which pages of files that are only read are a part."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class PeakWithChildren:
    """In a `with` block: the most that this process and its children held at the same time, looked at twenty times a second.

    The system's own figure for children will not do: a child begins as a copy of its parent, whose memory is then counted as its own.
    """

    def __enter__(self) -> "PeakWithChildren":
        self.mb, self._done = 0, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        own = Path("/proc/self/cmdline").read_bytes()
        while not self._done.wait(0.05):
            mb = rss_mb()
            for task in Path("/proc/self/task").iterdir():
                try:
                    children = (task / "children").read_text().split()
                    mb += sum(rss_mb(child) for child in children if Path(f"/proc/{child}/cmdline").read_bytes() != own)
                except OSError:
                    pass  # it has just ended
            self.mb = max(self.mb, mb)


def cosines(a, b) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def ratio(rounds_a: list[float], rounds_b: list[float]) -> float:
    """Median of a/b, round by round."""
    return round(median(a / b for a, b in zip(rounds_a, rounds_b, strict=True)), 2)


def write(name: str, title: str, rows: list[dict], settings: dict, note: str = "") -> None:
    RESULTS.mkdir(exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    result = {
        "title": title,
        "date": date.today().isoformat(),
        "commit": commit,
        "machine": machine(),
        "settings": settings,
        "note": note,
        "rows": rows,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(f"wrote benchmarks/results/{name}.json", file=sys.stderr)


def beside(name: str, key: str, row: dict) -> list[dict]:
    """The rows of the result `name`, `row` in the place of the one with its `key`: so that a long benchmark can go on size by size."""
    path = RESULTS / f"{name}.json"
    rows = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    return sorted([*(each for each in rows if each[key] != row[key]), row], key=lambda each: each[key])


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile") if flag in fields.get("flags", "").split()]
    generation = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    return f"{fields.get('model name', platform.machine())} ({generation}; {', '.join(flags)}), {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    serve()
