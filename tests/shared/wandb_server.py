"""A W&B server of this test: it answers the GraphQL calls of runs and reports, and keeps what it was sent."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "ada"
KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class WandbServer:
    """What it was asked, and how it answers."""

    url: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Run id -> the variables it was opened with."""
    streams: dict[str, list[str]] = field(default_factory=dict)
    """Run id -> bodies of its file stream."""
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Report id -> the variables it was last saved with."""
    saved: list[str | None] = field(default_factory=list)
    """The id of each call that saved a report; None for a new one."""
    broken: bool = False
    """Answer each report with an error."""
    slow: threading.Event | None = None
    """Answer no report before it is set."""

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL call."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found[1] if found else ""
        entity = {"id": "e", "name": variables.get("entity") or ENTITY}
        if name == "UpsertBucket":
            told = {name: value for name, value in variables.items() if value is not None}
            self.runs[variables["name"]] = self.runs.get(variables["name"], {}) | told
            project = {"id": "p", "name": variables["project"], "entity": entity}
            bucket = {"id": "b", "name": variables["name"], "displayName": variables.get("displayName") or "x"}
            bucket |= {"config": "{}", "historyLineCount": 0, "project": project}
            return {"upsertBucket": {"inserted": True, "bucket": bucket}}
        if name == "RunResumeStatus":
            return {"model": {"id": "p", "name": variables["project"], "entity": entity, "bucket": None}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if name == "CreateArtifact":
            sequence = {"latestArtifact": None}
            return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}}}
        if name == "ArtifactType":
            return {"project": {"artifact": None}}
        if name == "SpecificReport":
            id = variables["reportId"]
            return {"view": {"id": id} if id in self.reports else None}
        if name == "upsertView":
            return {"upsertView": self._report(variables)}
        if "viewer" in query:
            teams = {"edges": []}
            viewer = {"id": "v", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}
            return {"viewer": {**viewer, "apiKeys": {"edges": []}, "admin": False, "name": ENTITY}}
        if "models(" in query or "models (" in query:
            node = {"id": "p", "name": "wsss-platform", "entityName": ENTITY, "createdAt": "2026-01-01T00:00:00Z"}
            page = {"endCursor": None, "hasNextPage": False}
            edge = {"node": {**node, "isBenchmark": False, "user": None}, "cursor": "c"}
            return {"models": {"edges": [edge], "pageInfo": page}}
        if "serverInfo" in query:
            return {"serverInfo": {"features": [], "cliVersionInfo": {"max_cli_version": "9.0.0"}}}
        return {}

    def _report(self, variables: dict[str, Any]) -> dict[str, Any]:
        if self.slow is not None:
            self.slow.wait(60)
        id = variables["id"]
        if self.broken or (id is not None and id not in self.reports):
            raise LookupError("no such view")
        self.saved.append(id)
        id = id or f"report{len(self.reports) + 1}"
        self.reports[id] = variables
        project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        view = {"id": id, "type": "runs", "name": variables["name"], "displayName": variables["displayName"]}
        view |= {"description": variables["description"], "project": project, "spec": variables["spec"]}
        return {"view": {**view, "updatedAt": "2026-01-01T00:00:00"}, "inserted": True}


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """The server on a free port of the loopback."""
    state = WandbServer()

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path != "/graphql":
                if found := re.search(r"/([^/]+)/file_stream", self.path):
                    state.streams.setdefault(found[1], []).append(body.decode())
                return self._send({"limits": {}})
            said = json.loads(body)
            try:
                self._send({"data": state.answer(said["query"], said.get("variables") or {})})
            except LookupError as error:
                self._send({"errors": [{"message": str(error)}], "data": None})

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self._send({})

        def _send(self, said: dict[str, Any]) -> None:
            answer = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        server.daemon_threads = True
        server.block_on_close = False
        state.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state
        if state.slow is not None:
            state.slow.set()
        server.shutdown()
