"""A language model behind OpenAI's chat protocol: one request, one reply. What is asked is other modules' business."""

import json
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

from huiyi.errors import InvalidInput

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Chat:
    """url: of the server, with or without /chat/completions. key: sent as a bearer token where there is one."""

    url: str
    model: str
    key: str | None = None
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).netloc:
            raise InvalidInput(f"{self.url} is no URL of a chat server; give one such as http://127.0.0.1:11434/v1")

    def ask(self, content: str, *, max_tokens: int) -> str:
        """What it says. Raises OSError where it cannot be reached or refuses, ValueError, KeyError, IndexError or TypeError where its
        answer is none: `FAILURES`."""
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": max_tokens}
        url = self.url.rstrip("/")
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.key}"} if self.key else {})}
        request = urllib.request.Request(
            url if url.endswith("/chat/completions") else f"{url}/chat/completions", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])


FAILURES = (OSError, ValueError, KeyError, IndexError, TypeError)
