"""A small HTTP server that answers as a Kubernetes API server does, with what a test lays down. It is not a cluster."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml


def refusal(code: int, message: str) -> tuple[int, Any]:
    """A Status object, as API servers refuse with."""
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


class Api:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        """(method, path) -> (status, JSON), or text for a log; a list: one after the other, the last one stays."""
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        """(method, path, query, body)."""
        self.tokens: set[str] = set()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        self.asked.append((method, path, query, body))
        found = self.answers.get((method, f"{path}?{query['labelSelector']}" if "labelSelector" in query else path))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found if found is not None else refusal(404, f"{path}: not found")

    def calls(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, *_ in self.asked]


def handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            length = int(self.headers.get("Content-Length", 0))
            api.tokens.add(self.headers.get("Authorization", ""))
            found = api.answer(self.command, parts.path, query, json.loads(self.rfile.read(length) or "null"))
            if isinstance(found, str):
                self.stream(found)
                return
            code, content = found
            text = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def stream(self, text: str) -> None:
            """A log, in small chunks that end anywhere; "!" breaks the connection."""
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            content = text.removesuffix("!").encode()
            for start in range(0, len(content), 7):
                chunk = content[start : start + 7]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            if text.endswith("!"):
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PATCH = do_DELETE = do_any

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    return Handler


def kubeconfig(path: Path, port: int) -> Path:
    """A file with the contexts "here", the current one, and "there"."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "of-the-test"}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("here", "there")],
    }
    path.write_text(yaml.safe_dump(content))
    return path


@contextmanager
def serving() -> Iterator[tuple[Api, int]]:
    """The server, and its port, while the block runs."""
    made = Api()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(made)) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made, server.server_address[1]
        server.shutdown()
