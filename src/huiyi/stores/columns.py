"""Metadata in memory, a column a field, by position: what a filter is evaluated over. Agrees with `filters.matches` on every record.

A column holds numbers as float64 (NaN: no number here) and everything else as codes of distinct values (0: nothing else here), so a
filter looks at distinct values once and at records by array operations.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from huiyi.stores.filters import Among, Compared, Every, Filter, Not, Present, Scalar, Some, Value

Bools = NDArray[np.bool_]
LONG_TEXT = 64  # longer ones are kept as digests: columns of whole paragraphs are never asked for their characters
ROOM = 1024


class Column:
    """One field. It may be shorter than there are records: nothing is there beyond its end."""

    def __init__(self) -> None:
        self.numbers: NDArray[np.float64] = np.empty(0)
        self.codes: NDArray[np.int32] = np.empty(0, np.int32)
        self.values: list[Any] = [None]  # by code: a key of `_key`, or a tuple of keys for a list of texts
        self._code: dict[Any, int] = {}
        self._holders: dict[Any, list[int]] = {}  # codes of the lists that hold a text

    def put(self, position: int, value: Value | None) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number or position < len(self.numbers):
            self.numbers = _grown(self.numbers, position, np.nan)
            self.numbers[position] = value if number else np.nan
        if (value is not None and not number) or position < len(self.codes):
            self.codes = _grown(self.codes, position, 0)
            self.codes[position] = 0 if number or value is None else self._code_of(value)

    def among(self, values: tuple[Scalar, ...], rows: int) -> Bools:
        there = np.zeros(rows, bool)
        numbers = [value for value in values if isinstance(value, float)]
        if numbers:
            own = self.numbers[:rows]
            there[: len(own)] = own == numbers[0] if len(numbers) == 1 else np.isin(own, numbers)
        keys = [_key(value) for value in values if not isinstance(value, float)]
        wanted = {code for key in keys for code in (*([self._code[key]] if key in self._code else []), *self._holders.get(key, []))}
        if wanted:
            chosen = np.zeros(len(self.values), bool)
            chosen[list(wanted)] = True
            own_codes = self.codes[:rows]
            there[: len(own_codes)] |= chosen[own_codes]
        return there

    def compared(self, comparison: str, bound: float, rows: int) -> Bools:
        there = np.zeros(rows, bool)
        own = self.numbers[:rows]
        compare = {"$gt": np.greater, "$gte": np.greater_equal, "$lt": np.less, "$lte": np.less_equal}[comparison]
        there[: len(own)] = compare(own, bound)
        return there

    def present(self, rows: int) -> Bools:
        there = np.zeros(rows, bool)
        numbers, codes = self.numbers[:rows], self.codes[:rows]
        there[: len(numbers)] = ~np.isnan(numbers)
        there[: len(codes)] |= codes > 0
        return there

    def _code_of(self, value: Any) -> int:
        key = tuple(map(_key, value)) if isinstance(value, list) else _key(value)
        code = self._code.get(key)
        if code is None:
            code = self._learn(key)
        return code

    def _learn(self, key: Any) -> int:
        code = self._code[key] = len(self.values)
        self.values.append(key)
        if isinstance(key, tuple):
            for each in set(key):
                self._holders.setdefault(each, []).append(code)
        return code


class Columns:
    def __init__(self) -> None:
        self.fields: dict[str, Column] = {}

    def put(self, position: int, metadata: Mapping[str, Value]) -> None:
        """The metadata of a new record."""
        for name, value in metadata.items():
            column = self.fields.get(name)
            if column is None:
                column = self.fields[name] = Column()
            column.put(position, value)

    def replace(self, position: int, metadata: Mapping[str, Value]) -> None:
        for name, column in self.fields.items():
            if name not in metadata:
                column.put(position, None)
        self.put(position, metadata)

    def mask(self, filter: Filter, rows: int) -> Bools:
        """Which of the first `rows` records match."""
        match filter:
            case Every(parts):
                return reduce(np.logical_and, [self.mask(part, rows) for part in parts])
            case Some(parts):
                return reduce(np.logical_or, [self.mask(part, rows) for part in parts])
            case Not(part):
                return ~self.mask(part, rows)
        column = self.fields.get(filter.field)
        if column is None:
            return np.zeros(rows, bool)
        match filter:
            case Among(_, values):
                return column.among(values, rows)
            case Compared(_, comparison, bound):
                return column.compared(comparison, bound, rows)
            case Present():
                return column.present(rows)

    def saved(self, rows: int) -> dict[str, NDArray[Any]]:
        """The first `rows` records as arrays; `loaded` makes columns of them again."""
        kept: dict[str, NDArray[Any]] = {}
        facts = []
        for number, (name, column) in enumerate(self.fields.items()):
            kept[f"numbers {number}"], kept[f"codes {number}"] = column.numbers[:rows], column.codes[:rows]
            facts.append([name, [list(value) if isinstance(value, tuple) else value for value in column.values]])
        return kept | {"fields": np.frombuffer(json.dumps(facts).encode(), np.uint8)}

    @classmethod
    def loaded(cls, kept: Mapping[str, NDArray[Any]]) -> "Columns":
        made = cls()
        for number, (name, values) in enumerate(json.loads(kept["fields"].tobytes())):
            column = made.fields[name] = Column()
            column.numbers, column.codes = kept[f"numbers {number}"], kept[f"codes {number}"]
            for value in values[1:]:
                column._learn(tuple(value) if isinstance(value, list) else value)
        return made


def _key(value: Scalar) -> str:
    """A text that tells texts, long ones, true and false apart."""
    if not isinstance(value, str):
        return "t" if value else "f"
    return f"s{value}" if len(value) <= LONG_TEXT else f"d{hashlib.blake2b(value.encode(), digest_size=16).hexdigest()}"


def _grown(array: NDArray[Any], position: int, fill: float) -> NDArray[Any]:
    if position < len(array):
        return array
    grown = np.full(max(ROOM, 2 * len(array), position + 1), fill, array.dtype)
    grown[: len(array)] = array
    return grown
