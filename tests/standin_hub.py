"""A server on 127.0.0.1 that speaks as much of the Hugging Face hub's HTTP API as a download needs, and can misbehave.

with StandInHub({"tiny/qwen3": folder}) as hub: ...  # HF_ENDPOINT=hub.url
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StandInHub:
    """models: hub names and the folders behind them.

    gated: names that are refused. token: asked for with every request, when given.
    break_weights_after: bytes of a safetensors file after which the connection is cut, while it is not None; what is asked for beyond
    is answered with 503.
    damage_weights: the first byte of every safetensors file arrives changed.
    requests: (method, path, Range header) of each request so far. leaks: requests to the store that carried the hub's token.
    Weights lie in a store with another address, as the hub's do; the hub redirects to it.
    """

    def __init__(self, models: Mapping[str, Path], gated: tuple[str, ...] = (), token: str | None = None) -> None:
        self.models, self.gated, self.token = models, gated, token
        self.break_weights_after: int | None = None
        self.damage_weights = False
        self.requests: list[tuple[str, str, str | None]] = []
        self.leaks: list[str] = []
        hub = self

        class Handler(_Handler):
            def _hub(self) -> StandInHub:
                return hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.store = f"http://localhost:{self._server.server_port}/store"

    def __enter__(self) -> "StandInHub":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        return {path.rpartition(f"/resolve/{COMMIT}/")[2] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _hub(self) -> StandInHub:
        raise NotImplementedError

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self._hub()
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, self.headers.get("Range")))
        if path.startswith("/store/"):
            if "Authorization" in self.headers:
                hub.leaks.append(path)
            _, _, owner, name, *file = path.split("/")
            return self._file(hub.models[f"{owner}/{name}"], "/".join(file))
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._refuse(401, "RepoNotFound")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name, rest = "/".join(parts[2:4]), parts[4:]
        else:
            name, rest = "/".join(parts[:2]), parts[2:]
        if name in hub.gated:
            return self._refuse(403, "GatedRepo")
        if name not in hub.models:
            return self._refuse(404, "RepoNotFound")
        if len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        folder = hub.models[name]
        match rest:
            case ["revision", _]:
                files = [{"rfilename": file} for file in _files(folder)]
                return self._json({"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [], "siblings": files})
            case ["tree", _]:
                return self._json([_tree_entry(folder, file) for file in _files(folder)])
            case ["resolve", _, *file] if (folder / "/".join(file)).is_file():
                if file[-1].endswith(".safetensors"):
                    return self._redirect(folder / "/".join(file), f"{hub.store}/{name}/{'/'.join(file)}")
                return self._file(folder, "/".join(file))
        return self._refuse(404, "EntryNotFound")

    def _file(self, folder: Path, name: str) -> None:
        hub, content = self._hub(), (folder / name).read_bytes()
        weights = name.endswith(".safetensors")
        if weights and hub.damage_weights:
            content = bytes([content[0] ^ 1]) + content[1:]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if self.command == "GET" and weights and hub.break_weights_after is not None and start:
            return self._refuse(503, "")
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if weights and hub.break_weights_after is not None:
            self.wfile.write(content[start : hub.break_weights_after])
            self.close_connection = True
        else:
            self.wfile.write(content[start:])

    def _redirect(self, file: Path, place: str) -> None:
        self.send_response(302)
        self.send_header("Location", place)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-ETag", f'"{hashlib.sha256(file.read_bytes()).hexdigest()}"')
        self.send_header("X-Linked-Size", str(file.stat().st_size))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _tree_entry(folder: Path, name: str) -> dict[str, object]:
    content = (folder / name).read_bytes()
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if name.endswith(".safetensors"):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry
