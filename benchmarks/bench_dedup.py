"""Repeats: what the guard stops and costs, groups against semhash on the same vectors, and time by size.

    python benchmarks/bench_dedup.py [--semhash PYTHON] [--only guard|groups|speed] [--rows 1000 1000000]

PYTHON is the interpreter of an environment with semhash in it. Data is read from HUIYI_TEST_DATA or ../shared/data. The guard's rules were
fixed on training data; the sets here are only counted. Our threshold comes from training pairs, semhash gets its best one on the very set.
Expected before the first run: 90 % of what is planted stopped, for less than 2 points of the pairs that mean the same.
"""

import argparse
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from checkpoint import REPOSITORY
from measure import beside, peak_mb, write

DEV = {"LCQMC dev": "lcqmc_dev", "BQ dev": "bq_dev", "PAWS-X zh dev": "pawsx_zh_dev"}
PLANTED = 500  # pairs of each kind and set, where there are so many sentences
THRESHOLDS = [round(0.6 + 0.02 * step, 2) for step in range(20)]
PEER_THRESHOLDS = [round(0.4 + 0.02 * step, 2) for step in range(30)]
# Names that stand for one another; the guard's own list holds those of the first and fourth lines.
NAMES = [
    "微信 支付宝 淘宝 百度 京东 美团 抖音",
    "北京 上海 广州 深圳 成都 重庆 武汉 杭州 南京 西安",
    "美国 法国 德国 英国 日本 加拿大 澳大利亚 俄罗斯 意大利 西班牙 印度 巴西",
    "建设银行 工商银行 农业银行 招商银行 中国银行",
    "伦敦 巴黎 纽约 东京 柏林 罗马 芝加哥 波士顿",
    "约翰 大卫 彼得 詹姆斯 威廉 乔治 玛丽 罗伯特",
    "加利福尼亚 得克萨斯 佛罗里达 弗吉尼亚 俄亥俄 密歇根",
    "QQ 陌陌 YY",
    "iPhone iPad Android Windows",
]
DENIALS = [
    ("可以", "不可以"), ("能够", "不能够"), ("能", "不能"), ("会", "不会"), ("有", "没有"), ("是", "不是"), ("要", "不要"),
    ("被", "没有被"), ("在", "不在"),
]  # fmt: skip
DENIED = "不没未无别"
NUMERALS = "一二三四五六七八九"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--semhash", type=Path)
    arguments.add_argument("--only", choices=("guard", "groups", "speed"))
    arguments.add_argument("--rows", type=int, nargs="+", default=(1_000, 10_000, 100_000))
    options = arguments.parse_args()
    if options.only in (None, "guard"):
        write("guard", "The guard: what it stops and what it costs", guard_rows(), {"planted": PLANTED}, GUARD_NOTE)
    if options.only in (None, "groups"):
        write(
            "dedup", "Repeats found: huiyi and semhash on the same vectors", group_rows(options.semhash), {"model": "starter"}, GROUPS_NOTE
        )
    if options.only in (None, "speed"):
        for count in options.rows:
            rows = beside("dedup_speed", "rows", speed_row(count))
            settings = {"dimensions": 1024, "a fifth": "near another"}
            write("dedup_speed", "Repeats: time and memory by number of rows", rows, settings, SPEED_NOTE)


GUARD_NOTE = (
    "Planted: into sentences of the set one number is changed, one denial put in, or one name put in another's place, none of it by the "
    "guard's own rules. Not planted: the set's own pairs; costs are the pairs that mean the same and would be kept apart."
)
GROUPS_NOTE = (
    "On the labelled pairs of each set: of two texts in one group the label says they mean the same (precision); of pairs that mean the "
    "same how many are in one group (recall), in percent. huiyi's threshold is the best on 8,000 training pairs, semhash's the best on "
    "the set itself, of 0.4 to 0.98 (huiyi's of 0.6 to 0.98). "
    "planted: texts of the set with a number, a denial or a name changed, put into the set; of those that lie in the "
    "group of the text they were made of when nothing is guarded, how many do not with the guard."
)
SPEED_NOTE = "Vectors in heaps, as texts lie, made by lot; a text a row of about 20 characters. From vectors to groups, all cores."


def pairs(name: str, most: int | None = None) -> list[tuple[str, str, int]]:
    data = Path(os.environ.get("HUIYI_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    with gzip.open(data / "pairs" / f"{name}.tsv.gz", "rt", encoding="utf-8") as stream:
        columns = next(stream).rstrip("\n").split("\t")
        lines = [line.rstrip("\n").split("\t") for line in stream]
    if most is not None:
        lines = random.Random(0).sample(lines, most)
    where = [columns.index(column) for column in ("sentence1", "sentence2", "label")]
    return [(line[where[0]], line[where[1]], int(line[where[2]])) for line in lines]


def guard_rows() -> list[dict]:
    from huiyi.tasks import Guard

    rows = []
    for name, file in DEV.items():
        found = pairs(file)
        texts = list(dict.fromkeys(text for a, b, _ in found for text in (a, b)))
        guard = Guard()
        guard.learn(texts)
        row: dict = {"set": name}
        for kind in PLANTS:
            made = planted(kind, texts)
            stopped = sum(bool(guard.remarks(text, other)) for text, other in made)
            row |= {f"{kind}s planted": len(made), f"{kind}s stopped, %": percent(stopped / len(made)) if made else None}
        flagged = {label: [bool(guard.remarks(a, b)) for a, b, each in found if each == label] for label in (0, 1)}
        row |= {"same meaning, costs, %": percent(np.mean(flagged[1])), "other meaning, stopped, %": percent(np.mean(flagged[0]))}
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return rows


def planted(kind: str, texts: list[str]) -> list[tuple[str, str]]:
    """Up to PLANTED texts, each with what it becomes."""
    draw = random.Random(kind)
    return [(text, other) for text in draw.sample(texts, len(texts)) if (other := PLANTS[kind](text, draw))][:PLANTED]


def change_number(text: str, draw: random.Random) -> str | None:
    found = list(re.finditer(rf"\d+|[{NUMERALS}](?=[天个年月次元块期岁])", text))
    if not found:
        return None
    match = draw.choice(found)
    others = [str(int(match[0]) + draw.randint(1, 9))] if match[0].isdigit() else [each for each in NUMERALS if each != match[0]]
    other = draw.choice(others)
    return text[: match.start()] + other + text[match.end() :]


def put_denial(text: str, draw: random.Random) -> str | None:
    for word, denial in draw.sample(DENIALS, len(DENIALS)):
        for match in re.finditer(word, text):
            around = text[max(match.start() - 1, 0) : match.start()] + text[match.end() : match.end() + 1]
            if not set(around) & set(DENIED) and match.start() and text[match.end() :]:
                return text[: match.start()] + denial + text[match.end() :]
    return None


def change_name(text: str, draw: random.Random) -> str | None:
    """A name that stands as a word: not the 罗马 of 罗马尼亚."""
    import rjieba

    words = set(rjieba.cut(text))
    for names in (line.split() for line in draw.sample(NAMES, len(NAMES))):
        there = [name for name in names if name in words]
        if there:
            name = draw.choice(there)
            return text.replace(name, draw.choice([other for other in names if other not in text]))
    return None


PLANTS = {"number": change_number, "negation": put_denial, "name": change_name}


def group_rows(semhash: Path | None) -> list[dict]:
    import huiyi
    from huiyi.tasks import Guard, dedup

    model = huiyi.load("starter")
    rows = []
    for name, dev, train in (("LCQMC dev", "lcqmc_dev", "lcqmc_train"), ("BQ dev", "bq_dev", "bq_train")):
        known = pairs(train, 8_000)
        texts, place = distinct(known)
        trained = dedup(model.encode(texts), texts, THRESHOLDS[0], Guard.off())
        best = max(THRESHOLDS, key=lambda level: f1(owners(trained.at(level), len(texts)), known, place)[2])
        known = pairs(dev)
        texts, place = distinct(known)
        vectors = model.encode(texts)
        for guarded in (True, False):
            found = dedup(vectors, texts, best, None if guarded else Guard.off())
            title = f"huiyi{'' if guarded else ' without the guard'}"
            rows.append(row_of(name, title, best, f1(owners(found, len(texts)), known, place)))
            if guarded:
                rows[-1]["planted merges stopped, %"] = stopped_in_groups(model, texts, vectors, best)
        if semhash:
            answers = by_semhash(semhash, vectors)
            answer = max(answers, key=lambda each: f1(np.array(each["owner"]), known, place)[2])
            rows.append(row_of(name, "semhash", answer["threshold"], f1(np.array(answer["owner"]), known, place)))
    return rows


def stopped_in_groups(model, texts: list[str], vectors: np.ndarray, threshold: float) -> float:
    """Of the planted texts that end in one group with their origin without the guard, how many do not with it."""
    from huiyi.tasks import Guard, dedup

    known = set(texts)
    made = [pair for kind in PLANTS for pair in planted(kind, texts) if pair[1] not in known]
    every = list(dict.fromkeys([*texts, *(other for _, other in made)]))
    place = {text: row for row, text in enumerate(every)}
    both = np.concatenate([vectors, model.encode(every[len(texts) :])])
    without, found = (owners(dedup(both, every, threshold, guard), len(every)) for guard in (Guard.off(), None))
    merged = [(place[a], place[b]) for a, b in made if without[place[a]] == without[place[b]]]
    return percent(np.mean([found[a] != found[b] for a, b in merged]))


def distinct(known: list[tuple[str, str, int]]) -> tuple[list[str], dict[str, int]]:
    texts = list(dict.fromkeys(text for a, b, _ in known for text in (a, b)))
    return texts, {text: row for row, text in enumerate(texts)}


def owners(found, rows: int) -> np.ndarray:
    owner = np.arange(rows)
    for group in found.groups:
        owner[list(group.rows)] = group.representative
    return owner


def f1(owner: np.ndarray, known: list[tuple[str, str, int]], place: dict[str, int]) -> tuple[float, float, float]:
    same = np.array([owner[place[a]] == owner[place[b]] for a, b, _ in known])
    truth = np.array([label for _, _, label in known]) == 1
    hits = (same & truth).sum()
    return hits / max(same.sum(), 1), hits / truth.sum(), 2 * hits / (same.sum() + truth.sum())


def row_of(name: str, system: str, threshold: float, figures: tuple[float, float, float]) -> dict:
    row = {"set": name, "system": system, "threshold": threshold}
    row |= dict(zip(("precision", "recall", "F1"), map(percent, figures), strict=True))
    print(row, file=sys.stderr, flush=True)
    return row


def by_semhash(python: Path, vectors: np.ndarray) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("vectors.npy", "thresholds.json", "out.json")]
        np.save(files[0], vectors)
        files[1].write_text(json.dumps(PEER_THRESHOLDS), "utf-8")
        peer = Path(__file__).parent / "peers" / "semhash_peer.py"
        subprocess.run([str(python), str(peer), *map(str, files)], check=True, stdout=subprocess.DEVNULL)
        return json.loads(files[2].read_text("utf-8"))


def speed_row(count: int) -> dict:
    """In a process of its own, so that the peak of memory is of this size."""
    program = f"import bench_dedup; bench_dedup.speed({count})"
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    print(row, file=sys.stderr, flush=True)
    return row


def speed(count: int) -> None:
    from huiyi.tasks import dedup

    draw = np.random.default_rng(0)
    heaps = draw.standard_normal((max(count // 200, 1), 1024), np.float32)
    vectors = np.empty((count, 1024), np.float32)
    owner = draw.integers(0, len(heaps), count)
    for start in range(0, count, 50_000):
        part = owner[start : start + 50_000]
        vectors[start : start + 50_000] = heaps[part] + draw.standard_normal((len(part), 1024), np.float32)
    twins = draw.choice(count, count // 5, replace=False)
    sources = draw.integers(0, count, len(twins))
    for start in range(0, len(twins), 50_000):
        part = slice(start, start + 50_000)
        vectors[twins[part]] = vectors[sources[part]] + 0.3 * draw.standard_normal((len(twins[part]), 1024), np.float32)
    for start in range(0, count, 50_000):
        vectors[start : start + 50_000] /= np.linalg.norm(vectors[start : start + 50_000], axis=1, keepdims=True)
    texts = ["".join(map(chr, row)) for row in draw.integers(0x4E00, 0x9000, (count, 20))]
    before = peak_mb()
    began = time.perf_counter()
    found = dedup(vectors, texts)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    found.at(0.85)
    again = time.perf_counter() - began
    gone = count - len(found.kept)
    print(json.dumps({"rows": count, "seconds": round(seconds, 1), "another threshold, s": round(again, 2), "peak, MB": peak_mb(),
                      "of which input, MB": before, "repeats": gone}))  # fmt: skip


def percent(share: float) -> float:
    return round(100 * float(share), 1)


if __name__ == "__main__":
    main()
