"""What a store of Milvus makes there: collections of records, each with its schema and index, and one of the facts of all of them.

Plain functions on Milvus' client; the errors are its own.
"""

import base64
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np

from huiyi.errors import HuiyiError
from huiyi.stores.milvus_connection import Place
from huiyi.stores.milvus_rows import FIELDS, LITE_FIELDS, MOST_TOKENS, SERVER_FIELDS
from huiyi.stores.store import Facts

REGISTRY = "huiyi_facts"
FACTS_PART = 60_000  # below Milvus' 65,535 bytes a text
CALL_S = 120.0
_HNSW = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}


@dataclass(frozen=True)
class Live:
    """A collection of Milvus, and whether it has keywords."""

    collection: str
    facts: Facts
    words: bool


def make(client: Any, place: Place, alias: str, facts: Facts) -> Live:
    """A new one, which no alias leads to yet, its facts written before it. alias: what its name begins with."""
    from pymilvus import DataType, Function, FunctionType

    words = place.lite or _version(client.get_server_version()) >= (2, 5)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=place.lite)
    for name, options in (FIELDS | (LITE_FIELDS if place.lite else SERVER_FIELDS)).items():
        kind = DataType[options["type"]]
        schema.add_field(name, kind, **{key: value for key, value in options.items() if key != "type"})
    schema.add_field("tokens", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=MOST_TOKENS, max_length=20)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=facts.dim)
    index = client.prepare_index_params()
    # Lite is for what one machine searches at once: exact. HNSW's figures are the local store's.
    index.add_index("vector", metric_type="IP", **({"index_type": "FLAT"} if place.lite else _HNSW))
    if words:
        # The text as words and bigrams with blanks between them, which any tokenizer splits in the same way.
        schema.add_field(
            "words",
            DataType.VARCHAR,
            max_length=65_535,
            enable_analyzer=True,
            analyzer_params={"tokenizer": "standard" if place.lite else "whitespace"},
        )
        schema.add_field("keywords", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(Function("bm25", FunctionType.BM25, ["words"], ["keywords"]))
        index.add_index("keywords", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    collection = f"{alias}_v{secrets.token_hex(6)}"
    _write_facts(client, collection, facts)
    _begin(client, collection, schema, index)
    return Live(collection, facts, words)


def loaded(client: Any, place: Place, collection: str, words: bool) -> Live:
    """One that is there, ready to be asked: a Lite file that was just opened has nothing loaded."""
    for each in (REGISTRY, collection):
        client.load_collection(each, timeout=CALL_S)
    return Live(collection, _read_facts(client, place, collection), words)


def erase(client: Any, collection: str) -> None:
    client.drop_collection(collection)
    client.delete(REGISTRY, filter=f'collection == "{collection}"', timeout=CALL_S)


def _begin(client: Any, collection: str, schema: Any, index: Any) -> None:
    client.create_collection(collection, schema=schema, consistency_level="Strong", timeout=CALL_S)
    client.create_index(collection, index, sync=False, timeout=CALL_S)  # waiting for the index of nothing takes half a second
    client.load_collection(collection, timeout=CALL_S)


def _write_facts(client: Any, collection: str, facts: Facts) -> None:
    from pymilvus import DataType

    if not client.has_collection(REGISTRY):
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=512)
        schema.add_field("collection", DataType.VARCHAR, max_length=512)
        schema.add_field("part", DataType.INT64)
        schema.add_field("facts", DataType.VARCHAR, max_length=65_535)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # Milvus takes no collection without vectors
        index = client.prepare_index_params()
        index.add_index("unused", index_type="FLAT", metric_type="IP")
        _begin(client, REGISTRY, schema, index)
    text = _facts_json(facts)
    parts = [text[start : start + FACTS_PART] for start in range(0, len(text), FACTS_PART)]
    client.upsert(
        REGISTRY,
        [
            {"key": f"{collection}/{number}", "collection": collection, "part": number, "facts": part, "unused": [1.0, 0.0]}
            for number, part in enumerate(parts)
        ],
        timeout=CALL_S,
    )


def _read_facts(client: Any, place: Place, collection: str) -> Facts:
    rows = client.query(REGISTRY, filter=f'collection == "{collection}"', output_fields=["part", "facts"], timeout=CALL_S)
    if not rows:
        raise HuiyiError(f"{place.uri} has the collection {collection} but not what huiyi knew of it; restore {REGISTRY} from a backup")
    return _facts_of("".join(row["facts"] for row in sorted(rows, key=lambda row: row["part"])))


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _facts_json(facts: Facts) -> str:
    probes = base64.b64encode(np.ascontiguousarray(facts.probes, "<f4").tobytes()).decode()
    fields = {"model": facts.model, "space": facts.space, "precision": facts.precision, "dim": facts.dim, "instruction": facts.instruction}
    return json.dumps({**fields, "probes": probes})


def _facts_of(text: str) -> Facts:
    fields = json.loads(text)
    probes = np.frombuffer(base64.b64decode(fields["probes"]), "<f4").reshape(-1, fields["dim"]).astype(np.float32)
    return Facts(**{**fields, "probes": probes})
