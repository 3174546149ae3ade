"""`EmbeddingVectorizer`: a model as a scikit-learn transformer, in the place that TF-IDF had in a `Pipeline`.

Nothing else of huiyi imports this. Stateless: fitting learns nothing, and pickles and clones carry the model's name, never its weights.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Self

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from huiyi import workspace
from huiyi.errors import InvalidInput
from huiyi.model import Model
from huiyi.types import Floats, Kind


class EmbeddingVectorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """Texts in, float32 vectors [n, dim] of unit length out.

    model: a name or folder as `huiyi.load` takes it, or a `Model`. A named one is loaded on first use and shared by all clones in the
    process. kind: "document", or "query" for texts that ask. dimensions: cut to this many numbers.
    """

    def __init__(self, model: str | Model, *, kind: Kind = "document", dimensions: int | None = None) -> None:
        self.model = model
        self.kind = kind
        self.dimensions = dimensions

    def fit(self, X: Iterable[str], y: Any = None) -> Self:
        """Learns nothing; loads the model, so that what is wrong with the parameters fails here."""
        self._encode([])
        return self

    def transform(self, X: Iterable[str]) -> Floats:
        if isinstance(X, str):
            raise InvalidInput("Give a list of texts, not one string.")
        return self._encode(X)

    def _encode(self, texts: Iterable[str]) -> Floats:
        if self.kind not in ("document", "query"):
            raise InvalidInput(f"kind is {self.kind!r}; it must be document or query.")
        model = self._loaded()
        encode = model.encode_query if self.kind == "query" else model.encode_document
        return encode(texts, truncate_dim=self.dimensions)

    def _loaded(self) -> Model:
        return self.model if isinstance(self.model, Model) else _load(self.model)

    @property
    def _n_features_out(self) -> int:
        """What get_feature_names_out counts."""
        return self.dimensions or self._loaded().get_embedding_dimension()

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


@lru_cache(maxsize=2)  # cross-validation clones a pipeline many times; two models may be compared
def _load(name: str) -> Model:
    return workspace.load(name)
