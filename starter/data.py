"""What the starter learns from: the training splits, read from the data folder, with every pair of a dev or test split taken out.

Gives groups of examples, each of one kind; knows nothing of tokens or of torch. AFQMC's training split counts as a test split here, so
that figures on AFQMC are those of a model that never saw it; OCNLI (non-commercial) and Tatoeba (a test set) are not opened at all.
"""

import csv
import gzip
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Never trained on: pairs of these files are looked for in everything else.
HELD_OUT = ("afqmc_train", "afqmc_dev", "bq_dev", "bq_test", "chip_sts_dev", "cnsd_stsb_zh_dev", "cnsd_stsb_zh_test", "kuake_qtr_dev",
            "lcqmc_dev", "lcqmc_test", "ocnli_dev", "pawsx_zh_dev", "pawsx_zh_test", "stsb_multi_dev", "stsb_multi_test", "triclue_dev",
            "triclue_test")  # fmt: skip
LABELLED_PAIRS = ("lcqmc", "bq", "atec")
OWN_HELD_OUT = 4000  # rows of ATEC kept aside to choose settings by


@dataclass(frozen=True)
class Group:
    """Examples of one kind. texts: tuples of texts; marks: a label or score each.

    kind: `pairs` (two texts, 1 for the same meaning, else 0), `scores` (two texts, 0 to 1), `triplets` (anchor, nearer, further),
    `translations` (texts that mean the same), `classes` (one text, the number of its class).
    """

    name: str
    kind: str
    texts: list[tuple[str, ...]]
    marks: list[float]


def rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def key(*texts: str) -> frozenset[str]:
    """What is left of a pair when order, case, width, blanks and punctuation are ignored."""
    return frozenset("".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum()) for text in texts)


def held_out(data: Path) -> set[frozenset[str]]:
    found = set()
    for name in HELD_OUT:
        for row in rows(data / "pairs" / f"{name}.tsv.gz"):
            if "anchor" in row:
                found |= {key(row["anchor"], row["positive"]), key(row["anchor"], row["negative"])}
            else:
                found.add(key(row["sentence1"], row["sentence2"]))
    return found


def groups(data: Path) -> tuple[list[Group], dict[str, int]]:
    """All that is trained on, and how many rows of each file were left out because a dev or test split holds their pair."""
    forbidden = held_out(data)
    dropped: dict[str, int] = defaultdict(int)

    def kept(name: str, folder: str = "pairs") -> Iterator[dict[str, str]]:
        for row in rows(data / folder / f"{name}.tsv.gz"):
            pairs = (
                [(row["anchor"], row["positive"]), (row["anchor"], row["negative"])]
                if "anchor" in row
                else [(row["sentence1"], row["sentence2"])]
            )
            if any(key(*pair) in forbidden for pair in pairs):
                dropped[name] += 1
            else:
                yield row

    found = []
    for name in LABELLED_PAIRS:
        file = "atec_clean" if name == "atec" else f"{name}_train"
        table = list(kept(file))
        if name == "atec":
            table = table[OWN_HELD_OUT:]
        found.append(Group(name, "pairs", [(r["sentence1"], r["sentence2"]) for r in table], [float(r["label"]) for r in table]))
    table = list(kept("cnsd_stsb_zh_train"))
    found.append(Group("cnsd", "scores", [(r["sentence1"], r["sentence2"]) for r in table], [float(r["score"]) / 5 for r in table]))
    table = list(kept("kuake_qtr_train"))
    found.append(Group("kuake", "scores", [(r["sentence1"], r["sentence2"]) for r in table], [float(r["label"]) / 3 for r in table]))
    by_row: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for r in kept("stsb_multi_train"):
        by_row[r["row"]][r["lang"]] = r
    for lang in ("en", "zh", "de", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru"):
        table = [versions[lang] for versions in by_row.values() if lang in versions]
        found.append(
            Group(f"stsb-{lang}", "scores", [(r["sentence1"], r["sentence2"]) for r in table], [float(r["score"]) / 5 for r in table])
        )
        if lang != "en":
            both = {(v["en"][s], v[lang][s]) for v in by_row.values() if "en" in v and lang in v for s in ("sentence1", "sentence2")}
            found.append(Group(f"en-{lang}", "translations", sorted(both), [1.0] * len(both)))
    table = list(kept("triclue_train"))
    found.append(Group("triclue", "triplets", [(r["anchor"], r["positive"], r["negative"]) for r in table], [1.0] * len(table)))
    for name, file in (("clinc", "clinc150_train"), ("banking", "banking77_train")):
        table = [r for r in rows(data / "intents" / f"{file}.tsv.gz") if r["label"] != "oos"]
        labels = {label: i for i, label in enumerate(sorted({r["label"] for r in table}))}
        found.append(Group(name, "classes", [(r["text"],) for r in table], [float(labels[r["label"]]) for r in table]))
    questions: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for r in rows(data / "parallel" / "xquad_questions.tsv.gz"):
        questions[r["id"]][r["lang"]] = r
    for lang in ("zh", "de", "es", "ru", "ar", "vi", "tr"):
        both = {(v["en"]["question"], v[lang]["question"]) for v in questions.values() if "en" in v and lang in v}
        found.append(Group(f"xquad-{lang}", "translations", sorted(both), [1.0] * len(both)))
    return found, dict(dropped)
