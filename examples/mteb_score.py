"""Score a model with mteb on the test set of STS-B: all-MiniLM-L6-v2 is published with a Spearman correlation of 82.03.

python examples/mteb_score.py MODEL [stsb.tsv]    (columns sentence1, sentence2, score; without the file mteb downloads it)
"""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mteb
import numpy as np
from datasets import Dataset
from mteb.models import ModelMeta
from mteb.types import PromptType

import huiyi
from huiyi.model import Model


class MtebEncoder:
    """A `Model` under mteb's protocol: batches in, one array out."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.mteb_model_meta = ModelMeta.create_empty({"name": f"huiyi/{Path(model.name).name}", "revision": "local"})
        self.similarity = model.similarity
        self.similarity_pairwise = model.similarity_pairwise

    def encode(self, inputs: Iterable[dict[str, list[str]]], *, prompt_type: PromptType | None = None, **told: Any) -> np.ndarray:
        texts = [text for batch in inputs for text in batch["text"]]
        sides = {PromptType.query: self.model.encode_query, PromptType.document: self.model.encode_document}
        return sides.get(prompt_type, self.model.encode)(texts)


def score(model: Model, task: mteb.AbsTask) -> float:
    """The task's main score, between 0 and 1."""
    result = mteb.evaluate(MtebEncoder(model), task, cache=None, co2_tracker=False, show_progress_bar=False)
    return float(result.task_results[0].get_score())


def main() -> None:
    task = mteb.get_task("STSBenchmark")
    if len(sys.argv) > 2:
        with open(sys.argv[2], encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        task.dataset = {"test": Dataset.from_list([{**row, "score": float(row["score"])} for row in rows])}
        task.data_loaded = True
    with huiyi.load(sys.argv[1] if len(sys.argv) > 1 else None) as model:
        print(f"{task.metadata.name}: {100 * score(model, task):.2f}")


if __name__ == "__main__":
    main()
