"""Pinecone's indexes and what lies in their namespaces, through its client: a write returns when search, fetch and list show it.

Knows no collections but by what their owner calls them. Errors are ours; a key comes from PINECONE_API_KEY.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from huiyi.errors import HuiyiError, InvalidInput, MissingExtra, Overloaded, Unavailable
from huiyi.stores.filters import Filter
from huiyi.stores.pinecone_rows import batches, expression
from huiyi.stores.store import Facts

REGION = "aws/us-east-1"
MOST_VECTORS, MOST_BYTES = 1000, 2_000_000  # of one upsert
KEYS = 100  # of one fetch (they go into the URL) and one page of a list
DELETED = 1000
VISIBLE_S = 60.0
READY_S = 300


@dataclass(frozen=True)
class Side:
    """A namespace in an index, and the facts of what lies in it."""

    index: str
    namespace: str
    facts: Facts


class Indexes:
    """What one store sees of Pinecone. address: as in `open_store`. name: of its collection, for errors."""

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._client, self._cloud, self._region = _connect(address)
        self._open: dict[str, Any] = {}
        self._closed = False

    def index(self, name: str, dim: int = 0, make: bool = False) -> Any:
        """The index of that name, made where it is not there and `make`; None without."""
        from pinecone import ServerlessSpec
        from pinecone.errors import ConflictError, NotFoundError

        if name in self._open:
            return self._open[name]
        try:
            described = self._client.describe_index(name)
        except NotFoundError:
            if not make:
                return None
            spec = ServerlessSpec(cloud=self._cloud, region=self._region)
            with suppress(ConflictError):  # another process made it just now
                self._client.create_index(name=name, dimension=dim, metric="cosine", spec=spec, timeout=READY_S)
            described = self._client.describe_index(name)
        self._open[name] = self._client.Index(host=described.host)
        return self._open[name]

    def require_open(self) -> None:
        if self._closed:
            raise Unavailable(f"the collection {self._name} was closed; open it again")

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Errors of Pinecone's client as ours."""
        self.require_open()
        with _translated():
            yield

    def row_page(self, side: Side, limit: int, token: str | None, filter: Filter | None) -> tuple[list[tuple[str, Any]], str | None]:
        """Up to `limit` keys with their rows, and where the page after them begins, None after the last."""
        with self.calls():
            index = self.index(side.index)
            if filter is None:
                listed = index.list_paginated(namespace=side.namespace, limit=limit, pagination_token=token)
                found = self.fetched(side, [item.id for item in listed.vectors])
            else:
                listed = index.fetch_by_metadata(filter=expression(filter), namespace=side.namespace, limit=limit, pagination_token=token)
                found = listed.vectors
        return sorted(found.items()), listed.pagination.next if listed.pagination else None

    def key_pages(self, side: Side) -> Iterator[list[str]]:
        token = None
        while True:
            with self.calls():
                listed = self.index(side.index).list_paginated(namespace=side.namespace, limit=KEYS, pagination_token=token)
            yield [item.id for item in listed.vectors]
            token = listed.pagination.next if listed.pagination else None
            if token is None:
                return

    def fetched(self, side: Side, keys: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in _parts(keys):
            with self.calls():
                found |= self.index(side.index).fetch(ids=part, namespace=side.namespace).vectors
        return found

    def query(self, side: Side, vector: list[float], k: int, filter: dict[str, Any] | None, include_metadata: bool = False) -> list[Any]:
        with self.calls():
            answer = self.index(side.index).query(
                vector=vector, top_k=k, filter=filter, namespace=side.namespace, include_metadata=include_metadata
            )
        return list(answer.matches)

    def upsert(self, side: Side, rows: Sequence[dict[str, Any]]) -> None:
        for part in batches(rows, MOST_VECTORS, MOST_BYTES):
            with self.calls():
                self.index(side.index).upsert(vectors=part, namespace=side.namespace)
            write = {"~write": {"$eq": part[0]["metadata"]["~write"]}, "~key": {"$in": [row["id"] for row in part]}}
            self._wait_until(partial(self._shows, side, write, [part[-1]["id"]], len(part)))

    def remove(self, side: Side, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), DELETED):
            part = list(keys[start : start + DELETED])
            with self.calls():
                self.index(side.index).delete(ids=part, namespace=side.namespace)
            self._wait_until(partial(self._shows, side, {"~key": {"$in": part}}, part[-1:], 0))

    def erase(self, side: Side) -> None:
        """All that lies in the namespace, and the probes of its facts."""
        from pinecone.errors import NotFoundError

        with self.calls():
            index = self.index(side.index)
            with suppress(NotFoundError):  # nothing was ever written to it
                index.delete(delete_all=True, namespace=side.namespace)
            index.delete(ids=[f"{side.namespace}/{number}" for number in range(len(side.facts.probes))], namespace="probes")

    def _shows(self, side: Side, filter: dict[str, Any], keys: list[str], there: int) -> bool:
        """Whether `there` of the vectors that were written are found by search, and the last of them by fetch and list or by neither.

        Pinecone applies writes in their order, so the last one stands for all.
        """
        if len(self.query(side, any_vector(side), max(1, there), filter)) != there:
            return False
        fetched = self.fetched(side, keys)
        if there and "~write" in filter and any(row.metadata.get("~write") != filter["~write"]["$eq"] for row in fetched.values()):
            return False
        with self.calls():
            listed = self.index(side.index).list_paginated(namespace=side.namespace, prefix=keys[0], limit=KEYS)
        return bool(fetched) == (keys[0] in [item.id for item in listed.vectors]) == bool(there)

    def _wait_until(self, visible: Callable[[], bool]) -> None:
        end, pause_s = time.monotonic() + VISIBLE_S, 0.01
        while not visible():
            if time.monotonic() > end:
                raise Unavailable(
                    f"Pinecone has taken a write to {self._name}, but does not show it after {VISIBLE_S:.0f} s; try again later"
                )
            time.sleep(pause_s)
            pause_s = min(1.0, pause_s * 1.5)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            for index in self._open.values():
                index.close()
            self._client.close()


def _connect(address: str) -> tuple[Any, str, str]:
    try:
        from pinecone import Pinecone
    except ImportError as error:
        raise MissingExtra("a collection in Pinecone", "pinecone") from error
    cloud, _, region = REGION.partition("/")
    host = None
    if re.fullmatch(r"https?://.+", address):
        host = address
    elif found := re.fullmatch(r"([a-z]+)/([a-z0-9-]+)", address):
        cloud, region = found.groups()
    elif address:
        raise InvalidInput(f"{address} is neither cloud and region of Pinecone, such as {REGION}, nor the URL of a local one")
    with _translated():
        return Pinecone(host=host), cloud, region


@contextmanager
def _translated() -> Iterator[None]:
    from pinecone.errors import (
        ApiError,
        ForbiddenError,
        PineconeConnectionError,
        PineconeError,
        PineconeTimeoutError,
        RateLimitError,
        ServiceError,
        UnauthorizedError,
    )

    try:
        yield
    except (UnauthorizedError, ForbiddenError) as error:
        raise InvalidInput("Pinecone does not accept the key in PINECONE_API_KEY; check it in Pinecone's console") from error
    except RateLimitError as error:
        raise Overloaded("Pinecone answers that it gets too many requests; try again later", retry_after_s=5.0) from error
    except (PineconeConnectionError, PineconeTimeoutError, ServiceError) as error:
        raise Unavailable(f"Pinecone does not answer ({str(error)[:200]}); try again later") from error
    except ApiError as error:
        raise HuiyiError(f"Pinecone refused: {str(error)[:500]}") from error
    except PineconeError as error:
        if "API key" in str(error):
            raise InvalidInput("Pinecone needs a key: set the environment variable PINECONE_API_KEY") from error
        raise HuiyiError(f"Pinecone's client refused: {str(error)[:500]}") from error


def _parts(keys: Sequence[str]) -> Iterator[list[str]]:
    """Keys for one fetch each: they go into a URL, which proxies cut at 8 KB."""
    part: list[str] = []
    size = 0
    for key in keys:
        if part and (len(part) == KEYS or size + 3 * len(key) > 6000):
            yield part
            part, size = [], 0
        part.append(key)
        size += 3 * len(key) + 5
    if part:
        yield part


def any_vector(side: Side) -> list[float]:
    return [1.0] + [0.0] * (side.facts.dim - 1)
