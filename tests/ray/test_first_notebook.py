"""docs/notebooks/first_steps.ipynb runs from the first cell to the last in a kernel, with images, and quietly."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "first_steps.ipynb"
IMAGES = 4
"""Cells that end with one."""

pytestmark = pytest.mark.ray


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def images(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=1500, startup_timeout=300, resources=place).execute()  # raises where a cell fails
    assert images(notebook) == IMAGES
    assert not [output for output in outputs(notebook) if output.get("name") == "stdout"], "results are values"
    study = next(cell for cell in notebook.cells if "study.trials" in cell.source)
    assert "(0, 'complete', {}" in study.outputs[-1]["data"]["text/plain"]
    assert len(list((tmp_path / "first-steps" / "studies").iterdir())) == 1


def test_the_stored_one_has_its_images() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert images(notebook) == IMAGES
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert "/tmp/" not in NOTEBOOK.read_text(encoding="utf-8")
