"""API keys: where they come from, what each may do, and how one is compared.

A key is kept as its SHA-256 only and compared in constant time, all keys every time. No key is ever written to a log or an answer.
"""

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huiyi import settings
from huiyi.errors import InvalidInput
from huiyi.server.failures import Forbidden, Unauthorized

Scope = Literal["read", "admin"]
LEAST_CHARACTERS = 8


@dataclass(frozen=True)
class Keys:
    """source: where the operator finds them, for the 401."""

    digests: tuple[tuple[bytes, Scope], ...]
    source: str

    def check(self, authorization: str | None, needed: Scope) -> None:
        """Raises Unauthorized without a known key, Forbidden when it may not do that."""
        kind, _, key = (authorization or "").partition(" ")
        if not authorization or kind.lower() != "bearer":
            raise Unauthorized(f"this server wants a key, in the header Authorization: Bearer KEY; the key is {self.source}")
        given = hashlib.sha256(key.strip().encode("utf-8", "replace")).digest()
        scopes = [scope for digest, scope in self.digests if hmac.compare_digest(digest, given)]
        if not scopes:
            raise Unauthorized(f"this key is not known here; the key is {self.source}")
        if needed == "admin" and "admin" not in scopes:
            raise Forbidden("this key may read only; this address needs an admin key")


def keys(file: Path | None, host: str, no_auth: bool) -> Keys | None:
    """The keys to ask for, None when everyone may come in.

    In this order: `file`, HUIYI_API_KEY, and for a `host` that others can reach a key that is made once and kept in
    HUIYI_HOME/api_key. Raises InvalidInput.
    """
    given = settings.api_key()
    if no_auth:
        if file or given:
            raise InvalidInput("--no-auth and an API key (HUIYI_API_KEY or --api-key-file) contradict each other; take one away")
        return None
    if file:
        return _parsed(_read(file), f"one of those in the server's key file {file.name}")
    if given:
        return _parsed(given.replace(",", "\n"), "the one in HUIYI_API_KEY where the server was started")
    if is_loopback(host):
        return None
    kept = kept_key()
    return _parsed(_read(kept) if kept.exists() else _make(kept), f"in the file {kept} on the server's machine")


def kept_key() -> Path:
    return settings.home() / "api_key"


def is_loopback(host: str) -> bool:
    """Of a name or address without port."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _parsed(text: str, source: str) -> Keys:
    lines = [line.strip() for line in text.splitlines()]
    return Keys(tuple(_entries((line for line in lines if line and not line.startswith("#")), source)), source)


def _entries(lines: Iterable[str], source: str) -> Iterable[tuple[bytes, Scope]]:
    empty = True
    for line in lines:
        before, colon, after = line.partition(":")
        scope: Scope = "read" if before == "read" and colon else "admin"
        key = after.strip() if colon and before in ("read", "admin") else line
        if len(key) < LEAST_CHARACTERS or not key.isascii() or any(character.isspace() for character in key):
            raise InvalidInput(f"an API key has {LEAST_CHARACTERS} or more ASCII characters and no blanks; look at {source}")
        empty = False
        yield hashlib.sha256(key.encode()).digest(), scope
    if empty:
        raise InvalidInput(f"there is no API key; it should be {source}")


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the API keys in {file} cannot be read: {type(error).__name__}; it holds one key a line") from error


def _make(file: Path) -> str:
    """A new key in `file`, for its owner only; another process may be making it at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    key = "hy-" + secrets.token_urlsafe(32)
    part = file.with_name(f"{file.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
        opened.write(key + "\n")
    try:
        os.link(part, file)
    except FileExistsError:
        return _read(file)
    finally:
        part.unlink()
    return key
