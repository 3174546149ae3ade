"""huiyi in front of huiyi: what the gateway costs beside asking the server itself, and a minute in which one of two servers is killed.

    python benchmarks/bench_gateway.py overhead [--model FOLDER] [--rounds 5] [--seconds 4] [--work FOLDER]
    python benchmarks/bench_gateway.py restart [--seconds 60] [--work FOLDER]

Expected before the first run: 1.5 ms more for one short text, 3 % less throughput on the 0.6B shape, no failed request, load within 5 %.
"""

import argparse
import os
import re
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))

from checkpoint import checkpoint, workload
from measure import write
from servers import Caller, ServerProcess, free_port, pressed

CLIENTS = 16
LIST = 32
PAIRS = {"0.6B shape": 80, "starter": 600}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("part", choices=["overhead", "restart"])
    arguments.add_argument("--model", type=Path, help="a folder in the place of the 0.6B shape, for overhead")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float)
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    options = arguments.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    if options.part == "overhead":
        overhead(options.model or checkpoint(options.work / "qwen3-0.6b-shape"), options.rounds, options.seconds or 4, options.work)
    else:
        restart(options.seconds or 60, options.work)


def overhead(folder: Path, rounds: int, seconds: float, work: Path) -> None:
    texts = workload(folder, 1024, 18)
    upstream = server("upstream", work, "--model", str(folder))
    gateway = server("gateway", work, "--upstream", f"http://127.0.0.1:{upstream.port}", "--model", str(folder))
    small = server("small-upstream", work, "--model", "starter")
    small_gateway = server("small-gateway", work, "--upstream", f"http://127.0.0.1:{small.port}")
    both = {"the server itself": upstream.port, "through the gateway": gateway.port}
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in both}
    for turn in range(rounds):
        for name, port in list(both.items())[:: 1 if turn % 2 == 0 else -1]:
            calls = {
                f"{CLIENTS} clients": ([Caller(port, folder.name).embed for _ in range(CLIENTS)], 1),
                f"4 clients with lists of {LIST}": ([of_many(Caller(port, folder.name), texts) for _ in range(4)], LIST),
            }
            for column, (callers, each) in calls.items():
                made = each * pressed(callers, texts, seconds)["texts_per_s"]
                rates[name].setdefault(f"{column}, texts/s", []).append(made)
    alone = {
        "0.6B shape": paired(Caller(upstream.port, folder.name), Caller(gateway.port, folder.name), texts[: PAIRS["0.6B shape"]]),
        "starter": paired(Caller(small.port, "starter"), Caller(small_gateway.port, "starter"), (texts * 2)[: PAIRS["starter"]]),
    }
    memory = {"the server itself": upstream.rss_mb(), "through the gateway": gateway.rss_mb()}
    for each in (gateway, small_gateway, upstream, small):
        each.close()
    rows = []
    for i, name in enumerate(both):
        row: dict[str, object] = {"asked": name}
        row |= {f"one alone, {model}, ms": round(pair[i], 2) for model, pair in alone.items()}
        row |= {column: round(median(values), 1) for column, values in rates[name].items()}
        rows.append(row | {"MB resident": memory[name]})
    direct, through = rates.values()
    kept = {column: median(b / a for a, b in zip(direct[column], through[column], strict=True)) for column in direct}
    note = (
        f"One text alone takes {alone['starter'][2]:.2f} ms more through the gateway (median of {PAIRS['starter']} pairs of requests to "
        f"the bundled model, asked in turns); of the server's own throughput on the 0.6B shape the gateway keeps "
        + ", ".join(f"{share:.1%} ({column.removesuffix(', texts/s')})" for column, share in kept.items())
        + ". Server, gateway and clients share the machine's cores."
    )
    settings = {"model": folder.name, "rounds": rounds, "seconds": seconds, "texts": "18 tokens in the median"}
    write("gateway", "A gateway in front of one server", rows, settings, note)


def of_many(caller: Caller, texts: list[str]):
    places = iter(range(10**9))
    return lambda text: caller.embed([texts[(next(places) * LIST + i) % len(texts)] for i in range(LIST)], encoding_format="base64")


def paired(direct: Caller, through: Caller, texts: list[str]) -> tuple[float, float, float]:
    """Milliseconds of one request alone, direct and through the gateway, and of the difference: medians of pairs, asked in turns."""
    took: dict[Caller, list[float]] = {direct: [], through: []}
    for i, text in enumerate(texts):
        for caller in (direct, through) if i % 2 else (through, direct):
            began = time.perf_counter()
            caller.embed(text)
            took[caller].append(1000 * (time.perf_counter() - began))
    more = [b - a for a, b in zip(took[direct], took[through], strict=True)]
    return median(took[direct]), median(took[through]), median(more)


def restart(seconds: float, work: Path) -> None:
    """Two servers of the bundled model; one is killed after a third of the time and started again at half of it."""
    ports = [free_port(), free_port()]
    servers = [server(f"upstream-{i}", work, "--model", "starter", "--threads", "1", port=port) for i, port in enumerate(ports)]
    gateway = server("gateway", work, *(word for port in ports for word in ("--upstream", f"http://127.0.0.1:{port}")))
    texts = [f"Where is parcel {i}? 我的包裹 {i} 到哪儿了?" for i in range(5000)]
    failed: list[str] = []
    marks: dict[str, dict[int, float]] = {}
    spans: list[tuple[float, float]] = []
    began = time.perf_counter()
    lock = threading.Lock()

    def client(number: int) -> None:
        caller, turn = Caller(gateway.port, "starter"), 0
        while time.perf_counter() - began < seconds:
            start, turn = (number * 991 + turn * 17) % 4900, turn + 1
            asked = time.perf_counter()
            status, body = caller.post(texts[start : start + (1, 4, 16, 1)[turn % 4]])
            with lock:
                spans.append((asked - began, time.perf_counter() - asked))
                if status != 200:
                    failed.append(f"{status} {body[:200]!r}")

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    marks["start"] = tokens(gateway.port)
    for thread in threads:
        thread.start()
    rest(began + seconds / 3)
    marks["before the kill"] = tokens(gateway.port)
    servers[1].process.send_signal(signal.SIGKILL)
    servers[1].process.wait()
    killed = time.perf_counter() - began
    rest(began + seconds / 2)
    servers[1] = server("upstream-1", work, "--model", "starter", "--threads", "1", port=ports[1])
    while not all(up(gateway.port).values()):
        time.sleep(0.05)
    back = time.perf_counter() - began
    marks["back"] = tokens(gateway.port)
    for thread in threads:
        thread.join()
    marks["end"] = tokens(gateway.port)
    gateway.close()
    for each in servers:
        each.close()
    rows = []
    for name, begin, end, first, last in (
        ("both up", 0.0, killed, "start", "before the kill"),
        ("one killed, started again", killed, back, "before the kill", "back"),
        ("both up again", back, seconds, "back", "end"),
    ):
        took = sorted(took for at, took in spans if begin <= at < end)
        made = [marks[last].get(port, 0) - marks[first].get(port, 0) for port in ports]
        row: dict[str, object] = {"phase": name, "seconds": round(end - begin, 1), "requests": len(took)}
        row |= {"p50 ms": round(1000 * took[len(took) // 2], 1), "p99 ms": round(1000 * took[int(len(took) * 0.99)], 1)}
        row |= {"slowest ms": round(1000 * took[-1], 1)}
        row["tokens, first : second"] = f"{made[0]:,.0f} : {made[1]:,.0f}"
        row["apart"] = None if name.startswith("one") else f"{abs(made[0] - made[1]) / max(made):.1%}"
        rows.append(row)
    every = sorted(took for _, took in spans)
    note = (
        f"{len(spans):,} requests of 1, 4 and 16 texts from 8 clients, {len(failed)} failed; p99 over all of it "
        f"{1000 * every[int(len(every) * 0.99)]:.1f} ms. The second server was killed (SIGKILL) after {killed:.0f} s, and was asked again "
        f"after {back:.0f} s. {' '.join(failed[:3])}"
    )
    write(
        "gateway_restart",
        "Two servers behind a gateway, one killed and started again",
        rows,
        {"model": "starter", "seconds": seconds},
        note,
    )


def server(name: str, work: Path, *options: str, port: int | None = None) -> ServerProcess:
    home = work / name
    home.mkdir(exist_ok=True)
    port = port or free_port()
    command = [sys.executable, "-m", "huiyi", "serve", "--port", str(port), "--no-cache", "--no-console", "--no-auth", *options]
    environment = {key: "" for key in ("HUIYI_API_KEY", "HUIYI_UPSTREAM_KEY", "HUIYI_MODEL")}
    return ServerProcess(name, command, port, log=home / "server.log", HUIYI_HOME=str(home), **environment)


def figures(port: int, name: str) -> dict[int, float]:
    """A metric of the gateway, by the port of the upstream."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        found = re.findall(rf'(?m)^{name}{{.*upstream="http://127.0.0.1:(\d+)"}} (\S+)$', page.read().decode())
    return {int(at): float(value) for at, value in found}


def tokens(port: int) -> dict[int, float]:
    return figures(port, "huiyi_upstream_tokens_total")


def up(port: int) -> dict[int, float]:
    return figures(port, "huiyi_upstream_up")


def rest(until: float) -> None:
    time.sleep(max(0.0, until - time.perf_counter()))


if __name__ == "__main__":
    main()
