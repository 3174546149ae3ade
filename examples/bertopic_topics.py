"""BERTopic on huiyi's vectors, through BERTopic's own backend class.

python examples/bertopic_topics.py MODEL    (a name or folder; default HUIYI_MODEL)
"""

import sys

import numpy as np
from bertopic import BERTopic
from bertopic.backend import BaseEmbedder
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer

import huiyi
from huiyi.model import Model


class HuiyiEmbedder(BaseEmbedder):
    def embed(self, documents: list[str], verbose: bool = False) -> np.ndarray:
        return self.embedding_model.encode(list(documents), show_progress_bar=verbose)


THEMES = {
    "coffee": """I grind the beans just before brewing. | Her espresso had a thick golden crema. | Too much milk ruins a flat white.
        The cold brew steeps for twelve hours. | Cheap coffee tastes burnt. | A paper filter keeps the oil out of the cup.
        The barista tamped the grounds too hard. | One cappuccino at breakfast is enough for me.""",
    "cycling": """My rear tyre went flat on the hill. | The chain needs a drop of oil. | She rode her bike across the Alps.
        Disc brakes squeal when they are wet. | He wears a helmet on every ride. | The cyclists drafted behind each other.
        A longer saddle post saved my knees. | The gears skip when I pedal hard.""",
    "weather": """Thunder woke us at three in the night. | Frost lay on the meadows this morning. | It drizzled for a whole week.
        The north wind brought snow. | Fog closed the airport. | A heat wave is forecast for Thursday.""",
    "music": """The string quartet played Haydn. | Her old piano is out of tune. | He practises guitar chords every evening.
        The choir sang without a conductor. | The drummer lost the beat. | A trumpet solo opens the second song.
        The singer hit a very high note. | Their new album has two symphonies on it.""",
}
DOCUMENTS = [text.strip() for lines in THEMES.values() for text in lines.replace("\n", "|").split("|")]


def topics(model: Model) -> tuple[BERTopic, list[int]]:
    """Few texts, so PCA and K-Means; leave both out and BERTopic takes UMAP and HDBSCAN."""
    bertopic = BERTopic(
        embedding_model=HuiyiEmbedder(model),
        umap_model=PCA(n_components=5, random_state=0),
        vectorizer_model=CountVectorizer(stop_words="english"),
        hdbscan_model=KMeans(n_clusters=len(THEMES), random_state=0, n_init=10),
    )
    found, _ = bertopic.fit_transform(DOCUMENTS)
    return bertopic, found


def main() -> None:
    with huiyi.load(sys.argv[1] if len(sys.argv) > 1 else None) as model:
        bertopic, _ = topics(model)
        print(bertopic.get_topic_info()[["Topic", "Count", "Name"]].to_string(index=False))
        print("nearest to 'a violin lesson': topic", bertopic.find_topics("a violin lesson", top_n=1)[0][0])


if __name__ == "__main__":
    main()
