"""Runs on maps or masks that somebody else made: methods without training, and the chunk work that reads the files.

    folder of maps ─► maps ─► masks ─► score            folder of masks ─► masks ─► score

The key of what is read is the content of the files, the split and how they are read (docs/decisions/0007). No Ray here.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from wsss_platform.config import ImportedConfig, ImportedMasksConfig, MethodConfig, fingerprint
from wsss_platform.errors import InputError
from wsss_platform.method import Method, Phase
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.run.chunks.images import ImageWork
from wsss_platform.store.artefacts import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wsss_platform.data import Split
    from wsss_platform.maps.foreign.folder import ForeignFolder
    from wsss_platform.maps.storage import StoredMap
    from wsss_platform.masks.foreign import MaskFolder

REMARKS = "imported.json"
"""In an imported artefact: what was resampled, dropped or lacking of maps, what is outside the labels of masks, by
image."""


def _build(*_: Any) -> NoReturn:
    raise AssertionError("what was imported has no network")


def _phases(config: MethodConfig) -> tuple[Phase, ...]:
    return (Phase("imported", _build, sections=("train", "loss")),)


def _method(name: str, what: str, config: type[MethodConfig]) -> Method:
    return Method(
        name=name,
        title=f"{what.capitalize()} that another codebase made",
        paper=f"none; the protocol says what is known of the {what}",
        revision=1,
        config=config,
        phases=_phases,
        folder=Path(__file__).parent / name,  # there are no presets
    )


MAPS = _method("imported", "maps", ImportedConfig)
MASKS = _method("imported-masks", "masks", ImportedMasksConfig)
METHODS = {method.name: method for method in (MAPS, MASKS)}
"""Not in the catalogue: they cannot be trained, and `import-maps` and `import-masks` alone make their configs."""


class ImportedFolder(Protocol):
    """Files of images that somebody else made."""

    @property
    def folder(self) -> Path:
        """Where they are."""

    @property
    def form(self) -> str:
        """What they are, in errors."""

    def files(self, id: str) -> tuple[Path, ...]:
        """The image's files, sorted; none where it has none."""


def content_of(digests: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """sha256 over (image id, file name -> sha256 of its bytes), in the split's order."""
    return fingerprint([[id, sorted(files.items())] for id, files in digests])


def scan(source: ImportedFolder, ids: Sequence[str], may_lack: int = 0) -> str:
    """The content of the listed images' files; an image may have none where that is allowed.

    Raises:
        InputError: more than `may_lack` images without a file, all of them by name, or a file that cannot be read.
    """
    check_files(source, ids, may_lack, "maps")
    return content_of(_digests(source, ids))


def check_files(source: ImportedFolder, ids: Sequence[str], may_lack: int, what: str) -> None:
    """The InputError of `scan` where too many images have no file; reads none."""
    missing = [id for id in ids if not source.files(id)]
    if len(missing) > may_lack or len(missing) == len(ids):
        raise InputError(
            f"{source.folder}: no {source.form} {what} of {len(missing)} of {len(ids)} images: {' '.join(missing)}",
            field=source.folder,
        )


def _digests(source: ImportedFolder, ids: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """(image id, file name -> sha256), in the given order."""
    from wsss_platform.data.reading import digests

    files = {id: source.files(id) for id in ids}
    found = iter(digests(path for id in ids for path in files[id]))
    return [(id, {_name(source, path): next(found) for path in files[id]}) for id in ids]


def _name(source: ImportedFolder, path: Path) -> str:
    return path.relative_to(source.folder).as_posix()


@dataclass(frozen=True)
class ImportWork(ImageWork):
    """A folder of files -> one output per chunk, with a JSON file of what was read and changed."""

    @cached_property
    def _split(self) -> Split:
        return self.experiment.dataset.split(self.list_name)

    @property
    @abstractmethod
    def _source(self) -> ImportedFolder:
        """The folder."""

    @abstractmethod
    def _target(self, index: int) -> Path:
        """What is there when the chunk of that number is done."""

    @abstractmethod
    def _take(self, image: str, contents: Sequence[bytes]) -> tuple[Any, dict[str, Any]]:
        """What is made of an image's files, and the remarks on it."""

    @abstractmethod
    def _write(self, target: Path, taken: Sequence[Any]) -> None:
        """Write the images of one chunk."""

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Read, check and write one chunk."""
        target = self._target(chunk.index)
        if self._done(chunk, target):
            return ChunkReport(chunk.index, len(chunk.ids))
        read, failures = self._each(chunk, self._read)
        write_atomic(self.folder / f"import-{chunk.index:06d}.json", json.dumps([said for _, said in read]))
        self._write(target, [taken for taken, _ in read])
        return self._report(chunk, len(read), failures)

    def _read(self, image: str) -> tuple[Any, dict[str, Any]]:
        source = self._source
        paths = source.files(image)
        try:
            contents = [path.read_bytes() for path in paths]
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read ({error.strerror})", field=error.filename) from None
        if not paths:
            raise InputError(f"{source.folder}: no {source.form} file of image {image}", field=source.folder)
        taken, remarks = self._take(image, contents)
        files = {
            _name(source, path): hashlib.sha256(data).hexdigest() for path, data in zip(paths, contents, strict=True)
        }
        return taken, {"id": image, "files": files, **remarks}


@dataclass(frozen=True)
class ImportMapsWork(ImportWork):
    """A folder of maps -> stored maps, one Parquet file per chunk."""

    @cached_property
    def _source(self) -> ForeignFolder:
        from wsss_platform.maps.foreign.folder import ForeignFolder

        section = _maps_config(self.experiment).imported
        return ForeignFolder(Path(section.folder), section.form, self.experiment.dataset.classes)

    def _target(self, index: int) -> Path:
        from wsss_platform.maps.storage import maps_file

        return maps_file(self.folder, index)

    def _take(self, image: str, contents: Sequence[bytes]) -> tuple[StoredMap, dict[str, Any]]:
        from wsss_platform.maps.foreign.fit import fit

        split, section = self._split, _maps_config(self.experiment).imported
        found = self._source.read(image, contents)
        stored, remarks = fit(image, found, split.size(image), split.labels(image), split.classes, section)
        return stored, asdict(remarks)

    def _write(self, target: Path, taken: Sequence[StoredMap]) -> None:
        from wsss_platform.maps.storage import write_maps

        write_maps(target, taken)


@dataclass(frozen=True)
class ImportMasksWork(ImportWork):
    """A folder of masks -> palette PNG masks."""

    @cached_property
    def _source(self) -> MaskFolder:
        from wsss_platform.masks.foreign import MaskFolder

        return MaskFolder(Path(_masks_config(self.experiment).imported.folder))

    def _target(self, index: int) -> Path:
        return self.folder / f"chunk-{index:06d}.done"

    def _take(self, image: str, contents: Sequence[bytes]) -> tuple[tuple[str, NDArray[np.uint8]], dict[str, Any]]:
        from wsss_platform.masks.foreign import labels, outside, read_numbers

        where, split = str(self._source.folder / f"{image}.png"), self._split
        section = _masks_config(self.experiment).imported
        numbers = read_numbers(contents[0], where, section.palette)
        height, width = split.size(image)
        if numbers.shape != (height, width):
            found = f"{numbers.shape[1]}x{numbers.shape[0]}"
            raise InputError(f"{where}: a mask of {found}, its image is {width}x{height}", field=where)
        mask = labels(numbers, section.ids, split.classes, where)
        return (image, mask), {"outside": [split.classes[index] for index in outside(mask, split.labels(image))]}

    def _write(self, target: Path, taken: Sequence[tuple[str, NDArray[np.uint8]]]) -> None:
        from wsss_platform.data.palette import mask_file, write_mask

        (self.folder / "masks").mkdir(exist_ok=True)
        for image, mask in taken:
            write_mask(mask_file(self.folder, image), mask)
        write_atomic(target, "")


def import_work(experiment: Experiment, phase: Phase, list_name: str, folder: Path) -> ImportWork:
    """Of the stage that a run of imported maps or masks begins with."""
    work = ImportMasksWork if isinstance(experiment.config, ImportedMasksConfig) else ImportMapsWork
    return work(experiment, phase, list_name, folder)


def finish(work: ImportWork, ids: Sequence[str]) -> None:
    """Check that what was read is what the key says, and gather the remarks.

    Raises:
        InputError: the files changed since their content was taken; what was read of them is thrown away.
    """
    config, folder = work.experiment.config, work.folder
    assert isinstance(config, ImportedConfig | ImportedMasksConfig)
    of_masks = isinstance(config, ImportedMasksConfig)
    parts = sorted(folder.glob("import-*.json"))
    rows = [row for path in parts for row in json.loads(path.read_text(encoding="utf-8"))]
    said = {row["id"]: row for row in rows}
    failed = dict(_digests(work._source, [id for id in ids if id not in said]))
    if content_of((id, said[id]["files"] if id in said else failed[id]) for id in ids) != config.imported.content:
        for path in (*folder.glob("maps-*.parquet"), *folder.glob("chunk-*.done"), *parts):
            path.unlink()
        command = "import-masks" if of_masks else "import-maps"
        raise InputError(
            f"{config.imported.folder}: files changed while they were imported; run `wsss-platform {command}` again",
            field=config.imported.folder,
        )
    remarks = {
        kind: {id: said[id][kind] for id in ids if id in said and said[id][kind]}
        for kind in (("outside",) if of_masks else ("resampled", "dropped", "lacking"))
    }
    write_atomic(folder / REMARKS, json.dumps(remarks, indent=1))


def remarks_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What an import remarked, such as "resampled" -> image id -> what."""
    found: dict[str, dict[str, Any]] = json.loads((folder / REMARKS).read_text(encoding="utf-8"))
    return found


def _maps_config(experiment: Experiment) -> ImportedConfig:
    assert isinstance(experiment.config, ImportedConfig)
    return experiment.config


def _masks_config(experiment: Experiment) -> ImportedMasksConfig:
    assert isinstance(experiment.config, ImportedMasksConfig)
    return experiment.config
