"""What somebody may like next of the rows of a file or collection; and how well that would have worked on their histories."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from huiyi.collection import Collection
from huiyi.errors import InvalidInput, NotFound
from huiyi.sources.outputs import require_place, table_format, write_table
from huiyi.sources.readers import Cells, as_text
from huiyi.sources.tables import Format, open_table
from huiyi.workspace.records import Records, about_collection, is_collection, opened_collection, read_records, vectors_of
from huiyi.workspace.searching import unknown_fields
from huiyi.workspace.texts import Loader, Progress, Truncate

if TYPE_CHECKING:
    from huiyi.tasks.recommending import Held

USER_COLUMNS, ITEM_COLUMNS, TIME_COLUMNS = (
    ("user", "user_id", "用户"),
    ("item", "item_id", "id", "物品"),
    ("time", "timestamp", "date", "时间"),
)

NOTHING_LEFT = "no row is left to recommend: all were named, are empty or say the same as those"


@dataclass(frozen=True)
class RecommendedLine:
    """because: the id of the liked or seen row that it is nearest to."""

    id: str
    text: str
    score: float
    because: str


@dataclass(frozen=True)
class RecommendedFile:
    source: str
    id_column: str
    lines: tuple[RecommendedLine, ...]
    output: str | None
    model: str


@dataclass(frozen=True)
class EvaluatedRecommendations:
    """held: as in `tasks.evaluate_recommendations`. unknown: interactions with items that the source does not hold."""

    source: str
    interactions: str
    held: "Held"
    unknown: int
    model: str


def recommend_file(
    source: str | Path,
    load: Loader,
    *,
    liked: Sequence[str] = (),
    disliked: Sequence[str] = (),
    history: Sequence[str] = (),
    k: int = 10,
    diversity: float = 0.3,
    where: Sequence[str] = (),
    id_column: str | None = None,
    output: Path | None = None,
    text: str | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> RecommendedFile:
    """The `k` rows of `source` that suit somebody best.

    liked, disliked, history: ids, the history's oldest first. id_column: by default `id`, else the number of the line. where: conditions
    `COLUMN=VALUE` that a row must meet, all of them. Rows whose text is that of a liked or seen one, or comes again, are left out.
    """
    if output:
        require_place(output, overwrite)
        table_format(output)
    if not liked and not history:
        raise InvalidInput("name what to start from: --like ID, or --history ID for what was seen")
    conditions = [_condition(each) for each in where]
    if is_collection(source) and format is None and id_column in (None, "id") and not {"id", "text"} & {name for name, _ in conditions}:
        with opened_collection(str(source), text, say) as collection:
            return _of_collection(collection, liked, disliked, history, k, diversity, conditions, output)
    records = read_records(source, text=text, format=format, encoding=encoding, sheet=sheet, say=say)
    column, ids = _ids(records, id_column)
    chosen, avoided, seen = (_places(records, column, ids, each) for each in (liked, disliked, history))
    allowed = _allowed(records, conditions, [*chosen, *avoided, *seen])
    vectors, facts = vectors_of(records, load, truncate, report)
    from huiyi.tasks import recommend

    found = recommend(vectors, chosen, avoided, seen, k, diversity, allowed)
    lines = tuple(
        RecommendedLine(ids[i], records.texts[i], round(float(score), 4), ids[why])
        for i, score, why in zip(found.indices.tolist(), found.scores, found.because.tolist(), strict=True)
    )
    if output:
        _write(output, records.name, records.columns, [records.rows[i] for i in found.indices.tolist()], lines)
    return RecommendedFile(records.about, column, lines, str(output) if output else None, facts.model)


def _of_collection(
    collection: Collection,
    liked: Sequence[str],
    disliked: Sequence[str],
    history: Sequence[str],
    k: int,
    diversity: float,
    conditions: Sequence[tuple[str, str]],
    output: Path | None,
) -> RecommendedFile:
    """The same of what the store finds near, without reading all of it."""
    for id_ in (*liked, *disliked, *history):
        if collection.get(id_) is None:
            first = ", ".join(record.id for record in collection.page(3).records)
            raise NotFound(f"{collection.name} has no record with the id {id_!r}; the first are {first}")
    filter = {"$and": [_filter(*condition) for condition in conditions]} if conditions else None
    if filter and not collection.count(filter):
        if unknown := unknown_fields(collection, {column: value for column, value in conditions}):
            raise NotFound(unknown)
        raise InvalidInput(f"no row meets {_joined(conditions)}")
    found = collection.recommend(like=liked, dislike=disliked, history=history, k=k, diversity=diversity, filter=filter)
    if not found:
        raise InvalidInput(NOTHING_LEFT)
    lines = tuple(RecommendedLine(one.id, one.text, one.score, one.because) for one in found)
    if output:
        there = ((line, collection.get(line.id)) for line in lines)
        rows = [{"id": line.id, "text": line.text, **(record.metadata if record else {})} for line, record in there]
        _write(output, collection.name, tuple(dict.fromkeys(column for row in rows for column in row)), rows, lines)
    return RecommendedFile(about_collection(collection), "id", lines, str(output) if output else None, collection.facts.model)


def _write(output: Path, name: str, columns: Sequence[str], rows: Sequence[Cells], lines: Sequence[RecommendedLine]) -> None:
    extra = ("score", "because")
    taken = [each for each in extra if each in columns]
    if taken:
        raise InvalidInput(f"{name} has a column {taken[0]!r} already, which the answer would be written to; rename it")
    told = ({**row, "score": line.score, "because": line.because} for row, line in zip(rows, lines, strict=True))
    write_table(output, [*columns, *extra], told)


def evaluate_recommend(
    source: str | Path,
    interactions: str | Path,
    load: Loader,
    *,
    k: int = 10,
    id_column: str | None = None,
    text: str | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> EvaluatedRecommendations:
    """How often the last item of each user comes back from those before it.

    interactions: a table with the columns user and item, a line each, in order of time, or sorted by its column time.
    """
    records = read_records(source, text=text, format=format, encoding=encoding, sheet=sheet, say=say)
    _, ids = _ids(records, id_column)
    place = {id_: row for row, id_ in reversed(list(enumerate(ids)))}
    with open_table(interactions) as table:
        user, item = (_column(table.columns, table.name, names) for names in (USER_COLUMNS, ITEM_COLUMNS))
        time = next((each for each in TIME_COLUMNS if each in table.columns), None)
        lines = [row.cells for row in table]
        name = table.description()
    if time is not None:
        lines.sort(key=lambda cells: _ordered(cells.get(time)))
    histories: dict[str, list[int]] = {}
    unknown = 0
    for cells in lines:
        row = place.get(as_text(cells.get(item)))
        if row is None:
            unknown += 1
        else:
            histories.setdefault(as_text(cells.get(user)), []).append(row)
    vectors, facts = vectors_of(records, load, truncate, report)
    from huiyi.tasks import evaluate_recommendations

    return EvaluatedRecommendations(
        records.about, name, evaluate_recommendations(vectors, list(histories.values()), k), unknown, facts.model
    )


def _ids(records: Records, wanted: str | None) -> tuple[str, list[str]]:
    """The column of ids, "line" for the numbers of lines, and every row's id."""
    if wanted is not None:
        return wanted, records.cells(wanted)
    found = next((name for name in records.columns if name.casefold() == "id"), None)
    return (found, records.cells(found)) if found else ("line", [str(number) for number in records.numbers])


def _places(records: Records, column: str, ids: list[str], wanted: Sequence[str]) -> list[int]:
    found = []
    for each in wanted:
        rows = [row for row, id_ in enumerate(ids) if id_ == each]
        if not rows:
            raise NotFound(f"{records.name} has no row with the {column} {each!r}; the first are {', '.join(ids[:3])}")
        if len(rows) > 1:
            raise InvalidInput(f"{records.name} has {len(rows)} rows with the {column} {each!r}; name another column with --id")
        found += rows
    return found


def _condition(given: str) -> tuple[str, str]:
    column, equals, value = given.partition("=")
    if not equals:
        raise InvalidInput(f"{given!r} is no condition; write COLUMN=VALUE")
    return column, value


def _joined(conditions: Sequence[tuple[str, str]]) -> str:
    return " and ".join(f"{column}={value}" for column, value in conditions)


def _filter(column: str, value: str) -> dict[str, Any]:
    """Records whose field reads as `value`: a text, a number or true and false; one of several texts; or no such field for ""."""
    values: list[str | float | bool] = [value]
    with suppress(ValueError):
        number = float(value)
        values += [number] if math.isfinite(number) else []
    if value.lower() in ("true", "false"):
        values.append(value.lower() == "true")
    there = {column: {"$in": values}}
    return there if value else {"$or": [there, {column: {"$exists": False}}]}


def _allowed(records: Records, conditions: Sequence[tuple[str, str]], named: list[int]) -> NDArray[np.bool_]:
    allowed = np.ones(len(records), bool)
    for column, value in conditions:
        allowed &= np.array([cell == value for cell in records.cells(column)], bool)
    if not allowed.any():
        raise InvalidInput(f"no row meets {_joined(conditions)}")
    known = {records.texts[row] for row in named}
    for row, each in enumerate(records.texts):
        if allowed[row]:
            allowed[row] = bool(each.strip()) and each not in known
            known.add(each)
    if not allowed.any():
        raise InvalidInput(NOTHING_LEFT)
    return allowed


def _column(columns: object, name: str, names: tuple[str, ...]) -> str:
    there = list(columns)  # type: ignore[call-overload]
    found = next((each for each in names if each in there), None)
    if found is None:
        raise NotFound(f"{name} has the columns {', '.join(there)}; one of them must be {names[0]!r}")
    return found


def _ordered(value: object) -> tuple[int, float, str]:
    """Numbers by size, anything else as text (ISO dates sort that way)."""
    try:
        return 0, float(as_text(value)), ""
    except ValueError:
        return 1, 0.0, as_text(value)
