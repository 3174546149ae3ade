"""What is learned from examples: inputs as token ids, the loss of a batch, and how good the network is on other examples.

An objective knows its rows and which inputs each of them needs; equal texts of a batch go through the model once. Tokens are exactly those
of huiyi's own tokenizer. Knows nothing of steps, files or settings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from huiyi.encoding.pairing import PairTemplate, bare, lengths
from huiyi.encoding.tokenizer import Tokenizer
from huiyi.errors import InvalidInput
from huiyi.training import losses
from huiyi.training.batches import Ints
from huiyi.training.bootstrap import Statistics
from huiyi.training.data import Pairs, Queries, ScoredPairs, Training, Triplets
from huiyi.training.evaluate import rank_correlation
from huiyi.training.networks import Network
from huiyi.types import Floats, Ids, Kind

Scores = NDArray[np.float64]
INPUTS_AT_ONCE = 1024  # of an evaluation, sorted by length first
HARD_NEGATIVES = 8  # of a query in one batch; further ones are left out
MINED_BELOW = 0.95  # of the positive's score: what is nearer is taken for an answer too (Moreira et al. 2024, NV-Retriever)


@dataclass
class Inputs:
    """Distinct inputs of a model: token ids by place. types: token types, where the model was given two texts as one."""

    ids: list[Ids] = field(default_factory=list)
    types: list[Ids] | None = None
    _places: dict[Any, int] = field(default_factory=dict)
    cut: int = 0

    def texts(self, tokenizer: Tokenizer, texts: Sequence[str], kind: Kind = "document", instruction: str | None = None) -> Ints:
        """Places of texts, cut to the tokenizer's length with their special tokens kept. Documents raw, without a prompt."""
        new = [text for text in dict.fromkeys(texts) if (text, kind) not in self._places]
        encoded = tokenizer.encode(new, prompt="") if kind == "document" else tokenizer.encode(new, kind, instruction)
        for text, ids in zip(new, encoded, strict=True):
            self._places[text, kind] = len(self.ids)
            self.cut += len(ids) > tokenizer.max_tokens
            self.ids.append(tokenizer.truncate(ids))
        return np.array([self._places[text, kind] for text in texts], np.int64)

    def pairs(self, tokenizer: Tokenizer, template: PairTemplate, first: Sequence[str], second: Sequence[str]) -> Ints:
        """Places of pairs, each one input, cut to the tokenizer's length."""
        known = list(dict.fromkeys([*first, *second]))
        ids = dict(zip(known, bare(tokenizer, known), strict=True))
        start, room = len(self.ids), tokenizer.max_tokens - len(template)
        if template.token_types and self.types is None:
            self.types = []
        for a, b in zip(first, second, strict=True):
            self.ids.append(template.join(ids[a], ids[b], tokenizer.max_tokens))
            self.cut += len(ids[a]) + len(ids[b]) > room
            if self.types is not None:
                kept, _ = lengths(len(ids[a]), len(ids[b]), room)
                self.types.append(template.types(kept, len(self.ids[-1])))
        return np.arange(start, len(self.ids))

    @property
    def lengths(self) -> Ints:
        return np.array([len(ids) for ids in self.ids], np.int64)


class Objective(Protocol):
    """rows: how many there are to learn from. inputs: of all of them."""

    inputs: Inputs

    def __len__(self) -> int: ...

    def needs(self, rows: Ints) -> Ints:
        """Places of the inputs of these rows, each once."""
        ...

    def loss(self, outputs: Tensor, places: Ints, rows: Ints) -> Tensor:
        """outputs: of the network, for the inputs at `places`, which is what `needs` gave."""
        ...


@dataclass
class ByOrder:
    """Pairs by CoSENT: those that are more alike shall have the higher cosine."""

    inputs: Inputs
    first: Ints
    second: Ints
    wanted: Scores
    widths: tuple[int, ...] = ()
    scale: float = losses.SCALE

    def __len__(self) -> int:
        return len(self.first)

    def needs(self, rows: Ints) -> Ints:
        return np.unique(np.r_[self.first[rows], self.second[rows]])

    def loss(self, outputs: Tensor, places: Ints, rows: Ints) -> Tensor:
        a, b = (_rows(places, column[rows], outputs) for column in (self.first, self.second))
        wanted = torch.from_numpy(self.wanted[rows]).to(outputs.device)
        return losses.matryoshka(outputs, self.widths, lambda unit: losses.cosent((unit[a] * unit[b]).sum(1), wanted, self.scale))


@dataclass
class ByContrast:
    """Queries with what answers them, by InfoNCE. known: the documents that answer a query, by its place, so that none is its negative."""

    inputs: Inputs
    queries: Ints
    positives: Ints
    negatives: list[Ints]
    known: dict[int, set[int]]
    widths: tuple[int, ...] = ()
    margin: float = losses.MARGIN
    scale: float = losses.SCALE

    def __len__(self) -> int:
        return len(self.queries)

    def needs(self, rows: Ints) -> Ints:
        return np.unique(np.concatenate([self.queries[rows], self._documents(rows)]))

    def _documents(self, rows: Ints) -> Ints:
        return np.unique(np.concatenate([self.positives[rows], *(self.negatives[row][:HARD_NEGATIVES] for row in rows)]))

    def loss(self, outputs: Tensor, places: Ints, rows: Ints) -> Tensor:
        queries, documents = self.queries[rows], self._documents(rows)
        known = torch.tensor([[document in self.known[query] for document in documents.tolist()] for query in queries.tolist()])
        same = torch.from_numpy(queries[:, None] == queries[None, :]).to(outputs.device)
        positive = torch.from_numpy(np.searchsorted(documents, self.positives[rows])).to(outputs.device)
        q, d = (_rows(places, wanted, outputs) for wanted in (queries, documents))
        known = known.to(outputs.device)
        return losses.matryoshka(
            outputs, self.widths, lambda unit: losses.info_nce(unit[q], unit[d], positive, known, same, self.scale, self.margin)
        )


@dataclass
class ByLabel:
    """Pairs as one input each, by cross-entropy."""

    inputs: Inputs
    labels: Ints

    def __len__(self) -> int:
        return len(self.labels)

    def needs(self, rows: Ints) -> Ints:
        return rows

    def loss(self, outputs: Tensor, places: Ints, rows: Ints) -> Tensor:
        return losses.classification(outputs, torch.from_numpy(self.labels[rows]).to(outputs.device))


def _rows(places: Ints, wanted: Ints, outputs: Tensor) -> Tensor:
    """Where in `outputs` the inputs `wanted` stand."""
    return torch.from_numpy(np.searchsorted(places, wanted)).to(outputs.device)


def bi_encoder(
    examples: Training,
    tokenizer: Tokenizer,
    *,
    loss: str = "auto",
    instruction: str | None = None,
    widths: tuple[int, ...] = (),
    margin: float = losses.MARGIN,
    scale: float = losses.SCALE,
) -> ByOrder | ByContrast:
    """loss: cosent, info-nce, or auto: CoSENT for pairs, InfoNCE for triplets and queries. Only queries carry an instruction."""
    inputs = Inputs()
    if isinstance(examples, Pairs | ScoredPairs) and loss in ("auto", "cosent"):
        wanted = examples.labels.astype(np.float64) if isinstance(examples, Pairs) else examples.scores
        if not np.ptp(wanted):
            raise InvalidInput(f"all pairs of {examples.name} say the same ({wanted[0]:g}): there is nothing to learn an order from")
        return ByOrder(inputs, inputs.texts(tokenizer, examples.first), inputs.texts(tokenizer, examples.second), wanted, widths, scale)
    if loss == "cosent":
        raise InvalidInput("CoSENT learns from pairs with labels or scores; for triplets and queries pass --loss info-nce, or leave it out")
    rows = contrasts(examples)
    kind: Kind = "query" if isinstance(examples, Queries) else "document"
    queries = inputs.texts(tokenizer, [query for query, _, _ in rows], kind, instruction if kind == "query" else None)
    positives = inputs.texts(tokenizer, [positive for _, positive, _ in rows])
    negatives = [inputs.texts(tokenizer, texts) for _, _, texts in rows]
    known: dict[int, set[int]] = {}
    for query, positive in zip(queries.tolist(), positives.tolist(), strict=True):
        known.setdefault(query, set()).add(positive)
    return ByContrast(inputs, queries, positives, negatives, known, widths, margin, scale)


def contrasts(examples: Training) -> list[tuple[str, str, tuple[str, ...]]]:
    """A query, one text that answers it, texts that do not; a row for each answer."""
    match examples:
        case Triplets():
            rows = zip(examples.anchor, examples.positive, examples.negative, strict=True)
            return [(anchor, positive, (negative,)) for anchor, positive, negative in rows]
        case Queries():
            each = zip(examples.queries, examples.positives, examples.negatives, strict=True)
            return [(query, positive, negatives) for query, positives, negatives in each for positive in positives]
        case Pairs():
            other: dict[str, list[str]] = {}
            found = list(zip(examples.first, examples.second, examples.labels, strict=True))
            for first, second, label in found:
                if not label:
                    other.setdefault(first, []).append(second)
            same = [(first, second, tuple(other.get(first, ()))) for first, second, label in found if label]
            if not same:
                raise InvalidInput(f"{examples.name} has no pair with label 1: InfoNCE has nothing to draw together")
            return same
    raise InvalidInput("InfoNCE learns from queries, triplets or pairs with labels; for scored pairs pass --loss cosent, or leave it out")


def pair_classifier(examples: Training, tokenizer: Tokenizer, template: PairTemplate) -> ByLabel:
    if not isinstance(examples, Pairs):
        raise InvalidInput("a pair classifier learns from pairs with labels 0 and 1 (sentence1, sentence2, label)")
    if len(np.unique(examples.labels)) < 2:
        raise InvalidInput(f"all pairs of {examples.name} have label {examples.labels[0]}: there is nothing to tell apart")
    inputs = Inputs()
    inputs.pairs(tokenizer, template, examples.first, examples.second)
    return ByLabel(inputs, examples.labels)


def outputs_of(network: Network, inputs: Inputs, places: Ints | None = None, say: Callable[[int], None] = lambda done: None) -> Floats:
    """What the network makes of inputs, without dropout, float32 [n, width or labels]."""
    at = np.arange(len(inputs.ids)) if places is None else places
    order = at[np.argsort(inputs.lengths[at], kind="stable")]
    was_training = network.training
    network.eval()
    made: list[Floats] = []
    with torch.no_grad():
        for start in range(0, len(order), INPUTS_AT_ONCE):
            part = order[start : start + INPUTS_AT_ONCE]
            types = [inputs.types[i] for i in part] if inputs.types else None
            made.append(network([inputs.ids[i] for i in part], types).cpu().numpy())
            say(min(start + INPUTS_AT_ONCE, len(order)))
    network.train(was_training)
    back = np.empty(len(at), np.int64)
    back[np.argsort(inputs.lengths[at], kind="stable")] = np.arange(len(at))
    return np.concatenate(made)[back]


class Scorer:
    """Pairs scored by a network: cosines of a bi-encoder, log odds of label 1 of a pair classifier. template: None for a bi-encoder."""

    def __init__(self, tokenizer: Tokenizer, template: PairTemplate | None, first: Sequence[str], second: Sequence[str]) -> None:
        self.inputs = Inputs()
        self._classifies = template is not None
        if template is not None:
            self.inputs.pairs(tokenizer, template, first, second)
        else:
            self._first, self._second = (self.inputs.texts(tokenizer, texts) for texts in (first, second))

    def __call__(self, network: Network) -> Scores:
        outputs = outputs_of(network, self.inputs).astype(np.float64)
        if self._classifies:
            return outputs[:, 1] - outputs[:, 0]
        rows = outputs / np.maximum(np.linalg.norm(outputs, axis=1, keepdims=True), 1e-12)
        return np.asarray(np.einsum("nd,nd->n", rows[self._first], rows[self._second]))


@dataclass(frozen=True, eq=False)
class Validated:
    """figure: what is to grow, called `name`. figures: all of them. scores: of pairs, None for other examples."""

    name: str
    figure: float
    figures: dict[str, float]
    scores: Scores | None


class Validation:
    """Examples that nothing is learned from: auc of pairs, spearman of scored ones, accuracy of triplets, mrr@10 of queries."""

    def __init__(
        self, examples: Training, tokenizer: Tokenizer, template: PairTemplate | None = None, instruction: str | None = None
    ) -> None:
        if template is not None and not isinstance(examples, Pairs):
            raise InvalidInput("a pair classifier is judged by pairs with labels 0 and 1 (sentence1, sentence2, label)")
        self.examples = examples
        self._scorer = Scorer(tokenizer, template, examples.first, examples.second) if isinstance(examples, Pairs | ScoredPairs) else None
        self._contrast = None if self._scorer else bi_encoder(examples, tokenizer, instruction=instruction)

    def __call__(self, network: Network) -> Validated:
        if self._scorer is None or not isinstance(self.examples, Pairs | ScoredPairs):
            name, figure = self._ranking(network)
            return Validated(name, figure, {name: figure}, None)
        scores = self._scorer(network)
        figures = pair_figures(scores, self.examples)
        name = next(iter(figures))
        return Validated(name, figures[name], figures, scores)

    def _ranking(self, network: Network) -> tuple[str, float]:
        contrast = self._contrast
        assert isinstance(contrast, ByContrast)
        outputs = outputs_of(network, contrast.inputs)
        rows = outputs / np.maximum(np.linalg.norm(outputs, axis=1, keepdims=True), 1e-12)
        queries, answers = rows[contrast.queries], rows[contrast.positives]
        own = np.einsum("nd,nd->n", queries, answers)
        if isinstance(self.examples, Triplets):
            others = rows[np.array([each[0] for each in contrast.negatives])]
            return "accuracy", float(np.mean(own > np.einsum("nd,nd->n", queries, others)))
        documents = np.unique(np.concatenate([contrast.positives, *contrast.negatives]))
        ranks = []
        for query, score in zip(contrast.queries.tolist(), own, strict=True):
            above = documents[rows[documents] @ rows[query] > score]
            ranks.append(1 + len(set(above.tolist()) - contrast.known[query]))
        return "mrr@10", float(np.mean([1 / rank if rank <= 10 else 0.0 for rank in ranks]))


def pair_figures(scores: Scores, examples: Pairs | ScoredPairs) -> dict[str, float]:
    """The one that is to grow first. accuracy: at the best threshold for these very pairs, so an upper bound."""
    whole = np.ones((1, len(scores)))
    if isinstance(examples, ScoredPairs):
        return _values(rank_correlation(scores, examples.scores), whole)
    from huiyi.training.calibration import best_threshold
    from huiyi.training.evaluate import pair_statistics

    guess = (scores >= best_threshold(scores, examples.labels)).astype(np.int64)
    found = _values(pair_statistics(scores, examples.labels, guess, guess.astype(np.float64)), whole)
    return {name: found[name] for name in ("auc", "accuracy", "spearman", "average_precision")}


def _values(statistics: Statistics, weights: Any) -> dict[str, float]:
    return {name: float(values[0]) for name, values in statistics(weights).items()}


def mine(network: Network, contrast: ByContrast, count: int, say: Callable[[int], None] = lambda done: None) -> int:
    """Give each row up to `count` hard negatives more: the documents nearest to its query that are not too near to be answers too.

    How many were found, over all rows.
    """
    outputs = torch.from_numpy(outputs_of(network, contrast.inputs, say=say))
    rows = losses.unit(outputs).numpy()
    documents = np.unique(np.concatenate([contrast.positives, *contrast.negatives]))
    corpus, found = rows[documents], 0
    for row, (query, positive) in enumerate(zip(contrast.queries.tolist(), contrast.positives.tolist(), strict=True)):
        scores = corpus @ rows[query]
        nearest = documents[np.argsort(-scores, kind="stable")[: 4 * count + len(contrast.known[query]) + 16]]
        limit = MINED_BELOW * float(rows[positive] @ rows[query])
        excluded = contrast.known[query] | set(contrast.negatives[row].tolist()) | {query}
        chosen = [each for each in nearest.tolist() if each not in excluded and float(rows[each] @ rows[query]) < limit][:count]
        contrast.negatives[row] = np.r_[contrast.negatives[row], np.array(chosen, np.int64)]
        found += len(chosen)
    return found
