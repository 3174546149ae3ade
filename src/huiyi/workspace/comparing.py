"""How alike texts are: two of them, a short list as a matrix, a file of pairs with a column more."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.encoding.classifier import PairClassifier
from huiyi.errors import Conflict, InvalidInput
from huiyi.model import Model
from huiyi.sources.outputs import require_table, write_table
from huiyi.sources.readers import Cells, as_text
from huiyi.sources.tables import Format, open_table, slices
from huiyi.training.calibration import Calibration
from huiyi.types import Floats
from huiyi.workspace.calibrating import read_calibration, require_calibrated_for
from huiyi.workspace.texts import SLICE_BYTES, TEXT_BYTES, Clock, Loader, Progress, Truncate, score_pairs, score_slice, text_encoder

MATRIX_TEXTS = 30
JUDGED = ("probability", "same")
Judge = Calibration | PairClassifier
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Texts `first` and `second`, from 0, differ in a number, a negation or a term: what stands in the one, and what in the other."""

    first: int
    second: int
    kind: str
    left: str
    right: str


@dataclass(frozen=True)
class Matrix:
    """scores[i][j]: cosine of texts i and j, float32 [n, n]; log odds of their meaning the same where the model is a pair classifier.

    probabilities: of meaning the same, and the least score that is taken for it; None where nothing was calibrated. remarks: pairs whose
    numbers, negation or names differ, however near they are, as sentences; differences: the same for programs.
    """

    texts: tuple[str, ...]
    scores: Floats
    probabilities: NDArray[np.float64] | None = None
    threshold: float | None = None
    measure: Literal["cosine", "log odds"] = "cosine"
    remarks: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class ScoredFile:
    """mean: of all scores. full: as in EmbeddedFile, of both columns. same: pairs taken for the same, None where nothing was calibrated."""

    output: str
    source: str
    columns: tuple[str, str]
    score: str
    rows: int
    mean: float
    full: int
    model: str
    seconds: float
    same: int | None = None


def similarity(texts: Sequence[str], load: Loader, truncate: Truncate = "end", calibrated: Path | None = None) -> Matrix:
    """The cosine of every two of `texts`, all taken as documents: of 2 to MATRIX_TEXTS of them. calibrated: what scores mean, see
    `workspace.calibrating`."""
    if not 2 <= len(texts) <= MATRIX_TEXTS:
        way_out = "one text has nothing to be compared with" if len(texts) < 2 else "for more, take the vectors of `huiyi embed`"
        raise InvalidInput(f"similarity compares 2 to {MATRIX_TEXTS} texts, not {len(texts):,}; {way_out}")
    calibration = read_calibration(calibrated) if calibrated else None
    model = load()
    if calibration:
        require_calibrated_for(calibration, model)
    differences = _differences(texts)
    if isinstance(model.encoder, PairClassifier):
        matrix = _judged_matrix(texts, model, model.encoder, calibration or model.encoder, truncate)
    else:
        vectors = text_encoder(model, truncate=truncate)(texts).vectors
        scores = _cosines(vectors @ vectors.T)
        judged = (calibration.probability(scores), calibration.threshold) if calibration else (None, None)
        matrix = Matrix(tuple(texts), scores, *judged)
    return replace(matrix, differences=differences, remarks=tuple(map(_sentence, differences)))


def _differences(texts: Sequence[str]) -> tuple[Difference, ...]:
    from huiyi.tasks import Guard

    guard = Guard()
    return tuple(
        Difference(i, j, remark.kind, remark.left, remark.right)
        for i, j in combinations(range(len(texts)), 2)
        for remark in guard.remarks(texts[i], texts[j])
    )


def _sentence(found: Difference) -> str:
    sides = f"{found.left or '–'} / {found.right or '–'}"
    return f"texts {found.first + 1} and {found.second + 1} differ in a {found.kind}: {sides}"


def _judged_matrix(texts: Sequence[str], model: Model, classifier: PairClassifier, judge: Judge, truncate: Truncate) -> Matrix:
    """Of a pair classifier: every text with every other, in both orders."""
    n = len(texts)
    first, second = [text for text in texts for _ in texts], list(texts) * n
    scores = score_pairs(model, first, second, truncate).scores.reshape(n, n)
    return Matrix(tuple(texts), scores.astype(np.float32), judge.probability(scores), judge.threshold, "log odds")


def similarity_list(
    source: str | Path,
    load: Loader,
    *,
    text: str | None = None,
    calibrated: Path | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Matrix:
    """`similarity` of the texts in a short file."""
    with open_table(source, format, encoding, sheet) as table:
        column = table.text_column(text)
        say(f"{table.description()}; texts from the column {column!r}")
        texts = [as_text(row.cells.get(column)) for row in islice(table, MATRIX_TEXTS)]
        if table.rows > MATRIX_TEXTS:
            raise InvalidInput(f"a matrix is for {MATRIX_TEXTS} texts at most and {table.name} has {table.rows:,}; try `huiyi embed`")
    return similarity(texts, load, truncate, calibrated)


def similarity_file(
    source: str | Path,
    output: Path,
    load: Loader,
    *,
    a: str | None = None,
    b: str | None = None,
    score: str = "score",
    calibrated: Path | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> ScoredFile:
    """`source` with a column `score` more, in `output` (.csv, .tsv, .jsonl or .xlsx): the cosine of the texts in the columns `a` and `b`.

    a, b: default sentence1 and sentence2, or the only two columns. calibrated: adds the columns `probability` and `same` (0 or 1), see
    `workspace.calibrating`. Memory does not grow with the file.
    """
    calibration = read_calibration(calibrated) if calibrated else None
    with open_table(source, format, encoding, sheet) as table:
        pair = table.pair_columns(a, b)
        if score in table.columns:
            raise Conflict(f"{table.name} has a column {score!r} already; name another for the result with --score")
        added = _added(score, calibration is not None, table.columns)
        require_table(output, table, overwrite)
        say(f"{table.description()}; pairs from the columns {pair[0]!r} and {pair[1]!r}")
        model = load()
        if calibration:
            require_calibrated_for(calibration, model)
        judge: Judge | None = calibration
        if judge is None and isinstance(model.encoder, PairClassifier):
            judge, added = model.encoder, _added(score, True, table.columns)
        clock = Clock(table, pair, report)
        total, full, same = 0.0, 0, 0

        def scored() -> Iterator[Cells]:
            nonlocal total, full, same
            for piece in slices(table, pair, SLICE_BYTES, TEXT_BYTES):
                made = score_slice(table, piece, model, truncate)
                scores = made.scores
                total, full = total + float(scores.sum()), full + int((made.tokens >= model.encoder.max_tokens).sum())
                clock.add(piece, made.tokens)
                judged = _judged(judge, scores)
                same += sum(bool(each.get("same")) for each in judged)
                for row, value, more in zip(piece.rows, scores, judged, strict=True):
                    yield {**row.cells, score: round(float(value), 6), **more}
            table.require_unchanged()

        write_table(output, [*table.columns, *added], scored())
    return ScoredFile(
        output=str(output),
        source=table.description(),
        columns=pair,
        score=score,
        rows=table.rows,
        mean=total / table.rows,
        full=full,
        model=model.name,
        seconds=clock.seconds(),
        same=same if judge else None,
    )


def _added(score: str, judged: bool, columns: Collection[str]) -> list[str]:
    """The columns that come to a file. Raises Conflict where one is there."""
    added = [score, *(JUDGED if judged else ())]
    for name in added[1:]:
        if name in (score, *columns):
            raise Conflict(f"there is a column {name!r} already, which is to be added; rename it")
    return added


def _judged(judge: Judge | None, scores: Scores) -> list[dict[str, float | int]]:
    """The cells of JUDGED for each score; none without a judge."""
    if judge is None:
        return [{}] * len(scores)
    both = zip(judge.probability(scores), judge.same(scores), strict=True)
    return [{"probability": round(float(probability), 6), "same": int(same)} for probability, same in both]


def _cosines(products: Floats) -> Floats:
    return np.clip(products, -1, 1)  # of unit vectors; rounding can end at 1.0000001
