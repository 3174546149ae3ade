"""Records as vectors of Pinecone, and filters in its language.

Ids become ASCII and come back. Metadata stay fields of their own, so that others who read the index can filter by them; huiyi's own fields
start with `~`. Pinecone's documentation does not say what a negation makes of records without the field: compiled filters never ask.
"""

import base64
import json
import math
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from huiyi.errors import InvalidInput
from huiyi.stores.beside import Digests
from huiyi.stores.filters import Among, Compared, Every, Filter, Not, Present, Some, Value
from huiyi.stores.store import Record, digest, metadata_json
from huiyi.types import Floats

MOST_METADATA_BYTES = 40 * 1024
MOST_ID = 512
# ~key: the id of the vector. ~write: of the call that wrote it, to see when it is visible. ~id: of the record, where the key cannot be
# read back. ~fields: names of all fields. ~whole: of those that are integers, since Pinecone has floats only. ~other: of those that are
# no numbers. An empty list, which Pinecone may drop, is written as one text that stands for it.
EMPTY_LIST = ["\0"]
_LARGEST = sys.float_info.max
_NEVER: dict[str, Any] = {"~never": {"$eq": "x"}}
_ALWAYS: dict[str, Any] = {"~key": {"$exists": True}}


def key_of(id_: str) -> str:
    """`=` and the id, `~` and its UTF-8 in base64, or `#` and its digest where that is too long (the id lies in `~id` then)."""
    if re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", id_) and len(id_) < MOST_ID:
        return "=" + id_
    coded = base64.urlsafe_b64encode(id_.encode()).decode()
    return "~" + coded if len(coded) < MOST_ID else "#" + digest(id_)


def id_of(key: str, metadata: dict[str, Any]) -> str:
    if key.startswith("#"):
        return str(metadata["~id"])
    return key[1:] if key.startswith("=") else base64.urlsafe_b64decode(key[1:]).decode()


def row_of(record: Record, vector: Floats, write: str) -> dict[str, Any]:
    """InvalidInput for what Pinecone has no room for."""
    key = key_of(record.id)
    metadata: dict[str, Any] = {_field(name): value if value != [] else EMPTY_LIST for name, value in record.metadata.items()}
    metadata |= {
        "~key": key,
        "~text": record.text,
        "~text_digest": digest(record.text),
        "~metadata_digest": digest(metadata_json(record.metadata)),
        "~write": write,
        "~fields": list(record.metadata),
        "~whole": [name for name, value in record.metadata.items() if isinstance(value, int) and not isinstance(value, bool)],
        "~other": [name for name, value in record.metadata.items() if isinstance(value, bool | str | list)],
    }
    if key.startswith("#"):
        metadata["~id"] = record.id
    if (size := len(json.dumps(metadata, ensure_ascii=False).encode())) > MOST_METADATA_BYTES:
        raise InvalidInput(
            f"record {record.id[:100]!r}: its text and metadata have {size:,} bytes, and Pinecone takes {MOST_METADATA_BYTES:,}; split it"
        )
    return {"id": key, "values": np.round(vector.astype(np.float64), 8).tolist(), "metadata": metadata}


def record_of(key: str, metadata: dict[str, Any]) -> Record:
    whole = set(metadata["~whole"])
    own = {_field(name): name for name in metadata["~fields"]}
    fields: dict[str, Value] = {}
    for field, name in own.items():
        value = metadata[field]
        fields[name] = int(value) if name in whole else [] if value == EMPTY_LIST else value
    return Record(id_of(key, metadata), metadata["~text"], fields)


def digests_of(key: str, metadata: dict[str, Any]) -> Digests:
    return Digests(key, metadata["~text_digest"], metadata["~metadata_digest"])


def batches(rows: Sequence[dict[str, Any]], most: int, most_bytes: int) -> list[list[dict[str, Any]]]:
    """Rows in order, as calls may carry them."""
    found: list[list[dict[str, Any]]] = []
    size = 0
    for row in rows:
        own = len(json.dumps(row))  # ASCII: no less than its UTF-8
        if not found or len(found[-1]) == most or size + own > most_bytes:
            found.append([])
            size = 0
        found[-1].append(row)
        size += own + 1
    return found


def expression(filter: Filter | None) -> dict[str, Any] | None:
    """The filter as Pinecone reads it; None for None."""
    return None if filter is None else _expression(filter, True)


def _expression(filter: Filter, wanted: bool) -> dict[str, Any]:
    match filter:
        case Among(field, values):
            return _among(_field(field), values, wanted)
        case Present(field):
            return {"~fields": {"$in": [field]}} if wanted else {_field(field): {"$exists": False}}
        case Compared(field, comparison, bound):
            return _edge(filter, wanted) if math.isinf(bound) else _compared(field, comparison, bound, wanted)
        case Not(part):
            return _expression(part, not wanted)
        case Every(parts) | Some(parts):
            return {"$and" if isinstance(filter, Every) == wanted else "$or": [_expression(part, wanted) for part in parts]}


def _among(field: str, values: Sequence[Any], wanted: bool) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for kind in (bool, str, float):  # of one kind a list, as Pinecone's documentation shows them
        own = [value for value in values if isinstance(value, kind)]
        if kind is bool:
            parts += [{field: {"$eq" if wanted else "$ne": value}} for value in own]
        elif own:
            parts.append({field: {"$in" if wanted else "$nin": own}})
    if not parts:
        return _NEVER if wanted else _ALWAYS
    if wanted:
        return parts[0] if len(parts) == 1 else {"$or": parts}
    return {"$or": [{field: {"$exists": False}}, parts[0] if len(parts) == 1 else {"$and": parts}]}


_OPPOSITE = {"$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}


def _compared(name: str, comparison: str, bound: float, wanted: bool) -> dict[str, Any]:
    field = _field(name)
    if wanted:
        return {field: {comparison: bound}}
    return {"$or": [{field: {"$exists": False}}, {"~other": {"$in": [name]}}, {field: {_OPPOSITE[comparison]: bound}}]}


def _edge(filter: Compared, wanted: bool) -> dict[str, Any]:
    """Beyond all numbers: each is smaller than infinity, none is larger. JSON has no infinity."""
    every = (filter.comparison in ("$lt", "$lte")) == (filter.bound > 0)
    if every:
        return _compared(filter.field, "$gte", -_LARGEST, wanted)
    return _NEVER if wanted else _ALWAYS


def _field(name: str) -> str:
    """A field's name in Pinecone: `~` at its start is doubled, since one alone is huiyi's."""
    return "~" + name if name.startswith("~") else name
