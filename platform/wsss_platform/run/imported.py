"""Runs on maps that somebody else made: a method without training, and the chunk work that reads the maps.

    folder of maps ─► maps ─► masks ─► score

The maps' key is the content of the files, the split and how they are read (docs/decisions/0007). No Ray here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from wsss_platform.config import ImportedConfig, fingerprint
from wsss_platform.errors import InputError
from wsss_platform.method import Method, Phase
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.run.chunks.images import ImageWork
from wsss_platform.store.artefacts import write_atomic

if TYPE_CHECKING:
    from wsss_platform.data import Split
    from wsss_platform.maps.foreign.folder import ForeignFolder
    from wsss_platform.maps.storage import StoredMap

NAME = "imported"
"""The method of such runs, in records."""
REMARKS = "imported.json"
"""In an imported maps artefact: what was resampled, dropped or lacking, by image."""


def _build(*_: Any) -> NoReturn:
    raise AssertionError("imported maps have no network")


def _phases(config: ImportedConfig) -> tuple[Phase, ...]:
    return (Phase(NAME, _build, sections=("train", "loss")),)


METHOD = Method(
    name=NAME,
    title="Maps that another codebase made",
    paper="none; the protocol says what is known of the maps",
    revision=1,
    config=ImportedConfig,
    phases=_phases,
    folder=Path(__file__).parent / NAME,  # there are no presets
)
"""Not in the catalogue: it cannot be trained, and `import-maps` alone makes its config."""


def content_of(digests: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """sha256 over (image id, file name -> sha256 of its bytes), in the split's order."""
    return fingerprint([[id, sorted(files.items())] for id, files in digests])


def scan(source: ForeignFolder, ids: Sequence[str], may_lack: int = 0) -> str:
    """The content of the listed images' files; an image may have none where that is allowed.

    Raises:
        InputError: more than `may_lack` images without a file, all of them by name, or a file that cannot be read.
    """
    files = {id: source.files(id) for id in ids}
    missing = [id for id, found in files.items() if not found]
    if len(missing) > may_lack or len(missing) == len(ids):
        raise InputError(
            f"{source.folder}: no {source.form} maps of {len(missing)} of {len(ids)} images: {' '.join(missing)}",
            field=source.folder,
        )
    return content_of(_digests(source, ids))


def _digests(source: ForeignFolder, ids: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """(image id, file name -> sha256), in the given order."""
    from wsss_platform.data.reading import digests

    files = {id: source.files(id) for id in ids}
    found = iter(digests(path for id in ids for path in files[id]))
    return [(id, {_name(source, path): next(found) for path in files[id]}) for id in ids]


def _name(source: ForeignFolder, path: Path) -> str:
    return path.relative_to(source.folder).as_posix()


@dataclass(frozen=True)
class ImportWork(ImageWork):
    """A folder of maps -> stored maps, one Parquet file per chunk, with a JSON file of what was read and changed."""

    @cached_property
    def _source(self) -> ForeignFolder:
        return _source(self.experiment)

    @cached_property
    def _split(self) -> Split:
        return self.experiment.dataset.split(self.list_name)

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Read, check and write the maps of one chunk."""
        from wsss_platform.maps.storage import maps_file, write_maps

        target = maps_file(self.folder, chunk.index)
        if self._done(chunk, target):
            return ChunkReport(chunk.index, len(chunk.ids))
        read, failures = self._each(chunk, self._read)
        write_atomic(self.folder / f"import-{chunk.index:06d}.json", json.dumps([said for _, said in read]))
        write_maps(target, [stored for stored, _ in read])
        return self._report(chunk, len(read), failures)

    def _read(self, image: str) -> tuple[StoredMap, dict[str, Any]]:
        from wsss_platform.maps.foreign.fit import fit

        source, split = self._source, self._split
        paths = source.files(image)
        try:
            contents = [path.read_bytes() for path in paths]
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read ({error.strerror})", field=error.filename) from None
        if not paths:
            raise InputError(f"{source.folder}: no {source.form} maps of image {image}", field=source.folder)
        section = _config(self.experiment).imported
        stored, remarks = fit(
            image,
            source.read(image, contents),
            split.size(image),
            split.labels(image),
            split.classes,
            section,
        )
        files = {
            _name(source, path): hashlib.sha256(data).hexdigest() for path, data in zip(paths, contents, strict=True)
        }
        return stored, {"id": image, "files": files, **asdict(remarks)}


def finish(experiment: Experiment, ids: Sequence[str], folder: Path) -> None:
    """Check that what was read is what the key says, and gather the remarks.

    Raises:
        InputError: the files changed since their content was taken; what was read of them is thrown away.
    """
    parts = sorted(folder.glob("import-*.json"))
    rows = [row for path in parts for row in json.loads(path.read_text(encoding="utf-8"))]
    said = {row["id"]: row for row in rows}
    section = _config(experiment).imported
    failed = dict(_digests(_source(experiment), [id for id in ids if id not in said]))
    if content_of((id, said[id]["files"] if id in said else failed[id]) for id in ids) != section.content:
        for path in (*folder.glob("maps-*.parquet"), *parts):
            path.unlink()
        raise InputError(
            f"{section.folder}: files changed while they were imported; run `wsss-platform import-maps` again",
            field=section.folder,
        )
    remarks = {
        kind: {id: said[id][kind] for id in ids if id in said and said[id][kind]}
        for kind in ("resampled", "dropped", "lacking")
    }
    write_atomic(folder / REMARKS, json.dumps(remarks, indent=1))


def remarks_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What an import changed or lacked: "resampled", "dropped", "lacking" -> image id -> what."""
    found: dict[str, dict[str, Any]] = json.loads((folder / REMARKS).read_text(encoding="utf-8"))
    return found


def _source(experiment: Experiment) -> ForeignFolder:
    from wsss_platform.maps.foreign.folder import ForeignFolder

    section = _config(experiment).imported
    return ForeignFolder(Path(section.folder), section.form, experiment.dataset.classes)


def _config(experiment: Experiment) -> ImportedConfig:
    assert isinstance(experiment.config, ImportedConfig)
    return experiment.config
