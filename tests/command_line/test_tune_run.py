"""`tune RUN` as a user meets it: a search of rule and CRF on stored maps, and its best settings applied."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
from in_process import command, document

from the_command import TINY
from wsss_platform.api.experiments import fields_of

SPACE = """
[axes."masks.crf"]
kind = "categorical"
choices = ["none", "irn", "afa"]
reason = "for this test"

[axes."masks.crf_bilateral_weight"]
kind = "float"
low = 1.0
high = 9.0
reason = "for this test"
"""


def test_a_search_of_stored_maps(tmp_path: Path) -> None:
    storage = ("--storage", str(tmp_path / "storage"))
    space = tmp_path / "space.toml"
    space.write_text(SPACE)
    sized = [*TINY, "--set", "data.sample.train=20"]
    command("train", "cam", "--name", "first", *sized, "--until", "maps", "--local", *storage)
    asked = ("tune", "first", "--space", str(space), "--images", "10", "--confirm", "8", "--trials", "7", *storage)
    assert "wsss-platform maps first" in command(*asked, "--score-split", "val", code=2).stderr
    shown = document(*asked, "--dry-run")
    assert shown["candidates"][:3] == ["as configured", "irn", "afa"]
    assert not (tmp_path / "storage" / "studies").exists()
    found = document(*asked)
    assert found["settings"] == 8
    assert found["selection"] == "train ground truth"
    assert set(found["searched"]) == {"no CRF", *shown["candidates"]}
    assert found["evaluations"] == found["computed"] > 10 * 8
    assert json.loads((Path(found["folder"]) / "search.json").read_text()) == found
    assert (Path(found["curves"])).read_bytes()[:4] == b"\x89PNG"
    assert len(set(pq.read_table(found["results"])["setting"].to_pylist())) == 8
    assert " times (settings x images), 0 of them now" in command(*asked).stdout

    best = tomllib.loads(Path(found["best"]).read_text())
    assert best["masks"] == found["masks"]
    assert best["chosen"]["selection"] == "train ground truth"
    scored = document("score", "first", "--config", found["best"], "--local", *storage)
    assert scored["protocol"]["selection"] == "train ground truth"
    assert scored["protocol"]["crf"].split()[0] == best["masks"]["crf"]
    assert fields_of(Path(found["best"])) == {f"masks.{name}": value for name, value in best["masks"].items()}

    refused = command("tune", "first", "--data", "voc12", "--space", str(space), *storage, code=2)
    assert "--data: run 'first' has its own" in refused.stderr
