"""`leaderboard --wandb`: offline as files that wandb's own reader reads, online against a server of this test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from another_process import LONGEST_WAIT
from the_command import TINY
from wandb_server import ENTITY, KEY, WandbServer, wandb_server

TRAIN = ["train", "cam", *TINY, "--local", "--until", "score", "--seed"]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One method with two random seeds, never tracked, with secrets in the command."""
    folder = tmp_path_factory.mktemp("storage")
    for seed in ("0", "1"):
        command(folder, *TRAIN, seed, "--name", f"seed{seed}", "--wandb", "disabled")
    record = folder / "runs" / "seed0" / "run.json"
    said = json.loads(record.read_text())
    record.write_text(json.dumps({**said, "command": f"wsss-platform train --token {KEY}"}))
    return folder


@pytest.fixture
def own(storage: Path, tmp_path: Path) -> Path:
    """A copy of its records and scores."""
    import shutil

    return Path(shutil.copytree(storage, tmp_path / "own"))


def command(storage: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with an empty home and no W&B settings but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "WSSS_"))}
    home = storage.parent / "home"
    home.mkdir(exist_ok=True)
    settings = {"HOME": str(home), "WSSS_STORAGE": str(storage), "OMP_NUM_THREADS": "1", "NETRC": str(home / "none")}
    done = subprocess.run(
        [sys.executable, "-c", "from wsss_platform.cli import main; main()", *words],
        env={**kept, **settings, **variables},
        capture_output=True,
        text=True,
        timeout=LONGEST_WAIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def inspect(folder: Path) -> dict[str, Any]:
    """What wandb's reader finds in a run's folder."""
    (file,) = folder.glob("*.wandb")
    words = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST_WAIT, check=True)
    return dict(json.loads(done.stdout))


def tracked(storage: Path) -> dict[str, Path]:
    """Name -> folder of W&B's offline runs."""
    return {inspect(folder)["name"]: folder for folder in (storage / "wandb").glob("offline-run-*")}


def table(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("files/media/table/leaderboard*.json")
    return dict(json.loads(file.read_text()))


def kept(storage: Path) -> dict[str, Any]:
    return dict(json.loads((storage / "wandb" / "report-wsss-platform.json").read_text()))


def test_offline_everything_is_kept_for_a_sync(own: Path) -> None:
    said = command(own, "leaderboard", "--wandb", "--json")
    (group,) = json.loads(said.stdout)["groups"]
    runs = tracked(own)
    assert set(runs) == {"leaderboard", "seed0", "seed1"}
    found = table(runs["leaderboard"])
    assert found["columns"] == [
        *("method", "protocol group", "supervision", "mIoU", "low", "high", "seeds", "selection", "seconds", "recipe"),
        "commit",
    ]
    (line,) = found["data"]
    row = dict(zip(found["columns"], line, strict=True))
    (told,) = group["rows"]
    assert (row["method"], row["protocol group"], row["supervision"], row["seeds"]) == (
        "cam",
        group["group"],
        "labels",
        2,
    )
    assert (row["mIoU"], row["low"], row["high"]) == pytest.approx(
        (100 * told["mean_iou"], *(100 * end for end in told["interval"]))
    )
    assert row["low"] <= row["mIoU"] <= row["high"]
    assert list(runs["leaderboard"].glob("files/media/images/intervals*.png"))
    run = inspect(runs["seed1"])
    assert run["config"]["protocol"]["group"] == group["group"]
    assert run["config"]["protocol"]["supervision"] == "labels"
    assert all(isinstance(value, str | int | bool) for value in run["config"]["protocol"].values())
    assert {"mean_iou", "low", "high", "best/mean_iou"} <= set(run["summary"])
    assert run["summary"]["sweep/background"] == pytest.approx(0.995)  # the last threshold
    again = command(own, "leaderboard", "--wandb")
    assert "were not tracked" not in again.stderr, "what was sent is not sent again"
    assert len(list((own / "wandb").glob("offline-run-*"))) == 4


def test_offline_the_report_is_kept(own: Path) -> None:
    said = command(own, "leaderboard", "--wandb", "--json")
    (group,) = json.loads(said.stdout)["groups"]
    report = kept(own)
    assert (report["pending"], report["ids"], report["entity"]) == (True, {}, None)
    (grid,) = (block for block in report["content"]["blocks"] if block["type"] == "panel-grid")
    (runs,) = grid["metadata"]["runSets"]
    text = json.dumps(runs)
    assert group["group"] in text
    assert "protocol.value.group" in text
    assert runs["runFeed"]["columnVisible"]
    assert "sweep/background" in json.dumps(grid["metadata"]["panelBankSectionConfig"]["panels"])
    assert f"### Protocol {group['group']}" in json.dumps(report["content"])


def test_no_key_and_no_image_leaves(own: Path) -> None:
    command(own, "leaderboard", "--wandb", WANDB_API_KEY=KEY, WANDB_MODE="offline")
    command(own, *TRAIN, "2", "--name", "tracked", WANDB_API_KEY=KEY, WANDB_MODE="offline")
    files = [path for path in own.rglob("*") if path.is_file() and path.name != "run.json"]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    images = {path.name.partition("_")[0] for path in (own / "wandb").rglob("*.png")}
    assert images == {"intervals", "classes", "sweep"}, "figures, and no image of the data"


def test_images_go_out_when_asked_for(own: Path) -> None:
    command(own, *TRAIN, "2", "--name", "shown", "--wandb", "offline", "--wandb-images", "1")
    panels = {path.parent.name for path in (own / "wandb").rglob("1_*.png")}
    assert panels == {"worst", "best", "random"}


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with wandb_server() as running:
        yield running


def online(own: Path, server: WandbServer, *more: str) -> str:
    words = ["leaderboard", "--wandb", *more]
    return command(own, *words, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url).stderr


@pytest.mark.slow
def test_online_a_report_is_made_and_then_changed(own: Path, server: WandbServer) -> None:
    heard = online(own, server)
    assert f"{ENTITY}/wsss-platform/reports/Leaderboard--report1" in heard.replace("\n", "")
    kinds = {variables.get("displayName"): variables.get("jobType") for variables in server.runs.values()}
    assert kinds["leaderboard"] == "leaderboard"
    assert {"seed0", "seed1"} <= set(kinds)
    assert any("sweep/mean_iou" in body for bodies in server.streams.values() for body in bodies)
    assert not kept(own)["pending"]
    online(own, server)
    assert server.saved == [None, "report1"]
    command(own, "leaderboard", "--wandb")  # offline: the id must not be lost
    online(own, server)
    assert list(server.reports) == ["report1"]
    del server.reports["report1"]  # somebody deleted it
    online(own, server)
    assert server.saved[-1] is None
    assert KEY not in json.dumps([server.runs, server.reports, server.streams])


@pytest.mark.slow
def test_what_was_made_offline_is_made_at_the_next_login(own: Path, server: WandbServer) -> None:
    command(own, "leaderboard", "--wandb")
    assert kept(own)["pending"]
    online(own, server, "--entity", "team", "--project", "mine")
    report = json.loads((own / "wandb" / "report-mine.json").read_text())
    assert (report["entity"], report["project"], report["pending"]) == ("team", "mine", False)
    assert all(variables["entity"] == "team" for variables in server.runs.values())
    told = {variables["displayName"]: variables["project"] for variables in server.runs.values()}
    assert told == dict.fromkeys(("leaderboard", "seed0", "seed1"), "mine"), "they are where the report looks for them"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["broken", "slow"])
def test_a_report_that_cannot_be_made_is_kept(own: Path, server: WandbServer, fault: str) -> None:
    if fault == "broken":
        server.broken = True
    else:
        server.slow = threading.Event()
    heard = online(own, server).replace("\n", " ")
    assert "the report is kept in" in heard
    assert kept(own)["pending"]
    assert {variables.get("displayName") for variables in server.runs.values()} >= {"leaderboard", "seed0"}
    assert KEY not in heard


def test_where_without_wandb(own: Path) -> None:
    from wsss_platform.cli import run_command

    assert run_command(["leaderboard", "--storage", str(own), "--project", "mine"]) == 2
    assert run_command(["leaderboard", "--storage", str(own), "--wandb", "--project", "a/b"]) == 2
    assert not (own / "wandb").exists()


def test_runs_that_are_kept_offline_are_named(own: Path, server: WandbServer) -> None:
    command(own, "leaderboard", "--wandb")
    heard = online(own, server)
    assert "2 runs are kept offline; to send them: wandb sync" in heard.replace("\n", " ")
    assert {variables["displayName"] for variables in server.runs.values()} == {"leaderboard"}


def test_a_damaged_score_of_one_seed_leaves_the_row(own: Path) -> None:
    for file in own.glob("stages/score/*/confusion-*.parquet"):
        file.write_bytes(b"PAR1")
    (own / "runs" / "seed0" / "seeds.json").unlink(missing_ok=True)
    said = command(own, "leaderboard", "--json")
    (row,) = json.loads(said.stdout)["groups"][0]["rows"]
    assert row["interval"] is None
    assert "no interval of run seed0" in said.stderr


def test_an_interval_over_seeds_is_computed_once(own: Path) -> None:
    """As long as it is of the same scores."""

    def interval() -> list[float]:
        (row,) = json.loads(command(own, "leaderboard", "--json").stdout)["groups"][0]["rows"]
        return list(row["interval"])

    file = own / "runs" / "seed0" / "seeds.json"
    first = interval()
    said = json.loads(file.read_text())
    assert said["interval"] == first
    file.write_text(json.dumps({**said, "interval": [0.1, 0.2]}))
    assert interval() == [0.1, 0.2]
    file.write_text(json.dumps({"scores": ["others"], "interval": [0.1, 0.2]}))
    assert interval() == first
