"""A server's rate against the model's own in the same process, one request alone, known texts, and two other servers, on the 0.6B shape.

    python benchmarks/bench_serve.py [--rounds 2] [--seconds 6] [--work FOLDER]

Expected before the first run: 95 % of the in-process rate at 16 and 64 clients; one request alone 2 to 3 ms above the engine's own time;
known texts at 8,000 a second in lists; a plain server at a half with 16 clients, since it makes no batches.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))

from checkpoint import checkpoint, workload
from measure import write
from servers import HERE, Caller, ServerProcess, free_port, huiyi_server, pressed

THREADS = 2
CLIENTS = (1, 16, 64)
KNOWN = 2000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--seconds", type=float, default=6)
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    arguments.add_argument("--model", type=Path, help="a folder in the place of the 0.6B shape")
    arguments.add_argument("--infinity", type=Path, help="python of an environment that has infinity-emb")
    options = arguments.parse_args()
    folder = options.model or checkpoint(options.work / "qwen3-0.6b-shape")
    options.work.mkdir(parents=True, exist_ok=True)
    texts = workload(folder, 1024, 18)
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"

    from huiyi import workspace

    model = workspace.load(str(folder), threads=THREADS)
    rates: dict[tuple[str, int], list[float]] = {}
    alone: dict[str, list[float]] = {}
    memory: dict[str, int] = {}
    servers, failed = started(folder, options.work, options.infinity)

    def one(name: str, clients: int, calls: list) -> None:
        found = pressed(calls, texts, options.seconds)
        rates.setdefault((name, clients), []).append(found["texts_per_s"])
        if clients == 1:
            alone.setdefault(name, []).append(1000 * median(found["latencies"]))
        print(f"{name}, {clients} clients: {found['texts_per_s']:.1f} texts/s", file=sys.stderr)

    for _ in range(options.rounds):
        for clients in CLIENTS:
            one("huiyi in the same process", clients, [lambda text: model.encoder.embed([text])] * clients)
            for server in servers:
                callers = [Caller(server.port, folder.name) for _ in range(clients)]
                one(server.name, clients, [caller.embed for caller in callers])
                memory[server.name] = server.rss_mb()
    gaps = engine_gap(model, servers[0], folder.name, texts)
    for server in servers:
        server.close()
    known = known_texts(folder, options.work)
    model.close()

    rows = []
    for name in dict.fromkeys(name for name, _ in rates):
        row: dict[str, object] = {"server": name}
        for clients in CLIENTS:
            row[f"{clients} clients, texts/s"] = round(median(rates[name, clients]), 1)
        for clients in CLIENTS[1:]:
            pairs = zip(rates[name, clients], rates["huiyi in the same process", clients], strict=True)
            row[f"{clients}: share of in-process"] = f"{median(a / b for a, b in pairs):.0%}"
        row["one alone, ms"] = round(median(alone[name]), 1)
        row["MB resident"] = memory.get(name)
        rows.append(row)
    note = (
        f"One request alone takes {gaps:.1f} ms more than the engine's pass over the same ids (median of pairs). "
        f"Known texts: {known['lists']:,} a second in lists of {KNOWN}, {known['single']:,} single ones a second from one client"
        f" ({known['single_ms']} ms each)." + "".join(f" {name}: {reason}." for name, reason in failed.items())
    )
    settings = {"threads": THREADS, "rounds": options.rounds, "seconds": options.seconds, "texts": "18 tokens in the median"}
    write("serve", "Single short texts over HTTP, 0.6B shape", rows, settings | {"model": folder.name}, note)


def started(folder: Path, work: Path, infinity: Path | None) -> tuple[list[ServerProcess], dict[str, str]]:
    """The servers that could be started, huiyi first, and why others could not."""
    home = work / "serve-home"
    home.mkdir(exist_ok=True)
    servers = [huiyi_server(folder, "--no-cache", "--threads", str(THREADS), home=home)]
    failed: dict[str, str] = {}
    port = free_port()
    plain = [sys.executable, str(HERE / "peers" / "plain_server.py"), str(folder), str(port), str(THREADS)]
    others = [("FastAPI + sentence-transformers", plain, port, "/ready")]
    if infinity:
        port = free_port()
        command = [str(infinity.with_name("infinity_emb")), "v2", "--model-id", str(folder), "--served-model-name", folder.name]
        command += ["--engine", "torch", "--device", "cpu", "--dtype", "bfloat16", "--port", str(port), "--url-prefix", "/v1"]
        others.append((f"infinity-emb {version(infinity)}", [*command, "--no-bettertransformer", "--no-model-warmup"], port, "/health"))
    else:
        failed["infinity-emb"] = "not installed"
    for name, command, port, ready in others:
        log = work / f"{name.split()[0]}.log"
        try:
            servers.append(ServerProcess(name, command, port, ready, log, OMP_NUM_THREADS=str(THREADS), DO_NOT_TRACK="1"))
        except (RuntimeError, OSError) as error:
            failed[name] = f"did not start: {' '.join(log.read_text().split()[-30:]) if log.exists() else error}"
    return servers, failed


def version(python: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('infinity-emb'))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def engine_gap(model, server: ServerProcess, name: str, texts: list[str]) -> float:
    """Milliseconds that a request takes beyond the engine's pass, the two measured in turns."""
    engine, caller, gaps = model.encoder.scheduler._engine, Caller(server.port, name), []
    for text in texts[:60]:
        (row,) = model.encoder.token_ids([text])
        began = time.perf_counter()
        engine.forward([row])
        own = time.perf_counter() - began
        began = time.perf_counter()
        caller.embed(text)
        gaps.append(time.perf_counter() - began - own)
    return 1000 * median(gaps)


def known_texts(folder: Path, work: Path) -> dict:
    """Texts a second from the cache, in lists and singly, base64."""
    with tempfile.TemporaryDirectory(dir=work) as home:
        server = huiyi_server(folder, "--threads", str(THREADS), home=Path(home))
        caller = Caller(server.port, folder.name)
        texts = [f"{i}" for i in range(KNOWN)]
        for start in range(0, KNOWN, 200):
            caller.embed(texts[start : start + 200])
        lists = pressed([lambda text: caller.embed(texts, encoding_format="base64")], texts, 3)
        single = pressed([lambda text: caller.embed(text, encoding_format="base64")], texts, 3)
        server.close()
    return {
        "lists": round(lists["texts_per_s"] * KNOWN),
        "single": round(single["texts_per_s"]),
        "single_ms": round(1000 * median(single["latencies"]), 2),
    }


if __name__ == "__main__":
    main()
