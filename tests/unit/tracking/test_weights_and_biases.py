"""W&B for real: offline runs are read back with wandb's own reader; a service that is away costs no run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from another_process import LONGEST_WAIT
from wsss_platform.errors import InputError
from wsss_platform.tracking.weights_and_biases import Tracker, choose_mode

KEY = "0123456789abcdef0123456789abcdef01234567"

PROGRAM = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from wsss_platform.tracking.weights_and_biases import Tracker
settings = json.loads(sys.argv[1])
tracker = Tracker(
    name="fbr-1", group="study-a", config={"loss": {"contrast": 0.1}, "data": {"root": str(Path.home() / "VOC")}},
    protocol={"selection": "train ground truth"}, folder=Path(settings["folder"]), mode=settings["mode"],
    patience=settings["patience"], closing=settings["closing"],
)
tracker.start()
for step in range(3):
    tracker.log({"loss/contrast": 1.0 / (step + 1)})
tracker.image("worst/1", np.full((8, 12, 3), 200, np.uint8))
tracker.table("trials", ["trial", "mIoU"], [[0, 0.4], [1, 0.5]])
if settings.get("kill"):
    import signal, subprocess
    while tracker.run_folder is None:
        time.sleep(0.05)
    children = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    cores = [int(line.split()[0]) for line in children.stdout.splitlines() if "wandb" in line]
    assert cores
    for core in cores:
        os.kill(core, signal.SIGKILL)
    while any(Path(f"/proc/{core}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z" for core in cores):
        time.sleep(0.05)
    tracker.log({"loss/contrast": 0.1})
tracker.finish(settings.get("summary", {"mean_iou": 0.5}))
print(json.dumps({
    "mode": tracker.mode, "warnings": tracker.warnings, "reports": os.environ.get("WANDB_ERROR_REPORTING"),
    "folder": str(tracker.run_folder), "wandb": "wandb" in sys.modules, "running": tracker.running,
}))
"""
BRIEF, AMPLE = 1.0, 120.0
"""Seconds to wait for the service: where it is away, and where a busy machine may be slow."""


def run(
    folder: Path,
    mode: str = "auto",
    environment: dict[str, str] | None = None,
    patience: float = AMPLE,
    closing: float = AMPLE,
    **settings: Any,
) -> dict[str, Any]:
    """What the program says of itself, and its standard error; with an empty home and no W&B settings but these."""
    settings |= {"folder": str(folder / "storage"), "mode": mode, "patience": patience, "closing": closing}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") and name != "NETRC"}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(settings)],
        env={**kept, "HOME": str(home), **(environment or {})},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONGEST_WAIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return {**said, "stderr": done.stderr}


def inspect(folder: str, *options: str) -> str:
    """What wandb's reader finds in a run's folder."""
    (file,) = Path(folder).glob("*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_WAIT, check=True).stdout


def test_an_offline_run_holds_config_protocol_curve_image_and_summary(tmp_path: Path) -> None:
    said = run(tmp_path, summary={"mean_iou": 0.47, "best/threshold": 0.3})
    assert said["mode"] == "offline"
    assert len(said["warnings"]) == 1
    assert said["warnings"][0].startswith("W&B: not logged in; this run is kept offline in ")
    assert said["stderr"] == ""
    read = json.loads(inspect(said["folder"], "--summary"))
    assert read["state"] == "finished"
    assert read["name"] == "fbr-1"
    assert read["config"]["loss"] == {"contrast": 0.1}
    assert read["config"]["protocol"] == {"selection": "train ground truth"}
    assert read["config"]["data"] == {"root": "~/VOC"}
    assert read["summary"]["mean_iou"] == 0.47
    assert read["summary"]["best/threshold"] == 0.3
    assert (read["summary"]["worst/1"]["height"], read["summary"]["worst/1"]["width"]) == (8, 12)
    assert read["summary"]["trials"]["nrows"] == 2
    records = [json.loads(line) for line in inspect(said["folder"]).splitlines()]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    curve = [item["loss/contrast"] for item in history if "loss/contrast" in item]
    assert curve == pytest.approx([1, 1 / 2, 1 / 3])
    started = next(record["run"] for record in records if record["type"] == "run")
    assert started["run_group"] == "study-a"
    assert Path(said["folder"]).parent == tmp_path / "storage" / "wandb"
    assert not list((tmp_path / "home").rglob("*.json")), "tables are staged under the storage folder, not at home"


def test_a_failed_run_is_marked_failed(tmp_path: Path) -> None:
    said = run(tmp_path, mode="offline", summary={"status": "failed", "reason": f"https://a:{KEY}@b.c refused"})
    assert said["warnings"] == []
    read = json.loads(inspect(said["folder"], "--summary"))
    assert read["exit_code"] == 1
    assert KEY not in json.dumps(read)


@contextmanager
def hanging() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    for connection in held:
        connection.close()


@contextmanager
def failing() -> Iterator[str]:
    """A server that answers everything with an error page."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b"<html>down for maintenance</html>")

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def refusing() -> Iterator[str]:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@pytest.mark.slow
@pytest.mark.parametrize("service", [refusing, hanging, failing])
def test_a_service_that_is_away_neither_blocks_nor_fails_the_run(tmp_path: Path, service: Any) -> None:
    with service() as url:
        said = run(tmp_path, environment={"WANDB_API_KEY": KEY, "WANDB_BASE_URL": url}, patience=BRIEF)
    assert said["reports"] == "false", "else the end of the process waits for a service that hangs"
    assert said["mode"] == "offline"
    (warning,) = said["warnings"]
    assert "the service did not open the run" in warning
    assert KEY not in warning
    read = json.loads(inspect(said["folder"], "--summary"))
    assert read["summary"]["mean_iou"] == 0.5, "the run went on offline and lost nothing"
    assert read["config"]["protocol"] == {"selection": "train ground truth"}


@contextmanager
def vanishing() -> Iterator[str]:
    """A server that opens the run as W&B's does, and never answers again."""
    bucket = {
        "id": "b",
        "displayName": "fbr-1",
        "config": "{}",
        "historyLineCount": 0,
        "project": {"id": "p", "name": "wsss-platform", "entity": {"id": "e", "name": "ada"}},
    }
    opened, over = threading.Event(), threading.Event()

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if b"mutation UpsertBucket" not in body or opened.is_set():
                over.wait()
                return
            named = {**bucket, "name": json.loads(body)["variables"]["name"]}
            answer = json.dumps({"data": {"upsertBucket": {"inserted": True, "bucket": named}}}).encode()
            opened.set()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        over.set()
        server.shutdown()
    assert opened.is_set(), "the run was never opened, so nothing was tested"


@pytest.mark.slow
def test_a_service_that_vanishes_during_an_online_run_ends_with_it(tmp_path: Path) -> None:
    with vanishing() as url:
        said = run(tmp_path, environment={"WANDB_API_KEY": KEY, "WANDB_BASE_URL": url}, closing=BRIEF)
    assert said["mode"] == "online"
    records = [json.loads(line) for line in inspect(said["folder"]).splitlines()]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    curve = [item["loss/contrast"] for item in history if "loss/contrast" in item]
    assert curve == pytest.approx([1, 1 / 2, 1 / 3]), "what was logged is kept for wandb sync"


@pytest.mark.slow
def test_a_wandb_process_that_dies_does_not_fail_the_run(tmp_path: Path) -> None:
    said = run(tmp_path, mode="offline", kill=True)
    assert said["warnings"]


@pytest.mark.parametrize(
    ("mode", "environment", "expected", "reason"),
    [
        ("auto", {"WANDB_MODE": "offline"}, "offline", "WANDB_MODE is offline"),
        ("auto", {"WANDB_API_KEY": "too-short"}, "offline", "WANDB_API_KEY invalid"),
        ("online", {}, "offline", "not logged in"),
        ("auto", {"WANDB_MODE": "disabled", "WANDB_API_KEY": KEY}, "disabled", ""),
    ],
)
def test_the_mode_follows_the_account_and_the_environment(
    tmp_path: Path, mode: str, environment: dict[str, str], expected: str, reason: str
) -> None:
    said = run(tmp_path, mode, environment)
    assert said["mode"] == expected
    assert not said["running"]
    if reason:
        assert said["warnings"][0].startswith(f"W&B: {reason}")
    else:
        assert said["warnings"] == []
        assert not list((tmp_path / "storage").rglob("*.wandb"))


@pytest.mark.slow
def test_a_key_in_netrc_counts_as_logged_in(tmp_path: Path) -> None:
    with refusing() as url:
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine {url.removeprefix('http://')} login user password {KEY}\n")
        netrc.chmod(0o600)
        said = run(tmp_path, environment={"NETRC": str(netrc), "WANDB_BASE_URL": url}, patience=BRIEF)
    assert "the service did not open the run" in said["warnings"][0], "it tried, so it took itself for logged in"


def test_disabled_starts_nothing_and_imports_nothing(tmp_path: Path) -> None:
    said = run(tmp_path, mode="disabled")
    assert (said["mode"], said["warnings"], said["wandb"]) == ("disabled", [], False)
    assert not (tmp_path / "storage").exists()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Opening a run lasts until this is set."""
    answers = threading.Event()
    monkeypatch.setattr(Tracker, "_open_run", lambda self, failures: answers.wait())
    yield answers
    answers.set()


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return Tracker(name="a", group="b", config={}, protocol={}, folder=tmp_path, mode="offline", patience=0, closing=0)


def test_no_call_waits_for_the_service(service: threading.Event, tracker: Tracker) -> None:
    """Each comes back although the service has not answered; and `finish` gives up when its time is over."""
    tracker.start()
    assert tracker.running
    tracker.log({"loss": 1.0})
    tracker.image("p", np.zeros((2, 2, 3), np.uint8))
    tracker.table("t", ["a"], [[1]])
    tracker.finish({})
    assert not service.is_set()
    assert tracker.warnings[0].startswith("W&B: did not finish in 0 s")
    assert not tracker.running
    tracker.log({"late": 1.0})
    tracker.finish({})


def test_finish_waits_for_the_service_as_long_as_it_may(
    service: threading.Event, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float | None] = []
    monkeypatch.setattr(tracker, "_patience", 3.0)
    monkeypatch.setattr(tracker, "_closing", 5.0)
    tracker.start()
    monkeypatch.setattr(tracker._thread, "join", waited.append)
    tracker.finish({})
    assert waited == [13.0]


def test_finish_without_start_is_nothing(tmp_path: Path) -> None:
    tracker = Tracker(name="a", group="b", config={}, protocol={}, folder=tmp_path, mode="offline")
    tracker.log({"x": 1.0})
    tracker.finish({"mean_iou": 0.1})
    assert (tracker.running, tracker.warnings) == (False, [])


def test_a_wrong_mode_is_refused_with_the_nearest_right_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'offline'"):
        choose_mode("ofline")
    with pytest.raises(InputError, match="did you mean 'online'"):
        Tracker(name="a", group="b", config={}, protocol={}, folder=tmp_path, mode="onlin")
