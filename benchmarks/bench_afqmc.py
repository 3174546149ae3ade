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
    parser.add_argument("--epochs", type=int, default=1)
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
    words = ["--base", "starter", "--baseline", bert, "--data", DATA, "--out", options.out / "table", "--epochs", options.epochs]
    words += ["--learning-rate", options.learning_rate, "--scale", options.scale, "--threads", options.threads]
    subprocess.run([sys.executable, "-m", "huiyi", "reproduce", "afqmc", *map(str, words)], check=True)
    chosen = {name: getattr(options, name) for name in ("epochs", "learning_rate", "scale", "threads")}
    record(options.out / "table" / "afqmc.json", **chosen)


def record(file: Path, **settings) -> None:
    found = json.loads(file.read_text("utf-8"))
    for row in found["rows"]:
        row["model"] = "small BERT, random weights" if row["row"] == "baseline" else row["model"]
    write("afqmc", "AFQMC, official split, starter", found["rows"], settings | found["pairs"], found["note"])


if __name__ == "__main__":
    main()
