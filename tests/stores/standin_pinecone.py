"""A stand-in for Pinecone: its control and data planes over HTTP on loopback, written from its published API, with what bites in it.

What was written is seen after a delay, by search, fetch, list and statistics at different times; at most 1,000 vectors and 2 MB a call;
metadata are flat, without null, at most 40 KB, and all numbers come back as floats; ids are ASCII; a busy server answers 429. Where the
documentation does not say what a negation makes of records without the field, `negation_takes_missing` decides, and tests try both.
"""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

KEY = "pcsk_test"
MOST_BYTES = 2 << 20
MOST_METADATA_BYTES = 40 * 1024
OPERATORS = {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists"}


class Refused(Exception):
    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class View:
    """Records by namespace as one kind of read sees them: what is younger than `lag_s` is not there yet."""

    lag_s: float
    applied: int = 0
    namespaces: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


@dataclass
class Index:
    dimension: int
    schema: dict[str, Any]
    deployment: dict[str, Any]
    log: list[tuple[float, str, str, Any]] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)


@dataclass
class StandIn:
    url: str = ""
    lag_s: float = 0.03
    negation_takes_missing: bool = True
    busy_every: int = 0  # each so-manieth request is answered with 429
    requests: int = 0
    calls: list[str] = field(default_factory=list)
    indexes: dict[str, Index] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def view(self, index: Index, kind: str) -> View:
        lag_s = self.lag_s * {"query": 1.0, "fetch": 0.5, "list": 1.5, "stats": 3.0}[kind]
        view = index.views.setdefault(kind, View(lag_s))
        while view.applied < len(index.log) and index.log[view.applied][0] + view.lag_s <= time.monotonic():
            _, what, namespace, content = index.log[view.applied]
            view.applied += 1
            records = view.namespaces.setdefault(namespace, {})
            if what == "upsert":
                records.update({record["id"]: record for record in content})
            elif what == "delete":
                for id_ in content:
                    records.pop(id_, None)
            else:
                view.namespaces.pop(namespace, None)
        return view


@contextmanager
def running(**options: Any) -> Iterator[StandIn]:
    standin = StandIn(**options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    standin.url = f"http://127.0.0.1:{port}"
    server = uvicorn.Server(uvicorn.Config(application(standin), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield standin
    server.should_exit = True
    thread.join()


def application(standin: StandIn) -> FastAPI:
    app = FastAPI()

    @app.exception_handler(Refused)
    def refuse(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"code": 3, "message": str(error), "details": []}, error.status)

    @app.middleware("http")
    async def gate(request: Request, call_next):
        standin.requests += 1
        standin.calls.append(f"{request.method} {request.url.path.rpartition('/at/')[2].partition('/')[2] or request.url.path}")
        if request.headers.get("api-key") != KEY:
            return JSONResponse({"code": 16, "message": "Invalid API Key"}, 401)
        if standin.busy_every and standin.requests % standin.busy_every == 0:
            return JSONResponse({"code": 8, "message": "too many requests"}, 429, {"Retry-After": "0"})
        return await call_next(request)

    def model(name: str) -> dict[str, Any]:
        if name not in standin.indexes:
            raise Refused(f"Resource {name} not found", 404)
        index = standin.indexes[name]
        return {
            "name": name,
            "status": {"ready": True, "state": "Ready"},
            "schema": index.schema,
            "deployment": {**index.deployment, "environment": "standin"},
            "deletion_protection": "disabled",
            "host": f"{standin.url}/at/{name}",
        }

    @app.post("/indexes", status_code=201)
    def create_index(body: dict[str, Any]) -> dict[str, Any]:
        with standin.lock:
            if body["name"] in standin.indexes:
                raise Refused("Resource already exists", 409)
            (vectors,) = [each for each in body["schema"]["fields"].values() if each["type"] == "dense_vector"]
            assert vectors["metric"] == "cosine"
            standin.indexes[body["name"]] = Index(vectors["dimension"], body["schema"], body["deployment"])
            return model(body["name"])

    @app.get("/indexes")
    def list_indexes() -> dict[str, Any]:
        return {"indexes": [model(name) for name in standin.indexes]}

    @app.get("/indexes/{name}")
    def describe_index(name: str) -> dict[str, Any]:
        return model(name)

    @app.delete("/indexes/{name}", status_code=202)
    def delete_index(name: str) -> None:
        model(name)
        del standin.indexes[name]

    def the(name: str) -> Index:
        model(name)
        return standin.indexes[name]

    @app.post("/at/{name}/vectors/upsert")
    async def upsert(name: str, request: Request) -> dict[str, Any]:
        data = await request.body()
        if len(data) > MOST_BYTES:
            raise Refused(f"Error, message length too large: found {len(data)} bytes, the limit is: {MOST_BYTES} bytes")
        body = json.loads(data)
        index, records = the(name), body["vectors"]
        if not 1 <= len(records) <= 1000:
            raise Refused("Upsert request must have 1 to 1000 vectors")
        if len({record["id"] for record in records}) < len(records):
            raise Refused("an id occurs twice")
        for record in records:
            check_id(record["id"])
            check_values(record["values"], index.dimension)
            record["metadata"] = checked_metadata(record.get("metadata") or {})
        with standin.lock:
            index.log.append((time.monotonic(), "upsert", checked_namespace(body), records))
        return {"upsertedCount": len(records)}

    @app.post("/at/{name}/vectors/delete")
    def delete(name: str, body: dict[str, Any]) -> dict[str, Any]:
        index, namespace = the(name), checked_namespace(body)
        with standin.lock:
            if body.get("deleteAll"):
                if not any(entry[2] == namespace for entry in index.log):
                    raise Refused("Namespace not found", 404)
                index.log.append((time.monotonic(), "forget", namespace, None))
                return {}
            ids = body.get("ids") or []
            if not 1 <= len(ids) <= 1000:
                raise Refused("Delete request must have 1 to 1000 ids")
            index.log.append((time.monotonic(), "delete", namespace, ids))
        return {}

    def seen(name: str, kind: str, namespace: str) -> dict[str, dict[str, Any]]:
        with standin.lock:
            return dict(standin.view(the(name), kind).namespaces.get(namespace, {}))

    @app.post("/at/{name}/query")
    def query(name: str, body: dict[str, Any]) -> dict[str, Any]:
        check_values(body["vector"], the(name).dimension)
        most = 1000 if body.get("includeMetadata") or body.get("includeValues") else 10_000
        if not 1 <= body["topK"] <= most:
            raise Refused(f"topK must be between 1 and {most}")
        records = [record for record in seen(name, "query", checked_namespace(body)).values() if keeps(standin, body.get("filter"), record)]
        matches = []
        if records:
            rows, vector = np.array([record["values"] for record in records]), np.array(body["vector"])
            scores = rows @ vector / np.linalg.norm(rows, axis=1) / np.linalg.norm(vector)
            matches = [(records[row], float(scores[row])) for row in np.argsort(-scores, kind="stable")[: body["topK"]]]
        return {
            "namespace": checked_namespace(body),
            "matches": [
                {"id": record["id"], "score": score}
                | ({"metadata": record["metadata"]} if body.get("includeMetadata") else {})
                | ({"values": record["values"]} if body.get("includeValues") else {})
                for record, score in matches
            ],
        }

    @app.get("/at/{name}/vectors/fetch")
    def fetch(name: str, request: Request) -> dict[str, Any]:
        ids, namespace = request.query_params.getlist("ids"), request.query_params.get("namespace", "")
        if len(str(request.url)) > 16_000 or not 1 <= len(ids) <= 1000:
            raise Refused("Fetch request has too many ids", 414)
        records = seen(name, "fetch", namespace)
        return {"namespace": namespace, "vectors": {id_: records[id_] for id_ in ids if id_ in records}}

    @app.post("/at/{name}/vectors/fetch_by_metadata")
    def fetch_by_metadata(name: str, body: dict[str, Any]) -> dict[str, Any]:
        limit = body.get("limit", 100)
        if not 1 <= limit <= 10_000 or not body.get("filter"):
            raise Refused("a limit of 1 to 10000 and a filter are needed")
        records = seen(name, "query", checked_namespace(body))
        ids = sorted(id_ for id_, record in records.items() if keeps(standin, body["filter"], record))
        page, following = paged(ids, limit, body.get("paginationToken"))
        return {"namespace": checked_namespace(body), "vectors": {id_: records[id_] for id_ in page}, **following}

    @app.get("/at/{name}/vectors/list")
    def list_ids(name: str, namespace: str = "", prefix: str = "", limit: int = 100, paginationToken: str | None = None) -> dict[str, Any]:
        if not 1 <= limit <= 100:
            raise Refused("limit must be between 1 and 100")
        ids = sorted(id_ for id_ in seen(name, "list", namespace) if id_.startswith(prefix))
        page, following = paged(ids, limit, paginationToken)
        return {"namespace": namespace, "vectors": [{"id": id_} for id_ in page], **following}

    @app.post("/at/{name}/describe_index_stats")
    def stats(name: str, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("filter"):
            raise Refused("Serverless indexes do not support describing index stats with metadata filtering")
        with standin.lock:
            counts = {space: len(records) for space, records in standin.view(the(name), "stats").namespaces.items()}
        return {
            "namespaces": {space: {"vectorCount": count} for space, count in counts.items()},
            "dimension": the(name).dimension,
            "totalVectorCount": sum(counts.values()),
        }

    return app


def paged(ids: list[str], limit: int, token: str | None) -> tuple[list[str], dict[str, Any]]:
    """The ids behind the one in the token, which is opaque to clients."""
    if token is not None:
        try:
            after = base64.b64decode(token, validate=True).decode()
        except ValueError:
            raise Refused("Invalid pagination token") from None
        ids = [id_ for id_ in ids if id_ > after]
    page = ids[:limit]
    return page, {"pagination": {"next": base64.b64encode(page[-1].encode()).decode()}} if len(ids) > limit else {}


def check_id(id_: str) -> None:
    if not 1 <= len(id_) <= 512 or not id_.isascii() or "\0" in id_:
        raise Refused(f"Vector ID must be ASCII, 1 to 512 characters, but got {id_!r}")


def check_values(values: list[float], dimension: int) -> None:
    if len(values) != dimension:
        raise Refused(f"Vector dimension {len(values)} does not match the dimension of the index {dimension}")
    if not any(values):
        raise Refused("Dense vectors must contain at least one non-zero value")


def checked_namespace(body: dict[str, Any]) -> str:
    namespace = body.get("namespace", "")
    if len(namespace) > 512 or not namespace.isascii():
        raise Refused("namespaces are ASCII")
    return namespace


def checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(metadata, ensure_ascii=False).encode()) > MOST_METADATA_BYTES:
        raise Refused("Metadata size exceeds the limit of 40960 bytes per vector")
    kept: dict[str, Any] = {}
    for name, value in metadata.items():
        if name.startswith("$") or not name:
            raise Refused(f"Invalid metadata key {name!r}")
        if isinstance(value, bool | str):
            kept[name] = value
        elif isinstance(value, int | float):
            kept[name] = float(value)
        elif isinstance(value, list) and all(isinstance(each, str) for each in value):
            kept[name] = value
        else:
            raise Refused(f"Metadata value must be a string, number, boolean or list of strings, got {value!r} for field {name!r}")
    return kept


def keeps(standin: StandIn, given: Any, record: dict[str, Any]) -> bool:
    if given is None:
        return True
    if not isinstance(given, dict) or not given:
        raise Refused(f"illegal filter {given!r}")
    return all(_keeps(standin, name, wanted, record) for name, wanted in given.items())


def _keeps(standin: StandIn, name: str, wanted: Any, record: dict[str, Any]) -> bool:
    if name in ("$and", "$or"):
        if not isinstance(wanted, list) or not wanted:
            raise Refused(f"{name} takes a list of filters")
        return (all if name == "$and" else any)([keeps(standin, part, record) for part in wanted])
    if name.startswith("$"):
        raise Refused(f"illegal operator {name}")
    wanted = wanted if isinstance(wanted, dict) else {"$eq": wanted}
    return all([_holds(standin, operator, value, record["metadata"].get(name)) for operator, value in wanted.items()])


def _holds(standin: StandIn, operator: str, value: Any, there: Any) -> bool:
    if operator not in OPERATORS:
        raise Refused(f"illegal operator {operator}")
    if operator == "$exists":
        return (there is not None) == value
    if operator in ("$in", "$nin"):
        if not isinstance(value, list) or not 1 <= len(value) <= 10_000 or len({type(each) for each in value} - {int, float}) > 1:
            raise Refused(f"{operator} takes a list of 1 to 10000 values of one kind")
    elif operator in ("$gt", "$gte", "$lt", "$lte"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(f"{operator} takes a number")
        if isinstance(there, bool) or not isinstance(there, float):
            return False
        return {"$gt": there > value, "$gte": there >= value, "$lt": there < value, "$lte": there <= value}[operator]
    elif not isinstance(value, str | int | float):
        raise Refused(f"{operator} takes a value")
    if there is None:
        return operator in ("$ne", "$nin") and standin.negation_takes_missing
    values = value if isinstance(value, list) else [value]
    own = there if isinstance(there, list) else [there]
    among = any(isinstance(one, bool) == isinstance(other, bool) and one == other for one in own for other in values)
    return among if operator in ("$eq", "$in") else not among
