"""Prove that a refactoring changes no result: two checkouts run the same short jobs, and all they leave is compared.

    python tests/golden/compare_checkouts.py BASE HEAD [--work DIR] [--only cam,fbr] [--labels 0.999] [--json FILE]

Not part of the test suite (pytest does not collect it); see README.md beside it. Artefacts are read here, not by the
code of a checkout, and found by the runs' records and the manifests, so content keys may differ. Exit codes: 0 all is
equal, 1 something differs, 2 a job failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from jobs import JOBS, SLOW, Checkout, checkout, job_folder, run_job
from numpy.typing import NDArray
from PIL import Image

Arrays = dict[str, NDArray[Any]]

STRICT = ("plan", "winner", "trials", "stages")
"""Kinds of items that must be equal whatever --labels accepts."""
MOVED = {"contrast.banks.0.": "bank.", "contrast.": ""}
"""In names of weights: FBR's plug-in was once stored under the names of what it is made of."""
BESIDE = ("low", "high", "a_wins", "images", "resamples", "seed")
"""What stands beside the three numbers of a comparison, in one form or the other."""
SAID = {"images": "images", "scores": "mean_iou", "a": "winner", "b": "reference"}
"""In the result of a search: today's name -> an older one."""
LATTICE = "masks.crf_backend"
"""Searches always took our lattice for a CRF; today they say so among what a setting changes."""
TYPES = {"uint8": ("u1", 255), "uint11": ("<u2", 2040), "float16": ("<f2", 1), "float32": ("<f4", 1)}
"""Precision of stored maps -> type, and the level of score 1."""


# --- reading --------------------------------------------------------------------------------------------


def artefacts(storage: Path) -> Iterator[tuple[str, str, Path]]:
    """(run, "stage of list", folder) of all that the recorded runs are made of; dropped artefacts are left out."""
    folders = {path.parent.name: path.parent for path in sorted(storage.glob("stages/*/*/manifest.json"))}
    for record in sorted(storage.glob("runs/*/run.json")):
        waiting = list(json.loads(record.read_text(encoding="utf-8"))["stages"].values())
        seen: dict[str, str] = {}
        while waiting:
            key = waiting.pop()
            if key in seen.values() or key not in folders:
                continue
            manifest = json.loads((folders[key] / "manifest.json").read_text(encoding="utf-8"))
            name = f"{manifest['stage']} of {manifest['list']}"
            if name in seen:
                raise RuntimeError(f"{record}: two artefacts are {name}")
            seen[name] = key
            waiting += manifest["inputs"].values()
            yield record.parent.name, name, folders[key]


def read_weights(folder: Path) -> Arrays:
    """Tensors by name, as it once was (`MOVED`)."""
    model = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)["model"]
    found: Arrays = {}
    for name, value in model.items():
        for now, before in MOVED.items():
            name = name.replace(now, before)
        found[name] = value.contiguous().numpy()
    return found


def read_maps(folder: Path) -> Arrays:
    """By image the classes and the scores: [class, row, column] of form "grid", all views in a row of form "views"."""
    found: Arrays = {}
    for path in sorted(folder.glob("maps-*.parquet")):
        for row in pq.read_table(path, use_threads=False).to_pylist():
            kind, top = np.dtype(TYPES[row["precision"]][0]), TYPES[row["precision"]][1]
            name = row["id"]
            found |= {f"{name} classes": np.frombuffer(row["classes"], np.uint8)}
            found |= {f"{name} size": np.array([row["height"], row["width"]])}
            if "recipe" in row:
                found |= {f"{name} scores": np.frombuffer(row["scores"], kind) / top}
                found |= {f"{name} {part}": np.frombuffer(row[part], "<f4") for part in ("offset", "scale")}
                continue
            # differences of neighbours modulo the type's bits: all lower bytes, then all upper ones, which are + 128
            whole = np.dtype(f"<u{kind.itemsize}")
            planes = np.frombuffer(row["scores"], np.uint8).reshape(kind.itemsize, -1, row["rows"], row["columns"])
            steps = planes[0].astype(whole)
            if kind.itemsize == 2:
                steps = steps + (planes[1].astype(whole) << 8) - whole.type(128)
            levels = steps.cumsum(axis=1, dtype=whole).cumsum(axis=2, dtype=whole).view(kind)
            found |= {f"{name} scores": levels / top}
    return found


def read_masks(folder: Path) -> Arrays:
    """Labels [row, column] by image."""
    return {path.stem: np.array(Image.open(path)) for path in sorted((folder / "masks").glob("*.png"))}


def read_counts(folder: Path) -> Arrays:
    """By table and image the cells that are not zero as sorted rows; a sweep's thresholds."""
    found: Arrays = {}
    for path in sorted([*folder.glob("confusion-*.parquet"), *folder.glob("sweep-*.parquet")]):
        table, kind = pq.read_table(path, use_threads=False), path.name.partition("-")[0]
        said = json.loads(table.schema.metadata[b"wsss_platform"])
        found[f"{kind} thresholds"] = np.array(said.get("thresholds", []))
        columns = [name for name in table.column_names if name != "id"]
        for row in table.to_pylist():
            cells = np.array([row[name] for name in columns], np.int64)
            found[f"{kind} {row['id']}"] = cells[:, np.lexsort(cells[::-1])]
    return found


READERS = {
    "train": ("weights", read_weights),
    "maps": ("maps", read_maps),
    "masks": ("masks", read_masks),
    "score": ("counts", read_counts),
}


def documents(job: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """What the commands with --json said, without keys, paths and times."""
    for number, command in enumerate(JOBS[job]):
        if "--json" not in command:
            continue
        said = json.loads((folder / f"{number:02}.out").read_text(encoding="utf-8"))
        name = command.partition("--name ")[2].split(" ")[0] or job
        if "winner" in said:
            changes = said["changes"].get(said["winner"]) or {}
            plain = {path: value for path, value in changes.items() if path != LATTICE}
            yield f"winner {name}", [said["winner"], plain, said["confirmed"]]
            yield f"search {name}", [[_renamed(rung) for rung in said["scores"]], _renamed(said["confirmation"])]
        elif "best" in said:
            best = said["best"] or {}
            yield f"winner {name}", [best.get("number"), best.get("changes")]
            yield f"trials {name}", [[row["number"], row["state"]] for row in said["trials"]]
            yield f"search {name}", [[row["changes"], row["objective"], row["fixed"]] for row in said["trials"]]
        else:
            stages = [[row["stage"], row["split"], row["cached"], row.get("shared")] for row in said["stages"]]
            times = {row["stage"]: row["times"] for row in said["cost"]["stages"]}
            inner = [said.get(key, said.get(key.replace("_", " "))) for key in ("inner_settings", "inner_axes")]
            yield f"plan {name}", [stages, times, *inner]


def _renamed(said: Any) -> Any:
    """Plain data under its older names; what was a number is that number, whatever interval came with it."""
    if not isinstance(said, dict):
        return said
    if "value" in said and "low" in said:
        return said["value"]
    kept = {name: value for name, value in said.items() if name not in BESIDE or "difference" not in said}
    return {SAID.get(name, name): _renamed(value) for name, value in kept.items()}


def items(job: str, folder: Path) -> dict[str, Any]:
    """Everything a job left: a name that begins with its kind -> arrays or plain data."""
    storage, found = folder / "storage", dict(documents(job, folder))
    for run, name, place in artefacts(storage):
        kind, read = READERS[place.parent.name]
        found[f"{kind} {run} {name}"] = read(place)
    for record in sorted(storage.glob("runs/*/run.json")):
        found[f"scores {record.parent.name}"] = json.loads(record.read_text(encoding="utf-8"))["scores"]
    made = [path.parents[1].name for path in storage.glob("stages/*/*/manifest.json")]
    if made:  # as many as before: stages that runs and trials share were made once
        found["stages made"] = {kind: made.count(kind) for kind in READERS}
    return found


# --- comparing ------------------------------------------------------------------------------------------


def hashed(value: Any) -> str:
    """12 digits of the content; floats of plain data count to their last bit."""
    if value is None:
        return "-"
    digest = hashlib.sha256()
    if isinstance(value, dict) and value and all(isinstance(array, np.ndarray) for array in value.values()):
        for name, array in sorted(value.items()):
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    else:
        digest.update(json.dumps(value, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def agreement(base: Arrays, head: Arrays) -> float:
    """The share of pixels with equal labels; those of a mask that one side lacks, or has in another size, differ."""
    same = total = 0
    for name in base.keys() | head.keys():
        pair = [side[name] for side in (base, head) if name in side]
        total += max(mask.size for mask in pair)
        if len(pair) == 2 and pair[0].shape == pair[1].shape:
            same += int((pair[0] == pair[1]).sum())
    return same / max(total, 1)


def difference(kind: str, base: Any, head: Any) -> str:
    """In words what differs between two items of a kind that are not equal."""
    if base is None or head is None:
        return f"missing in {'BASE' if base is None else 'HEAD'}"
    if kind not in ("weights", "maps", "counts"):
        return f"{json.dumps(base)[:90]} | {json.dumps(head)[:90]}"
    unlike = [
        name
        for name in base.keys() | head.keys()
        if name not in base or name not in head or base[name].shape != head[name].shape
    ]
    changed = [name for name in base.keys() - set(unlike) if not np.array_equal(base[name], head[name])]
    words = [f"{len(changed)} of {len(base)} arrays differ"] if changed else []
    words += [f"{len(unlike)} differ in name or shape, such as {min(unlike)}"] if unlike else []
    if changed and kind != "counts":
        most = max(float(np.abs(base[name].astype("f8") - head[name].astype("f8")).max()) for name in changed)
        words.append(f"largest difference {most:.3g}")
    return ", ".join(words) or "types differ"


def compare(job: str, base: Mapping[str, Any], head: Mapping[str, Any], labels: float | None) -> Iterator[list[str]]:
    """A row for each item: job, item, hash of base, hash of head, verdict, what differs."""
    for name in [*base, *(name for name in head if name not in base)]:
        kind, sides = name.split(" ")[0], (base.get(name), head.get(name))
        hashes, masks = [hashed(side) for side in sides], kind == "masks" and None not in sides
        share = agreement(base[name], head[name]) if masks else 0.0
        note = f"{100 * share:.4f} % of labels equal" if masks else ""
        if masks and len({label for mask in base[name].values() for label in np.unique(mask).tolist()}) < 2:
            note += ", but there is only one: this shows nothing"
        verdict = "equal"
        if hashes[0] != hashes[1]:
            note = note or difference(kind, *sides)
            allowed = labels is not None and None not in sides and kind not in STRICT
            verdict = "accepted" if allowed and (not masks or share >= (labels or 0)) else "DIFFERENT"
        yield [job, name, *hashes, verdict, note]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("base", type=Path, metavar="BASE", help="Path of the checkout before.")
    parser.add_argument("head", type=Path, metavar="HEAD", help="Path of the checkout after; BASE for a second run.")
    parser.add_argument("--work", type=Path, default=Path("/tmp/golden"), metavar="DIR", help="Keeps results.")
    parser.add_argument(
        "--only", default="", metavar="JOBS", help=f"Of {','.join(JOBS)}; default: all but {','.join(SLOW)}."
    )
    parser.add_argument("--labels", type=float, metavar="SHARE", help="Accept masks with this share of equal labels.")
    parser.add_argument("--jobs", type=int, default=2, help="Jobs at once, one core each.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write everything as JSON.")
    given = parser.parse_args()
    given.only = given.only.split(",") if given.only else [job for job in JOBS if job not in SLOW]
    if unknown := set(given.only) - set(JOBS):
        parser.error(f"--only: no such job: {', '.join(sorted(unknown))}")
    return given


def main() -> int:
    """Run what has no results yet, compare, print the table; the exit code."""
    given = arguments()
    work = given.work.resolve()
    base, head = checkout(given.base, work), checkout(given.head, work)
    if head.folder == base.folder:  # the same code twice: are results the same from run to run?
        head = Checkout(head.path, f"{head.words} again", base.folder.with_name(f"{base.folder.name}-again"), False)
    both = {"base": base, "head": head}
    for one in both.values():
        if not one.reusable:
            shutil.rmtree(one.folder, ignore_errors=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        running = {(side, job): pool.submit(run_job, one, job) for job in given.only for side, one in both.items()}
    failed = {side_job: future.exception() for side_job, future in running.items() if future.exception()}
    done = [job for job in given.only if not {("base", job), ("head", job)} & failed.keys()]
    rows: list[list[str]] = []
    for job in done:
        found = {side: items(job, job_folder(one, job)) for side, one in both.items()}
        rows += compare(job, found["base"], found["head"], given.labels)
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(5)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[5]]).rstrip())
    times: dict[str, dict[str, Any]] = {side: {} for side in both}
    for (side, job), future in running.items():
        times[side] |= {job: future.result()} if job in done else {}
    for side, one in both.items():
        wall, cpu = (sum(took[name] for took in times[side].values()) for name in ("seconds", "cpu_seconds"))
        reused = sum(took["reused"] for took in times[side].values())
        print(f"{side} {one.words} {one.path}: {wall:.0f} s, {cpu:.0f} s of processor; {reused} jobs reused")
    different = sum(row[4] == "DIFFERENT" for row in rows)
    print(f"{len(rows)} items, {different} DIFFERENT, {sum(row[4] == 'accepted' for row in rows)} accepted")
    if given.json:
        names = ("job", "item", "base", "head", "verdict", "note")
        table = [dict(zip(names, row, strict=True)) for row in rows]
        sides = {side: {"path": str(one.path), "commit": one.words, "jobs": times[side]} for side, one in both.items()}
        given.json.write_text(json.dumps({**sides, "labels": given.labels, "items": table}, indent=1))
    print("\n".join(f"{side}: {reason}" for (side, _), reason in failed.items()), end="", file=sys.stderr)
    return 2 if failed else int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
