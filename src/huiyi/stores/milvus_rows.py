"""Records as rows of Milvus, and filters as its expressions.

A record's metadata are written twice: as JSON, which comes back as it was and which other programs read, and as digests of field and
value (`tokens`) with the numbers beside them, which filters ask for. So an expression holds nothing but digests and numbers, means the
same on every version of Milvus, and agrees with `filters.matches` on every record. Lite evaluates arrays and JSON row by row (1.3 s for
10,000 rows), so there the digests lie in one text besides, for LIKE, and numbers in dynamic fields.
"""

import hashlib
import json
import math
import re
from typing import Any

from huiyi.errors import InvalidInput
from huiyi.stores.filters import Among, Compared, Every, Filter, Not, Present, Some, Value
from huiyi.stores.store import Record, digest, metadata_json
from huiyi.types import Floats

MOST_BYTES = 65_535  # of a text field, and of a JSON field, in Milvus
MOST_TOKENS = 3000  # 21 characters each, in one text
MOST_LIKES = 50
FIELDS: dict[str, dict[str, Any]] = {
    "key": {"type": "VARCHAR", "is_primary": True, "max_length": 32},
    "id": {"type": "VARCHAR", "max_length": MOST_BYTES},
    "text": {"type": "VARCHAR", "max_length": MOST_BYTES},
    "text_digest": {"type": "VARCHAR", "max_length": 32},
    "metadata": {"type": "JSON"},
    "metadata_digest": {"type": "VARCHAR", "max_length": 32},
}
LITE_FIELDS: dict[str, dict[str, Any]] = {"marks": {"type": "VARCHAR", "max_length": MOST_BYTES}}
SERVER_FIELDS: dict[str, dict[str, Any]] = {"numbers": {"type": "JSON"}}
_OPPOSITE = {"$gt": "<=", "$gte": "<", "$lt": ">=", "$lte": ">"}
_SIGN = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_NOTHING, _ANYTHING = 'key == ""', 'key != ""'
# Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean: what is searched for is often a part of what stands between two blanks.
_DENSE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3400-\u9fff\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(rf"(?P<dense>[{_DENSE}]+)|[^\W{_DENSE}]+")


def key_of(id_: str) -> str:
    return digest(id_)


def row_of(record: Record, vector: Floats, words: bool, lite: bool) -> dict[str, Any]:
    """InvalidInput for what Milvus has no room for."""
    metadata = metadata_json(record.metadata)
    for what, text in (("id", record.id), ("text", record.text), ("metadata", metadata)):
        if (size := len(text.encode())) > MOST_BYTES:
            raise InvalidInput(f"record {record.id[:100]!r}: its {what} has {size:,} bytes, and Milvus takes {MOST_BYTES:,}; split it")
    tokens, numbers = _tokens(record.metadata)
    if len(tokens) > MOST_TOKENS:
        raise InvalidInput(f"record {record.id[:100]!r}: its metadata has {len(tokens):,} values, and Milvus takes {MOST_TOKENS:,}")
    row: dict[str, Any] = {
        "key": key_of(record.id),
        "id": record.id,
        "text": record.text,
        "text_digest": digest(record.text),
        "metadata": record.metadata,
        "metadata_digest": digest(metadata),
        "tokens": tokens,
        "vector": vector,
    }
    row |= {"marks": " ".join(tokens)} | {f"n{token}": number for token, number in numbers.items()} if lite else {"numbers": numbers}
    return row | ({"words": words_of(record.text)} if words else {})


def record_of(row: dict[str, Any]) -> Record:
    metadata = row["metadata"]
    return Record(row["id"], row["text"], json.loads(metadata) if isinstance(metadata, str | bytes) else dict(metadata))


def words_of(text: str) -> str:
    """Words in small letters, of scripts without blanks pairs of characters, with a blank between them; of a long text the beginning."""
    found: list[str] = []
    for run in _RUN.finditer(text.lower()):
        if run["dense"] and len(run[0]) > 1:
            found += (run[0][place : place + 2] for place in range(len(run[0]) - 1))
        else:
            found.append(run[0])
    return " ".join(found).encode()[:MOST_BYTES].decode("utf-8", "ignore")


def expression(filter: Filter | None, lite: bool) -> str:
    """The filter as Milvus reads it; "" for None. Negations are moved inside, since versions differ in what the negation of nothing is."""
    return "" if filter is None else _expression(filter, True, lite)


def _expression(filter: Filter, wanted: bool, lite: bool) -> str:
    match filter:
        case Among(field, values):
            if not values:
                return _NOTHING if wanted else _ANYTHING
            return _has([_token(_kind(value), field, value) for value in values], wanted, lite)
        case Present(field):
            return _has([_token("there", field)], wanted, lite)
        case Compared(field, comparison, bound):
            token = _token("number", field)
            number = _has([token], wanted, lite)
            if math.isinf(bound):
                holds = (comparison in ("$lt", "$lte")) == (bound > 0)
                return number if holds else (_NOTHING if wanted else _ANYTHING)
            place = f"n{token}" if lite else f'numbers["{token}"]'
            if wanted:
                return f"({number} and {place} {_SIGN[comparison]} {bound!r})"
            return f"({number} or {place} {_OPPOSITE[comparison]} {bound!r})"
        case Not(part):
            return _expression(part, not wanted, lite)
        case Every(parts) | Some(parts):
            joined = " and " if isinstance(filter, Every) == wanted else " or "
            return "(" + joined.join(_expression(part, wanted, lite) for part in parts) + ")"


def _has(tokens: list[str], wanted: bool, lite: bool) -> str:
    """Whether a record has one of `tokens`, or none where it is not `wanted`."""
    if lite and len(tokens) <= MOST_LIKES:
        joined = " or ".join(f'marks like "%{token}%"' for token in tokens)
        return f"({joined})" if wanted else f"(not ({joined}))"
    if len(tokens) == 1:
        return f'{"" if wanted else "not "}array_contains(tokens, "{tokens[0]}")'
    return f"{'' if wanted else 'not '}array_contains_any(tokens, {json.dumps(tokens)})"


def _tokens(metadata: dict[str, Value]) -> tuple[list[str], dict[str, float]]:
    tokens: dict[str, None] = {}
    numbers: dict[str, float] = {}
    for field, value in metadata.items():
        tokens[_token("there", field)] = None
        for each in value if isinstance(value, list) else [value]:
            kind = _kind(each)
            tokens[_token(kind, field, each)] = None
            if kind == "n":
                place = _token("number", field)
                tokens[place] = None
                numbers[place] = float(each)
    return list(tokens), numbers


def _kind(value: str | float) -> str:
    return "b" if isinstance(value, bool) else "s" if isinstance(value, str) else "n"


def _token(kind: str, field: str, value: str | float | None = None) -> str:
    """20 hexadecimal digits. 1 and 1.0 have the same one, 0.0 and -0.0 too."""
    value = float(value) + 0.0 if kind == "n" and value is not None else value
    return hashlib.blake2b(json.dumps([kind, field, value]).encode(), digest_size=10).hexdigest()
