"""The article's table on AFQMC with the bundled starter and a small random BERT: `huiyi reproduce afqmc` into a result file.

Takes minutes to hours; goes on where it stopped. `--out` keeps its rows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import HERE, write

sys.path.insert(0, str(HERE.parent / "tests"))
DATA = Path(os.environ.get("HUIYI_TEST_DATA") or HERE.parent.parent / "shared" / "data") / "pairs"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-afqmc")
    parser.add_argument("--epochs", type=int, nargs=2, default=[2, 1], help="of the similarity row, and of the others")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--scale", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if not DATA.exists():
        print(f"bench_afqmc: AFQMC is not in {DATA} (HUIYI_TEST_DATA names the folder)", file=sys.stderr)
        return
    import tiny

    options.out.mkdir(parents=True, exist_ok=True)
    bert = options.out / "random-bert"
    if not bert.exists():
        tiny.tiny_bert(bert, dim=64, intermediate=128)
    parts = (("majority,tfidf,zero-shot,similarity", options.epochs[0]), ("zero-shot,pair-classifier,baseline", options.epochs[1]))
    for rows, epochs in parts:
        words = ["--base", "starter", "--baseline", bert, "--data", DATA, "--out", folder(options, epochs), "--rows", rows]
        words += ["--epochs", epochs, "--learning-rate", options.learning_rate, "--scale", options.scale, "--threads", options.threads]
        subprocess.run([sys.executable, "-m", "huiyi", "reproduce", "afqmc", *map(str, words)], check=True)
    chosen = {name: getattr(options, name) for name in ("learning_rate", "scale", "threads")}
    found = [json.loads((folder(options, epochs) / "afqmc.json").read_text("utf-8")) for epochs in options.epochs]
    record(found[0] | {"rows": found[0]["rows"] + found[1]["rows"][1:]}, epochs=" and ".join(map(str, options.epochs)), **chosen)


def folder(options: argparse.Namespace, epochs: int) -> Path:
    return options.out / f"table-{epochs}"


def record(found: dict, **settings) -> None:
    for row in found["rows"]:
        row["model"] = "small BERT, random weights" if row["row"] == "baseline" else row["model"]
    write("afqmc", "AFQMC, official split, starter", found["rows"], settings | found["pairs"], found["note"])


if __name__ == "__main__":
    main()
