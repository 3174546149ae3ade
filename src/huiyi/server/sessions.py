"""Who is logged in to the console: signed cookies that stand for a key, and how often a key may be tried.

A cookie holds no key, only a fingerprint under this machine's secret: when the key is taken away, it is worth nothing. Knows no HTTP.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path

from huiyi import settings
from huiyi.errors import Overloaded
from huiyi.server.auth import Keys, Scope

MAX_AGE_S = 7 * 24 * 3600
TRIES, TRIES_OF_ALL, WINDOW_S = 5, 60, 60.0  # of wrong keys, by one address and by all of them
MOST_ADDRESSES = 10_000


class Sessions:
    """keys: None lets everyone in, with all rights. secret: what cookies are signed with."""

    def __init__(self, keys: Keys | None, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._keys, self._secret, self._clock = keys, secret.encode(), clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque()

    @property
    def open(self) -> bool:
        return self._keys is None

    def scope(self, cookie: str | None) -> Scope | None:
        """What the bearer of this cookie may do, None when nobody is logged in with it."""
        if self._keys is None:
            return "admin"
        fingerprint, _, rest = (cookie or "").partition(".")
        until, _, signature = rest.partition(".")
        expected = self._signature(f"{fingerprint}.{until}")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode()) or float(until) < self._clock():
            return None
        scopes = [scope for digest, scope in self._keys.digests if hmac.compare_digest(self._fingerprint(digest), fingerprint)]
        return "admin" if "admin" in scopes else scopes[0] if scopes else None

    def log_in(self, key: str, address: str) -> str | None:
        """A cookie's value, None for a wrong key. Raises Overloaded after too many of those."""
        self._refuse_guessing(address)
        digest = hashlib.sha256(key.strip().encode("utf-8", "replace")).digest()
        known = [each for each, _ in self._keys.digests if hmac.compare_digest(each, digest)] if self._keys else [digest]
        if not known:
            self._note_failure(address)
            return None
        bearer = f"{self._fingerprint(known[0])}.{int(self._clock()) + MAX_AGE_S}"
        return f"{bearer}.{self._signature(bearer)}"

    def _fingerprint(self, digest: bytes) -> str:
        return hmac.new(self._secret, b"key" + digest, "sha256").hexdigest()[:32]

    def _signature(self, bearer: str) -> str:
        return hmac.new(self._secret, b"session" + bearer.encode("utf-8", "replace"), "sha256").hexdigest()

    def _refuse_guessing(self, address: str) -> None:
        now = self._clock()
        for tries, most in ((self._failures.get(address, deque()), TRIES), (self._all, TRIES_OF_ALL)):
            while tries and tries[0] <= now - WINDOW_S:
                tries.popleft()
            if len(tries) >= most:
                raise Overloaded("too many wrong keys; wait a minute and try again", tries[0] + WINDOW_S - now)

    def _note_failure(self, address: str) -> None:
        self._failures.setdefault(address, deque()).append(self._clock())
        self._failures.move_to_end(address)
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        self._all.append(self._clock())


def kept_secret() -> str:
    """This workspace's secret, made once in HUIYI_HOME/console/secret, for its owner only."""
    file = settings.home() / "console" / "secret"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(file)
    return file.read_text("ascii").strip()


def _make(file: Path) -> None:
    part = file.with_name(f"{file.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as opened:
        opened.write(secrets.token_hex(32) + "\n")
    try:
        os.link(part, file)
    except FileExistsError:
        pass  # another process was first
    finally:
        part.unlink()
