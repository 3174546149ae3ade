"""The console: its map of topics at 10,000 and 100,000 points, the API's latency while pages are open, and an end with pages open.

    python benchmarks/bench_console.py [map] [load] [--points 10000 100000] [--rounds 5] [--seconds 8] [--model FOLDER] [--work FOLDER]

A map of topics of drawn vectors (two coordinates a point, levels that nest) is put where a finished job leaves its own, `huiyi serve` is
started on it, and Debian's Chromium opens the page without a graphics card. Expected before the first run: interactive in 3 s, 30 frames
a second at 100,000 points, another level in 2 s at 10,000; the API's p95 worse by 10 % at most with three pages open; an end in 2 s.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from checkpoint import REPOSITORY, checkpoint, workload
from measure import ratio, write
from servers import Caller, pressed

from huiyi import workspace
from huiyi.workspace import topic_maps
from huiyi.workspace.jobfile import Job
from huiyi.workspace.jobfile import write as write_job
from huiyi.workspace.records import Records

WORDS = ("refund", "parcel", "login", "invoice", "card", "courier", "password", "crash", "price", "order", "退款", "快递", "账单", "登录")
DIMENSIONS = 64  # of the drawn vectors: what a page shows does not depend on them
FLAGS = ("--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
FRAMES = """() => new Promise(done => { const times = []; const step = now => { times.push(now);
  times.length < 120 && now - times[0] < 6000 ? requestAnimationFrame(step) : done(times); }; requestAnimationFrame(step); })"""


CLIENTS = 4
PAGES = ("/server", "/data", "/topics?job=")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("what", nargs="*", metavar="map|load", default=["map", "load"])
    arguments.add_argument("--points", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=8)
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    arguments.add_argument("--model", type=Path, help="a folder in the place of the 0.6B shape")
    options = arguments.parse_args()
    if "map" in options.what:
        measure_map(options.points)
    if "load" in options.what:
        measure_load(options.model or checkpoint(options.work / "qwen3-0.6b-shape"), options.rounds, options.seconds)


def measure_map(points: list[int]) -> None:
    write(
        "console_map",
        "The console's map of topics in headless Chromium, WebGL in software",
        [measured(count) for count in points],
        {"browser": "Debian's Chromium, --use-angle=swiftshader", "window": "1280 x 900"},
        "first: the first visit of the page after the server started, so that the map is read from disk; again: a reload. Usable: from the "
        "request until the points are drawn and named and the list stands. Another level: from the key "
        "until all of it is drawn anew, the median over all levels. Frames are counted while the map is dragged.",
    )


def measured(points: int) -> dict:
    home = Path(tempfile.mkdtemp())
    try:
        made = time.perf_counter()
        job, levels = make(home, points)
        made = time.perf_counter() - made
        with serving(home, "starter") as (_, address):
            return {"points": points, "levels": levels, **visited(f"{address}/topics?job={job}"), "writing the map, s": round(made, 1)}
    finally:
        shutil.rmtree(home)


def measure_load(folder: Path, rounds: int, seconds: float) -> None:
    """The same server, in turns without pages and with three of them; the browser stands back, as it would on another machine."""
    from playwright.sync_api import sync_playwright

    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    home = Path(tempfile.mkdtemp())
    program = home / "chromium"
    program.write_text(f'#!/bin/sh\nexec nice -n 19 {shutil.which("chromium")} "$@"\n')
    program.chmod(0o755)
    job, _ = make(home, 10_000)
    texts, found = workload(folder, 1024, 18), {0: [], len(PAGES): []}
    with serving(home, str(folder), "--no-cache") as (process, address), sync_playwright() as playwright:
        port = int(address.rpartition(":")[2])
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        callers = [Caller(port, folder.name).embed for _ in range(CLIENTS)]
        pressed(callers, texts, seconds)
        for turn in range(2 * rounds):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            pages = (0, len(PAGES))[turn % 2]
            for path in PAGES[:pages]:
                page = context.new_page()
                page.goto(address + path + (job if path.endswith("=") else ""))
                page.locator("#content:not([aria-busy])").wait_for()
            time.sleep(1)
            found[pages].append(pressed(callers, texts, seconds))
            print(pages, "pages:", round(1000 * percentile(found[pages][-1], 95), 1), "ms p95", file=sys.stderr)
            if turn < 2 * rounds - 1:
                context.close()
        began = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        status = process.wait(150)
        ended = time.perf_counter() - began
        browser.close()
    shutil.rmtree(home)
    p95 = {pages: [percentile(each, 95) for each in runs] for pages, runs in found.items()}
    rows = [
        {
            "pages open": pages,
            "texts/s": round(median(each["texts_per_s"] for each in runs), 1),
            "p50, ms": round(1000 * median(percentile(each, 50) for each in runs), 1),
            "p95, ms": round(1000 * median(p95[pages]), 1),
            "p95, of that without": ratio(p95[pages], p95[0]),
        }
        for pages, runs in found.items()
    ]
    write(
        "console_load",
        "The API's latency while pages of the console are open",
        rows,
        {"model": folder.name, "clients": CLIENTS, "rounds": rounds, "seconds a round": seconds, "pages": "Server, Data, Topics"},
        f"One text a request, {CLIENTS} clients that wait for their answers; rounds in turns on the same server; the browser runs on the "
        f"same cores at a nice of 19. SIGTERM with the pages open: the process ended after {ended:.1f} s, one of it notice, with {status}.",
    )


def percentile(run: dict, share: float) -> float:
    return float(np.percentile(run["latencies"], share))


def make(home: Path, count: int) -> tuple[str, int]:
    """A finished job with a map of `count` different texts, found by the graph method on drawn vectors."""
    from huiyi.tasks import cluster
    from huiyi.workspace.clustering import Topic

    random = np.random.default_rng(0)
    groups = random.standard_normal((12, DIMENSIONS)).astype(np.float32)
    kinds = groups[np.arange(200) % 12] + 0.7 * random.standard_normal((200, DIMENSIONS)).astype(np.float32)
    kind = random.integers(200, size=count)
    rows = kinds[kind] + 0.8 * random.standard_normal((count, DIMENSIONS)).astype(np.float32)
    texts = [f"{WORDS[k % len(WORDS)]} {WORDS[k // len(WORDS) % len(WORDS)]} {n}" for n, k in enumerate(kind.tolist())]
    place = (random.uniform(-90, 90, (200, 2))[kind] + random.standard_normal((count, 2)) * 4).astype(np.float32)
    found = cluster(rows, granularity=2.0)
    about = (0.0, None, ("word",), (texts[0],), "en", -1, "", None, ())
    chosen = [Topic(n, f"topic {n}", int(size), *about) for n, size in enumerate(found.sizes)]
    cells = tuple({"id": str(n), "text": text} for n, text in enumerate(texts))
    records = Records("drawn", "drawn", "text", ("id", "text"), cells, tuple(texts), ())
    id_ = "20260101-000000-00000000"
    folder = home / "jobs" / id_
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "topics.jsonl").touch()
    ones = np.ones(count, np.int64)
    topic_maps.write(
        folder / "out" / topic_maps.FOLDER, records, found, chosen, texts, np.arange(count), ones, place, None, "drawn", "drawn"
    )
    result = {"rows": count, "topics": []}
    write_job(folder, Job(id_, "cluster", "succeeded", "drawn", {}, time.time(), ended=time.time(), result=result, files=("topics.jsonl",)))
    with workspace.load("starter") as model:
        source = home / "drawn.jsonl"
        source.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts[:10])))
        workspace.index("drawn", source, lambda name: model, home=home)
    return id_, len(topic_maps.open_map(folder / "out" / topic_maps.FOLDER).levels)


class serving:
    """`huiyi serve` on a free port: the process and its address."""

    def __init__(self, home: Path, model: str, *options: str) -> None:
        self.home, self.model, self.options = home, model, options

    def __enter__(self) -> tuple[subprocess.Popen, str]:
        models = ["--model", self.model, *(["--model", "starter"] if self.model != "starter" else [])]
        words = [sys.executable, "-m", "huiyi", "serve", "--port", "0", *models, *self.options]
        env = os.environ | {"HUIYI_HOME": str(self.home)}
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env, cwd=REPOSITORY)
        for line in self.process.stdout:
            if line.startswith("ready: "):
                return self.process, line.removeprefix("ready: ").strip().removesuffix("/v1")
        raise RuntimeError("the server did not start")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def visited(url: str) -> dict:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(url.split("/topics")[0] + "/similarity")  # the frame's own files are in the browser's cache
        page.locator("h1").wait_for()
        first, again = (usable(page, url) for _ in range(2))
        changes = []
        page.locator(".granularity [tabindex]").focus()
        for key in ["ArrowLeft"] * 12 + ["ArrowRight"] * 12:
            drawn, at_end = state(page, key)
            if at_end:
                continue
            began = time.perf_counter()
            page.keyboard.press(key)
            page.wait_for_function("drawn => Number(document.querySelector('.map').dataset.drawn) > drawn", arg=drawn)
            changes.append(time.perf_counter() - began)
        times = dragged(page)
        browser.close()
    gaps = np.diff(times)
    return {
        "usable, first, s": round(first, 2), "usable, again, s": round(again, 2),
        "another level, s": round(median(changes), 2), "slowest level, s": round(max(changes), 2),
        "frames/s while dragged": round(1000 / float(np.mean(gaps)), 1), "slowest frame, ms": round(float(gaps.max())),
    }  # fmt: skip


def usable(page, url: str) -> float:
    began = time.perf_counter()
    page.goto(url)
    page.locator(".map[data-drawn]").wait_for()
    page.locator("[data-topic]").first.wait_for()
    return time.perf_counter() - began


def state(page, key: str) -> tuple[int, bool]:
    """How often the map was drawn, and whether the slider can go no further."""
    drawn = page.evaluate("Number(document.querySelector('.map').dataset.drawn)")
    slider = page.locator("[role=slider]")
    end = "aria-valuemin" if key == "ArrowLeft" else "aria-valuemax"
    return drawn, slider.get_attribute("aria-valuenow") == slider.get_attribute(end)


def dragged(page) -> list[float]:
    box = page.locator(".map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(f"() => {{ window.frames_seen = ({FRAMES})(); }}")
    ends = time.perf_counter() + 3
    step = 0
    while time.perf_counter() < ends:
        step += 1
        page.mouse.move(x + 120 * np.sin(step / 9), y + 60 * np.cos(step / 7))
    times = page.evaluate("() => window.frames_seen")
    page.mouse.up()
    return times


if __name__ == "__main__":
    main()
