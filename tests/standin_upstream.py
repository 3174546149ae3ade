"""A server that speaks the embeddings protocol with a real model behind it, and with every defect that servers of others are known for."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.tokenizer import Tokenizer

FIELDS = {"model", "input", "encoding_format"}


@dataclass
class StandIn:
    """encoder: of the bundled model. name: of the model, listed at /v1/models unless `info` is what /info says, as TEI's does.

    form: base64, or float whatever was asked for; "refused" for a server that knows no encoding_format. endings: end-of-text tokens that
    texts get. pooling: last or mean. order: index of vectors right, "unnumbered" or "misnumbered" ones in reverse, "all zero".
    missing: vectors too few in a list. nulls: texts with this word get null, NaN or zeros. busy: requests answered with 429 first.
    failing: texts with this word are answered with 500. hanging: set it to keep every answer back. key: asked for. root: of its addresses.
    reads: tokens of a text; the rest is left out without a word. n_ctx: the room that llama.cpp states.
    """

    encoder: LocalEncoder
    name: str = "starter"
    info: dict[str, Any] | None = None
    max_model_len: int | None = None
    n_ctx: int | None = None
    form: str = "base64"
    takes_ids: bool = True
    endings: int = 1
    pooling: str = "last"
    order: str = "right"
    missing: int = 0
    bad: str = "null"
    busy: int = 0
    scale: float = 7.0
    max_inputs: int = 10_000
    whole_failure: bool = False
    hanging: threading.Event = field(default_factory=threading.Event)
    key: str | None = None
    root: str = "/v1"
    reads: int | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.requests.append(body)
        if unknown := set(body) - FIELDS:
            return 400, {"object": "error", "message": f"unexpected fields {sorted(unknown)}", "type": "BadRequest", "code": 400}
        if self.form == "refused" and "encoding_format" in body and body["encoding_format"] != "float":
            return 400, {"detail": "encoding_format must be float"}
        if body["model"] != self.name:
            return 404, {"error": {"message": f"no model {body['model']}"}}
        inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if self.busy:
            self.busy -= 1
            return 429, {"error": {"message": "busy", "type": "overloaded"}}
        if len(inputs) > self.max_inputs:
            reason = f"batch size {len(inputs)} > maximum allowed batch size {self.max_inputs}"
            return 422, {"message": reason, "code": 422, "type": "Validation"}
        if self.whole_failure or any(isinstance(each, str) and "poison" in each for each in inputs):
            return 500, {"error": "the kernel failed"}
        if any(isinstance(each, str) and "endless" in each for each in inputs):
            return 500, {"error": {"code": 500, "message": "input is too large to process. increase the physical batch size"}}
        rows, tokens = [], 0
        for each in inputs:
            if isinstance(each, list) and not self.takes_ids:
                return 422, {"error": "invalid input type", "error_type": "Validation"}
            ids = (np.array(each, np.int32) if isinstance(each, list) else self._ids(each))[: self.reads]
            tokens += len(ids)
            rows.append(None if isinstance(each, str) and "nothing" in each else self._vector(ids))
        items = [{"object": "embedding", "index": i, "embedding": self._written(row, body)} for i, row in enumerate(rows)]
        if len(items) > 1:
            items = self._disordered(items)[: len(items) - self.missing]
        return 200, {"object": "list", "data": items, "model": self.name, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}

    def _ids(self, text: str) -> np.ndarray:
        tokenizer = self.encoder.tokenizer
        assert isinstance(tokenizer, Tokenizer)
        ids = tokenizer.encode([text], prompt="")[0]
        return np.concatenate([ids[:-1], np.repeat(ids[-1:], self.endings)]) if text or self.endings else ids

    def _vector(self, ids: np.ndarray) -> np.ndarray:
        if self.pooling == "last":
            return self.scale * self.encoder.embed_ids([ids]).vectors[0]
        prefixes = [ids[: end + 1] for end in range(len(ids))]
        return np.stack([self.encoder.scheduler.submit(prefix).result() for prefix in prefixes]).mean(axis=0)

    def _written(self, row: np.ndarray | None, body: dict[str, Any]) -> Any:
        if row is None:
            width = self.encoder.dim
            return {"null": None, "nulls": [None] * width, "nan": [float("nan")] * width, "zeros": [0.0] * width}[self.bad]
        if self.form == "base64" and body["encoding_format"] == "base64":
            return base64.b64encode(row.astype("<f4").tobytes()).decode()
        return row.tolist()

    def _disordered(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.order == "shuffled":
            return items[::-1]
        if self.order == "unnumbered":
            return [{"embedding": item["embedding"]} for item in items[::-1]]
        if self.order == "misnumbered":
            return [{**item, "index": i} for i, item in enumerate(items[::-1])]
        if self.order == "all zero":
            return [{**item, "index": 0} for item in items]
        return items


@contextmanager
def running(standin: StandIn, port: int = 0) -> Iterator[StandIn]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/info" and standin.info is not None:
                self._send(200, standin.info)
            elif self.path == f"{standin.root}/models" and standin.info is None:
                card: dict[str, Any] = {"id": standin.name, "object": "model"}
                card |= {"max_model_len": standin.max_model_len} if standin.max_model_len else {}
                card |= {"meta": {"n_ctx": standin.n_ctx, "n_ctx_train": 40_960}} if standin.n_ctx else {}
                self._send(200, {"object": "list", "data": [card]})
            elif self.path == "/health":
                self._send(200, {})
            else:
                self._send(404, {"detail": "Not Found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != f"{standin.root}/embeddings":
                self._send(404, {"detail": "Not Found"})
                return
            while standin.hanging.is_set():
                time.sleep(0.01)
            if standin.key and self.headers.get("Authorization") != f"Bearer {standin.key}":
                self._send(401, {"error": {"message": "wrong key"}})
                return
            self._send(*standin.answer(body))

        def _send(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    standin.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield standin
    finally:
        standin.hanging.clear()
        server.shutdown()
        server.server_close()
        thread.join(20)
