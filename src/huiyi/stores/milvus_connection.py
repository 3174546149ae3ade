"""Where a Milvus is and how it is reached: a server by its address, or a Lite file, which one process opens and its stores share."""

import logging
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huiyi.errors import Conflict, InvalidInput, MissingExtra, Unavailable

LITE_FILE = "milvus.db"
CONNECT_S = 10.0


@dataclass(frozen=True)
class Place:
    """uri: a server's address or a Lite file's path. lite: a file on this machine. login: further arguments of the client."""

    uri: str
    lite: bool
    login: dict[str, str]


def place_of(address: str) -> Place:
    """MILVUS_TOKEN, `user:password` or a token, goes to servers: addresses are written down with collections and shown."""
    found = re.fullmatch(r"(https?://)([^/@]+)(?:/(\w*))?", address)
    if found:
        token = os.environ.get("MILVUS_TOKEN")
        login = {"token": token} if token else {}
        return Place(found[1] + found[2], False, login | ({"db_name": found[3]} if found[3] else {}))
    if "@" in address and "://" in address:
        raise InvalidInput(
            "put user and password of Milvus into the environment variable MILVUS_TOKEN, as user:password, not into the address"
        )
    path = Path(address).expanduser()
    if "://" in address or path.suffix != ".db" or not path.is_absolute():
        raise InvalidInput(f"{address} is no address of Milvus: http://host:19530, or the whole path of a Lite file, which ends in .db")
    return Place(str(path), True, {})


_OPEN: dict[str, int] = {}  # Lite files and how many stores have each open: the last one to close lets other processes in
_OPENING = threading.Lock()


def connect(place: Place) -> Any:
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise MissingExtra("a collection in Milvus", "milvus") from error
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they log every error that they raise, with its stack
    with _OPENING:
        if place.lite:
            try:
                import milvus_lite  # noqa: F401
            except ImportError as error:
                raise MissingExtra("a collection in a Milvus Lite file", "milvus") from error
            Path(place.uri).parent.mkdir(parents=True, exist_ok=True)
        try:
            client = MilvusClient(place.uri, timeout=CONNECT_S, **place.login)
        except (MilvusException, OSError, RuntimeError, ValueError) as error:
            if place.lite:
                raise Conflict(
                    f"{place.uri} cannot be opened ({str(error)[:200]}): another process may have it open, and a Milvus Lite file "
                    f"is for one process at a time; end that one, or run a Milvus server"
                ) from error
            raise Unavailable(
                f"Milvus at {place.uri} does not answer ({str(error)[:200]}); is it running, and is the address right?"
            ) from error
        if place.lite:
            _OPEN[place.uri] = _OPEN.get(place.uri, 0) + 1
        return client


def disconnect(client: Any, place: Place) -> None:
    with _OPENING:
        client.close()
        if place.lite:
            _OPEN[place.uri] -= 1
            if not _OPEN[place.uri]:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(place.uri)
