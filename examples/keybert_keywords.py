"""KeyBERT on huiyi's vectors, through KeyBERT's own backend class.

python examples/keybert_keywords.py MODEL    (a name or folder; default HUIYI_MODEL)
"""

import sys

import numpy as np
from keybert import KeyBERT
from keybert.backend import BaseEmbedder

import huiyi
from huiyi.model import Model


class HuiyiEmbedder(BaseEmbedder):
    def embed(self, documents: list[str], verbose: bool = False) -> np.ndarray:
        return self.embedding_model.encode(list(documents), show_progress_bar=verbose)


DOCUMENTS = [
    """Bees find their way home by the sun. When clouds hide it they read the pattern of light in the sky, and near the hive they
    remember trees and walls. A bee that has found blossom dances for her sisters: the dance tells them how far to fly, and where.""",
    """Sourdough rises slowly because the wild yeast in it is few in number. A baker feeds flour and water to the starter every day.
    The bread keeps longer than one made with bought yeast, since the bacteria of the dough make it sour.""",
]


def keywords(model: Model, n: int = 5) -> list[list[tuple[str, float]]]:
    return KeyBERT(model=HuiyiEmbedder(model)).extract_keywords(DOCUMENTS, top_n=n, stop_words="english")


def main() -> None:
    with huiyi.load(sys.argv[1] if len(sys.argv) > 1 else None) as model:
        for words in keywords(model):
            print(", ".join(f"{word} {score:.2f}" for word, score in words))


if __name__ == "__main__":
    main()
