"""One server that speaks OpenAI's embeddings protocol, as servers really speak it: SGLang, vLLM, TEI, llama.cpp, cloud APIs, huiyi.

Owns the wire: addresses, keys, what comes back and whose fault a failure is. An answer is one row an input, in input order, a row of NaN
where the server had no numbers; anything else is a `Fault`. Never asks for fewer dimensions or for unit length: that is done here.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import numpy as np
import orjson

from huiyi.errors import InvalidInput
from huiyi.types import Floats

CONNECT_S = 5.0
LOOK_S = 10.0  # for what a server says of itself
BUSY_S = 0.5
MAX_REASON = 300
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Inputs = Sequence[str] | Sequence[list[int]]


class Fault(Exception):
    """Why a server gave no rows, as a sentence without its address."""


class Unreachable(Fault):
    """It did not answer, or not now; the same request may succeed elsewhere or later. after_s: when, where it said so."""

    def __init__(self, reason: str, after_s: float | None = None, connected: bool = True) -> None:
        super().__init__(reason)
        self.after_s, self.connected = after_s, connected


class Refused(Fault):
    """It does not want this request: too many inputs, too long a text, a field it does not know."""


class Cut(Refused):
    """It read the first tokens of a text and left the rest out, without a word."""

    def __init__(self, tokens: int) -> None:
        super().__init__(
            f"reads {tokens:,} of them and leaves the rest out: start it with more room (n_batch and n_ctx of llama.cpp), or huiyi with "
            f"--max-tokens {tokens}"
        )


class Garbled(Fault):
    """It answered, and the answer cannot be what was asked for."""


@dataclass(frozen=True)
class About:
    """What a server says of itself. models: their names. max_tokens: of a text; max_inputs: of a request; None where it does not say."""

    models: tuple[str, ...] = ()
    max_tokens: int | None = None
    max_inputs: int | None = None


@dataclass(frozen=True)
class Answer:
    """rows: float32 [n, dim], not normalised. tokens: that the server says it read, of all inputs together."""

    rows: Floats
    tokens: int | None


class Upstream:
    """One server. Safe to call from many threads, which share its kept-alive connections.

    model: the name it is asked for. key: sent as a bearer token. timeout_s: for a whole answer. What it turns out to want is remembered:
    max_inputs (of a request), takes_ids (token ids in the place of texts), ending (put after every text), base64; uncounted: tokens of
    each text that are not in the number it says it read, None where that number is of something else; max_tokens: of a text, beyond
    which it was seen to cut.
    """

    def __init__(self, url: str, model: str = "", *, key: str | None = None, timeout_s: float = 60.0) -> None:
        self.base = base_of(url)
        self.url = self.base.removesuffix("/v1")
        self.model = model
        self.max_inputs: int | None = None
        self.takes_ids, self.ending, self.base64 = False, "", True
        self.uncounted: int | None = None
        self.max_tokens: int | None = None
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30),
            trust_env=urlsplit(self.base).hostname not in LOOPBACK,
        )

    def about(self) -> About:
        """From /v1/models, or /models where nothing lies below /v1 (infinity), else from TEI's /info; nothing where a server has none of
        them. Raises Unreachable."""
        cards = self._cards(self.base)
        if not cards and self.base == f"{self.url}/v1" and (cards := self._cards(self.url)):
            self.base = self.url
        if cards:
            mine = [card for card in cards if self.model in (card["id"], card.get("root"), *(card.get("aliases") or ()))] or cards
            return About(tuple(card["id"] for card in cards), min(filter(None, map(_longest, mine)), default=None))
        info = self._look(f"{self.url}/info")
        if not isinstance(info, dict) or not isinstance(info.get("model_id"), str):
            return About()
        lengths = [n for n in (info.get("max_input_length"), info.get("max_batch_tokens")) if isinstance(n, int)]
        most = info.get("max_client_batch_size")
        return About((info["model_id"],), min(lengths, default=None), most if isinstance(most, int) else None)

    def embed(self, inputs: Inputs, timeout_s: float | None = None) -> Answer:
        """Raises Unreachable, Refused, Garbled."""
        body: dict[str, Any] = {"model": self.model, "input": inputs, "encoding_format": "base64" if self.base64 else "float"}
        try:
            return answer_of(self._post(body, timeout_s), len(inputs))
        except Refused as error:
            if not self.base64 or not re.search(r"encoding.?format|base64", str(error), re.IGNORECASE):
                raise
            self.base64 = False
            return answer_of(self._post({**body, "encoding_format": "float"}, timeout_s), len(inputs))

    def close(self) -> None:
        self._client.close()

    def _cards(self, base: str) -> list[dict[str, Any]]:
        """Of the models listed there that embed."""
        found = self._look(f"{base}/models")
        listed = found.get("data") if isinstance(found, dict) else None
        cards = [card for card in listed or [] if isinstance(card, dict) and isinstance(card.get("id"), str)]
        return [card for card in cards if card.get("task", "embedding") == "embedding"]

    def _look(self, url: str) -> Any:
        try:
            answer = self._client.get(url, timeout=LOOK_S)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if answer.status_code in (401, 403) or answer.status_code >= 500:
            raise _fault(answer)
        try:
            return answer.json() if answer.status_code == 200 else {}
        except ValueError:
            return {}

    def _post(self, body: dict[str, Any], timeout_s: float | None) -> bytes:
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s)
        headers = {"Content-Type": "application/json"}
        try:
            answer = self._client.post(f"{self.base}/embeddings", content=orjson.dumps(body), headers=headers, timeout=timeout)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if answer.status_code != 200:
            raise _fault(answer)
        return answer.content


def base_of(url: str) -> str:
    """The address below which /embeddings lies: `/v1` where the address has no path. Raises InvalidInput."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url} is no address of a server; write it as http://gpu1:30000")
    if parts.username or parts.password:
        raise InvalidInput(f"put no key into the address of {parts.hostname}: set HUIYI_UPSTREAM_KEY, or name a file that holds it")
    path = parts.path.rstrip("/").removesuffix("/embeddings")
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))


def answer_of(content: bytes, n: int) -> Answer:
    """What the body of an answer to n inputs says. Raises Garbled when its vectors cannot be told apart."""
    try:
        body = orjson.loads(content)
    except ValueError:
        try:
            body = json.loads(content)  # takes NaN, which is no JSON
        except ValueError as error:
            raise Garbled("answered with something that is not JSON") from error
    body = body if isinstance(body, dict) else {}
    usage = body.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return Answer(_rows(body.get("data"), n), tokens if type(tokens) is int else None)


def _longest(card: dict[str, Any]) -> int:
    """Tokens of a text that a listed model takes: huiyi says so; vLLM and llama.cpp have one less than the room they state. 0: not said."""
    meta = card.get("meta")
    room = card.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    most = card.get("max_tokens") or (room - 1 if isinstance(room, int) and room else 0)
    return most if isinstance(most, int) else 0


def _rows(data: Any, n: int) -> Floats:
    """The vectors of a list, by their `index`."""
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise Garbled("answered without a list of vectors")
    if len(data) != n:
        raise Garbled(f"answered {len(data)} vectors for {n} inputs")
    places = [item.get("index") for item in data]
    if any(place is not None for place in places):
        if any(type(place) is not int for place in places) or sorted(places) != list(range(n)):
            raise Garbled("numbered its vectors so that they cannot be told apart")
        data = [item for _, item in sorted(zip(places, data, strict=True), key=lambda pair: pair[0])]
    rows = [_numbers(item.get("embedding")) for item in data]
    widths = {len(row) for row in rows if row is not None}
    if len(widths) != 1:
        raise Garbled("answered vectors of several widths" if widths else "answered no numbers")
    width = widths.pop()
    return np.stack([np.full(width, np.nan, np.float32) if row is None else row for row in rows])


def _numbers(value: Any) -> Floats | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
        row = np.array(value, np.float32)  # null becomes NaN
    except (ValueError, TypeError, binascii.Error) as error:
        raise Garbled("answered vectors that are neither numbers nor base64 of float32") from error
    if row.ndim == 2 and len(row) == 1:
        row = row[0]
    if row.ndim != 1 or not len(row):
        raise Garbled("answered a vector a token, not a vector a text: it has to be started with pooling")
    return row


def _unreachable(error: httpx.HTTPError) -> Unreachable:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Unreachable("cannot be reached", connected=False)
    if isinstance(error, httpx.TimeoutException):
        return Unreachable("did not answer in time")
    return Unreachable(f"broke off the connection ({type(error).__name__})")


def _fault(answer: httpx.Response) -> Fault:
    reason = _reason(answer)
    status = answer.status_code
    if status in (429, 503):
        after_s = _seconds(answer.headers.get("retry-after"))
        return Unreachable(f"is busy ({status}: {reason})", BUSY_S if after_s is None and status == 429 else after_s)
    if status in (401, 403):
        return Unreachable(f"does not accept the key ({status}: {reason}); set HUIYI_UPSTREAM_KEY")
    if status in (404, 405) or status < 400:
        return Unreachable(f"has no such address or model ({status}: {reason})")
    if status >= 500 and not re.search(r"too (large|long|many)|physical batch|maximum|exceed", reason, re.IGNORECASE):
        return Unreachable(f"failed ({status}: {reason})")
    return Refused(reason or f"status {status}")


def _reason(answer: httpx.Response) -> str:
    """What the server says, in any of the shapes that are about: nested like OpenAI's, flat, a bare text."""
    try:
        body = answer.json()
    except ValueError:
        return " ".join(answer.text.split())[:MAX_REASON]
    found = body
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    if isinstance(found, dict) and "message" in found:
        found = found["message"]
    return " ".join(str(found).split())[:MAX_REASON]


def _seconds(header: str | None) -> float | None:
    try:
        return min(60.0, max(0.0, float(header))) if header else None
    except ValueError:
        return None
