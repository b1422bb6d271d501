"""What a job that was sent to a site has made, on its way home: records, scores, figures and pages; with `everything`
also weights, maps and masks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from wsss_platform.errors import InputError, RunError
from wsss_platform.run.records import RunRecord, read_records
from wsss_platform.store.artefacts import Store, check_name
from wsss_platform.upkeep.documents import Delivery
from wsss_platform.upkeep.mirror import Mirror

LIGHT = ("score",)
"""Kinds of artefacts that always go along."""
SEEN = (".html", ".png", ".md", ".json", ".jsonl", ".toml", ".csv")
"""Endings of the files of a study, a comparison or a run's images that go along: what a person reads."""
FOLDERS = ("studies", "comparisons")


def push_submission(store: Store, id: str, mirror: Mirror, everything: bool = False) -> Delivery:
    """Copy what a submission has made to another place, its list last.

    Raises:
        InputError: it has made no run.
        RunError: the place cannot be written.
    """
    records = [one for one in read_records(store).records if one.submission == check_name(id, "id of a submission")]
    if not records:
        raise InputError(f"submission {id!r}: it has made no run in {store.root}", field=id)
    size = 0
    for record in records:
        size += mirror.push(store, record.name, None if everything else LIGHT).size
    folders = [folder for folder in _folders(store, records) if (store.root / folder).is_dir()]
    for folder in folders:
        size += mirror.push_files(store.root, folder, _readable(store.root / folder))
    runs = [record.name for record in records]
    mirror.put(_list_of(id), json.dumps({"runs": runs, "folders": folders}).encode())
    return Delivery(submission=id, remote=mirror.url, runs=tuple(runs), folders=tuple(folders), size=size)


def pull_submission(store: Store, id: str, mirror: Mirror) -> Delivery:
    """Copy what `push_submission` has put there into the store; nothing of a run is overwritten.

    Raises:
        InputError: nothing of that submission is there.
        RunError: what is there is damaged or cannot be read.
    """
    listed = mirror.get(_list_of(check_name(id, "id of a submission")))
    if listed is None:
        raise InputError(f"{mirror.url}: nothing of submission {id!r} yet; a job delivers at its end", field=id)
    try:
        found = json.loads(listed)
        runs, folders = [check_name(str(name)) for name in found["runs"]], [_inside(name) for name in found["folders"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{mirror.url}/{_list_of(id)}: damaged: {error}") from None
    size = sum(mirror.pull(store, run).size for run in runs)
    size += sum(mirror.pull_files(store.root, folder) for folder in folders)
    return Delivery(submission=id, remote=mirror.url, runs=tuple(runs), folders=tuple(folders), size=size)


def _list_of(id: str) -> str:
    return f"submissions/{id}.json"


def _folders(store: Store, records: list[RunRecord]) -> Iterator[str]:
    """Of studies, comparisons and images that belong to these runs, relative to the store."""
    for study in sorted({record.study for record in records if record.study}):
        yield f"studies/{study}"
    scores = {key for record in records for stage, key in record.stages.items() if stage.startswith("score:")}
    for path in sorted((store.root / "comparisons").glob("*/comparison.json")):
        text = path.read_text(encoding="utf-8")
        if any(key in text for key in scores):
            yield f"comparisons/{path.parent.name}"
    for record in records:
        yield f"runs/{record.name}/images"


def _readable(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix in SEEN)


def _inside(folder: object) -> str:
    """A folder that a delivery may hold; ValueError for any other."""
    parts = str(folder).split("/")
    legal = (len(parts) == 2 and parts[0] in FOLDERS) or (
        len(parts) == 3 and (parts[0], parts[2]) == ("runs", "images")
    )
    if not legal:
        raise ValueError(f"{folder!r} is no folder of a delivery")
    check_name(parts[1], "name in a delivery")
    return "/".join(parts)
