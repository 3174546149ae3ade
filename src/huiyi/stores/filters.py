"""The filter language of Pinecone and Chroma (MongoDB's), read once into a small tree that every store compiles for itself.

    {"lang": "zh", "price": {"$gte": 5, "$lt": 10}, "$or": [{"tag": {"$in": ["a", "b"]}}, {"tag": {"$exists": false}}]}

`matches` is the meaning of a filter; what a store makes of the tree must agree with it on every record. An operator that is
not known is an error. Trees are hashable, and equal filters make equal trees.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from huiyi.errors import InvalidInput

Scalar = str | int | float | bool
Value = Scalar | list[str]
Comparison = Literal["$gt", "$gte", "$lt", "$lte"]

LARGEST_INTEGER = 2**53  # beyond it floats, JSON readers and Pinecone tell neighbours no longer apart
DEEPEST = 20
MOST_VALUES = 10_000


@dataclass(frozen=True)
class Among:
    """The field is there and equals one of `values`; a list of texts does when one of its texts does.

    values: sorted by kind and value, none twice; never empty but for `{"$in": []}`, which no record matches.
    1 equals 1.0; true and false equal no number, and "1" neither.
    """

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Compared:
    """The field is a number (neither true nor false), and that comparison with `bound` holds."""

    field: str
    comparison: Comparison
    bound: float


@dataclass(frozen=True)
class Present:
    """The field is there."""

    field: str


@dataclass(frozen=True)
class Not:
    """`$ne`, `$nin`, `$exists: false`: also true of a record that has no such field."""

    part: "Filter"


@dataclass(frozen=True)
class Every:
    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Some:
    parts: tuple["Filter", ...]


Filter = Among | Compared | Present | Not | Every | Some


def parse(given: Mapping[str, Any] | None) -> Filter | None:
    """The tree of a filter; None for None and for `{}`, which leave nothing out. Raises InvalidInput."""
    if given is None:
        return None
    parts = _parts(given, 0)
    return _joined(parts) if parts else None


def matches(filter: Filter | None, metadata: Mapping[str, Value]) -> bool:
    """Whether a record with this metadata is meant by the filter: the definition, one record at a time."""
    match filter:
        case None:
            return True
        case Among(field, values):
            there = metadata.get(field)
            own = there if isinstance(there, list) else [] if there is None else [there]
            return any(_same(one, value) for one in own for value in values)
        case Compared(field, comparison, bound):
            there = metadata.get(field)
            return isinstance(there, int | float) and not isinstance(there, bool) and _holds(there, comparison, bound)
        case Present(field):
            return field in metadata
        case Not(part):
            return not matches(part, metadata)
        case Every(parts):
            return all(matches(part, metadata) for part in parts)
        case Some(parts):
            return any(matches(part, metadata) for part in parts)


def fields(filter: Filter | None) -> set[str]:
    """The fields that a filter asks for."""
    match filter:
        case None:
            return set()
        case Not(part):
            return fields(part)
        case Every(parts) | Some(parts):
            return set().union(*map(fields, parts))
        case _:
            return {filter.field}


def _parts(given: object, depth: int) -> list[Filter]:
    if not isinstance(given, Mapping):
        raise InvalidInput(f'a filter is an object such as {{"lang": "zh"}}, not {_shown(given)}')
    if depth > DEEPEST:
        raise InvalidInput(f"a filter may be {DEEPEST} levels deep, not more")
    parts: list[Filter] = []
    for name, wanted in given.items():
        if not isinstance(name, str):
            raise InvalidInput(f"a filter names its fields by texts, not by {_shown(name)}")
        if name in ("$and", "$or"):
            parts.append(_branches(name, wanted, depth))
        elif name.startswith("$"):
            raise InvalidInput(
                f"{name} is not an operator that joins filters; there are $and and $or, and a field's name comes before the others"
            )
        elif isinstance(wanted, Mapping):
            if not wanted:
                raise InvalidInput(f"the filter on {name!r} says nothing: give a value or an operator, such as {OPERATORS[0]}")
            parts += [_operator(name, operator, value) for operator, value in wanted.items()]
        else:
            parts.append(_operator(name, "$eq", wanted))
    return parts


def _branches(name: str, wanted: object, depth: int) -> Filter:
    if not isinstance(wanted, list | tuple) or not wanted:
        raise InvalidInput(f"{name} takes a list of filters, at least one, not {_shown(wanted)}")
    branches = []
    for each in wanted:
        parts = _parts(each, depth + 1)
        if not parts:
            raise InvalidInput(f"{name} holds an empty filter, which would match everything; take it out")
        branches.append(_joined(parts))
    return _joined(branches) if name == "$and" else branches[0] if len(branches) == 1 else Some(tuple(branches))


def _joined(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else Every(tuple(parts))


OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists")


def _operator(field: str, operator: object, value: object) -> Filter:
    where = f"{operator} on {field!r}"
    match operator:
        case "$eq":
            return Among(field, _scalars([value], where))
        case "$ne":
            return Not(Among(field, _scalars([value], where)))
        case "$in" | "$nin":
            if not isinstance(value, list | tuple | set | frozenset):
                raise InvalidInput(f"{where} takes a list of values, not {_shown(value)}")
            among = Among(field, _scalars(value, where))
            return among if operator == "$in" else Not(among)
        case "$gt" | "$gte" | "$lt" | "$lte":
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                raise InvalidInput(f"{where} takes a number, not {_shown(value)}; keep dates as numbers, such as 20241121 or seconds")
            return Compared(field, operator, _number(value, where))
        case "$exists":
            if not isinstance(value, bool):
                raise InvalidInput(f"{where} takes true or false, not {_shown(value)}")
            return Present(field) if value else Not(Present(field))
    raise InvalidInput(f"{operator!r} (on {field!r}) is not an operator here; there are {', '.join(OPERATORS)}, $and and $or")


def _scalars(values: Iterable[object], where: str) -> tuple[Scalar, ...]:
    found: dict[tuple[str, Scalar], Scalar] = {}
    for value in values:
        if not isinstance(value, str | int | float) or value != value:
            absent = '; records without the field are {"$exists": false}' if value is None else ""
            raise InvalidInput(f"{where} compares with texts, numbers, true and false, not with {_shown(value)}{absent}")
        kind = "b" if isinstance(value, bool) else "s" if isinstance(value, str) else "n"
        found[kind, value] = value if isinstance(value, bool | str) else _number(value, where)
    if len(found) > MOST_VALUES:
        raise InvalidInput(f"{where} takes up to {MOST_VALUES:,} values, not {len(found):,}")
    return tuple(found[key] for key in sorted(found, key=lambda key: (key[0], key[1])))


def _number(value: float, where: str) -> float:
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise InvalidInput(f"{where} compares with an integer beyond 2^53, which no number field holds; keep such numbers as texts")
    return float(value)


def _same(one: Scalar, other: Scalar) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _holds(there: float, comparison: Comparison, bound: float) -> bool:
    match comparison:
        case "$gt":
            return there > bound
        case "$gte":
            return there >= bound
        case "$lt":
            return there < bound
        case "$lte":
            return there <= bound


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
