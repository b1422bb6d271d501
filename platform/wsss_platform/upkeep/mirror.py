"""Runs copied to and from another file system or object store, through pyarrow.fs: s3://, gs://, file://, ...

    <url>/runs/<name>/config.toml, run.json               the record last
    <url>/<folder>/<files>, files.json                    figures and pages of a study or a comparison
    <url>/submissions/<id>.json                           what a job that was sent to a site has made (delivery)
    <url>/stages/<kind>/<key>/<copy>/<files>, files.json, manifest.json   the manifest last; files.json has each file's
                                                                      size, sha256 and copy

A copy without its manifest is no copy, and what is read back or pulled is compared with its sha256. Every pushing has a
folder of its own (<copy>, 8 hex digits) that nobody writes again, and one object, files.json, says which is taken, so
two machines that push one artefact at once do not mix their files. The store that is worked on stays on a POSIX file
system (docs/decisions/0011-mirror.md).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs
from pydantic import ValidationError

from wsss_platform.errors import InputError, RunError, unknown
from wsss_platform.run.records import CONFIG, RECORD, RunRecord, read_record, write_record
from wsss_platform.store.artefacts import KEY, MANIFEST, Store, check_name

FILES = "files.json"
"""Beside a copy's manifest: name -> [bytes, sha256, copy] of each of its files."""
THREADS = 16
"""Files on the way at once; a masks artefact has one per image."""
_BLOCK = 1 << 20
_FLAT = ("s3", "gcs", "abfs")  # stores of objects, which need no folders

T = TypeVar("T")


@dataclass(frozen=True)
class Copied:
    """What a push or a pull did with a run."""

    run: str
    stages: tuple[str, ...]
    """Names of those that were copied."""
    there: tuple[str, ...]
    """Names of those that were there already."""
    lacking: tuple[str, ...]
    """Names of those that the source has not (never made, or dropped)."""
    files: int
    size: int
    """Bytes copied."""


class Mirror:
    """A place outside of the store."""

    def __init__(self, url: str) -> None:
        """
        Args:
            url: such as s3://bucket/folder, with pyarrow's options ("?endpoint_override=...&region=..."), or a folder.

        Raises:
            InputError: not a URL that pyarrow knows.
        """
        self.url = re.sub(r"//[^/@]*@", "//", url)  # for messages, without the key that an S3 URL may hold
        try:
            place = _one_request(url) if "://" in url else str(Path(url).expanduser().resolve())
            self._system, base = fs.FileSystem.from_uri(place)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise InputError(
                f"mirror {self.url!r}: {_first_line(error).replace(url, self.url)}", field=self.url
            ) from None
        self._base = PurePosixPath(base)

    def push(self, store: Store, run: str, kinds: Collection[str] | None = None) -> Copied:
        """Copy a run's record and every finished artefact of it that is not there yet, and read it back.

        Args:
            store: where the run is.
            run: its name.
            kinds: copy artefacts of these kinds only, such as ("score",); None: all.

        Raises:
            InputError: no such run, or another one of that name at the mirror.
            RunError: the mirror cannot be written, or what was read back differs.
        """
        record = read_record(store, run)
        there = self._record(run)
        if there is not None and not _same_work(there, record):
            raise InputError(
                f"{self.url} has another run {run!r} (of {there.started}); push to another folder", field=self.url
            )
        copied = self._copy_all(
            record,
            lambda kind, key: (kinds is None or kind in kinds) and store.has(kind, key),
            self._has,
            lambda kind, key: self._send(store, kind, key),
        )
        if there is None or not _goes_before(there, record):
            for name in (CONFIG, RECORD):
                self._write(PurePosixPath("runs", run, name), store.run_folder(run) / name)
        return copied

    def pull(self, store: Store, run: str) -> Copied:
        """Copy a run from the mirror into the store: nothing that is there is overwritten.

        Raises:
            InputError: no such run at the mirror, or another one of that name in the store.
            RunError: the mirror cannot be read, or a file is not what its sha256 says.
        """
        record = self._record(check_name(run))
        if record is None:
            found = [PurePosixPath(info.path).name for info in self._list(PurePosixPath("runs"))]
            raise unknown(f"run of {self.url}", run, found, run)
        if (store.run_folder(run) / RECORD).is_file():
            mine = read_record(store, run)
            if not _same_work(mine, record):
                raise InputError(
                    f"run {run!r} exists here and is another (of {mine.started}); use another --storage", field=run
                )
        copied = self._copy_all(
            record, self._has, lambda kind, key: store.has(kind, key), lambda kind, key: self._fetch(store, kind, key)
        )
        if not (store.run_folder(run) / RECORD).is_file() or _goes_before(record, read_record(store, run)):
            write_record(store, record)
        return copied

    def push_files(self, root: Path, folder: str, names: Iterable[str]) -> int:
        """Copy files of a folder below `root`, and read them back; the number of bytes."""
        place = PurePosixPath(folder)
        sent = {name: self._try(self._write, place / name, root / folder / name) for name in names}
        listed = {name: [size, digest, "."] for name, (size, digest) in sent.items()}
        self._try(self._put, place / FILES, json.dumps(listed).encode())
        return sum(size for size, _ in sent.values())

    def pull_files(self, root: Path, folder: str) -> int:
        """Copy what `push_files` has put there, each file checked; the number of bytes."""
        place = PurePosixPath(folder)
        listed = _listed(self._try(self._get, place / FILES), f"{self.url}/{place}/{FILES}")
        for name, (source, size, digest) in listed.items():
            target = root / folder / name
            partial = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.part")
            try:
                self._try(self._read, place / source, partial, size, digest)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return sum(size for _, size, _ in listed.values())

    def put(self, name: str, content: bytes) -> None:
        """Write one small object, such as "submissions/<id>.json"."""
        self._try(self._put, PurePosixPath(name), content)

    def get(self, name: str) -> bytes | None:
        """Read one small object; None where it is not there."""
        place = PurePosixPath(name)
        return self._try(self._get, place) if self._try(self._exists, place) else None

    def _copy_all(
        self,
        record: RunRecord,
        source_has: Callable[[str, str], bool],
        target_has: Callable[[str, str], bool],
        copy: Callable[[str, str], tuple[int, int]],
    ) -> Copied:
        copied: list[str] = []
        there: list[str] = []
        lacking: list[str] = []
        files = size = 0
        for stage, key in record.stages.items():
            kind = stage.split(":")[0]
            if self._try(target_has, kind, key):
                there.append(stage)
            elif not self._try(source_has, kind, key):
                lacking.append(stage)
            else:
                count, length = self._try(copy, kind, key)
                copied.append(stage)
                files, size = files + count, size + length
        return Copied(record.name, tuple(copied), tuple(there), tuple(lacking), files, size)

    def _try(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            return work(*arguments)
        except (
            pa.ArrowException,
            OSError,
            ValueError,
            TypeError,
            AttributeError,
            KeyError,
        ) as error:  # also odd content
            raise RunError(f"{self.url}: {type(error).__name__}: {_first_line(error)}") from None

    def _has(self, kind: str, key: str) -> bool:
        return self._exists(_place(kind, key) / MANIFEST)

    def _send(self, store: Store, kind: str, key: str) -> tuple[int, int]:
        """Copy one artefact; (files, bytes)."""
        artefact, copy = store.open(kind, key), uuid.uuid4().hex[:8]
        paths = sorted(path for path in artefact.folder.rglob("*") if path.is_file())
        names = [path.relative_to(artefact.folder).as_posix() for path in paths]
        if MANIFEST not in names:  # dropped meanwhile
            return 0, 0

        def send(name: str) -> tuple[int, str]:
            return self._write(_place(kind, key) / copy / name, artefact.folder / name)

        with ThreadPoolExecutor(THREADS) as pool:
            sent = dict(zip(names, pool.map(send, names), strict=True))
        if self._has(kind, key):  # another machine was quicker; its copy is as good
            self._system.delete_dir(self._at(_place(kind, key) / copy))
            return 0, 0
        listed = {name: [*entry, copy] for name, entry in sent.items()}
        self._put(_place(kind, key) / FILES, json.dumps(listed).encode())
        self._write(_place(kind, key) / MANIFEST, artefact.folder / MANIFEST)
        sizes = [size for name, (size, _) in sent.items() if name != MANIFEST]
        return len(sizes), sum(sizes)

    def _fetch(self, store: Store, kind: str, key: str) -> tuple[int, int]:
        """Copy one artefact into the store; (files, bytes)."""
        place = _place(kind, key)
        with store.building(kind, key) as partial:
            if partial is None:  # another process made it while we waited
                return 0, 0
            listed = _listed(self._get(place / FILES), f"{self.url}/{place}/{FILES}")
            folder = partial.with_name(f"{key}.trash-{uuid.uuid4().hex[:8]}")  # what a crash leaves is rubbish; see gc
            try:

                def fetch(name: str) -> None:
                    source, size, digest = listed[name]
                    self._read(place / source, folder / name, size, digest)

                with ThreadPoolExecutor(THREADS) as pool:
                    list(pool.map(fetch, listed))
                manifest = json.loads((folder / MANIFEST).read_bytes())  # of the same copy as the files
                (folder / MANIFEST).unlink()  # the commit writes it
                if (manifest.get("kind"), manifest.get("key")) != (kind, key):
                    raise RunError(f"{self.url}/{place}/{MANIFEST}: not the manifest of this key")
                if short := [name for name in listed if name != MANIFEST and not (folder / name).is_file()]:
                    raise RunError(f"{folder / short[0]}: gone before it was whole")
                shutil.rmtree(partial)
                folder.rename(partial)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            store.commit(kind, key, manifest)
        sizes = [size for name, (_, size, _) in listed.items() if name != MANIFEST]
        return len(sizes), sum(sizes)

    def _record(self, run: str) -> RunRecord | None:
        place = PurePosixPath("runs", check_name(run), RECORD)
        if not self._try(self._exists, place):
            return None
        try:
            record = RunRecord.model_validate_json(self._try(self._get, place))
        except ValidationError as error:
            raise InputError(
                f"{self.url}/{place}: damaged record: {error.errors()[0]['msg']}", field=self.url
            ) from None
        for stage, key in record.stages.items():
            check_name(stage.split(":")[0], f"{self.url}/{place}: stage")
            if not KEY.fullmatch(key):
                raise InputError(f"{self.url}/{place}: stages.{stage}: {key!r} is no content key", field=self.url)
        return record

    def _exists(self, place: PurePosixPath) -> bool:
        return bool(self._system.get_file_info(self._at(place)).type == fs.FileType.File)

    def _list(self, place: PurePosixPath) -> Iterable[Any]:
        return self._try(self._system.get_file_info, fs.FileSelector(self._at(place), allow_not_found=True))

    def _write(self, place: PurePosixPath, source: Path) -> tuple[int, str]:
        """Send a file and read it back; its bytes and sha256."""
        self._make_folder(place)
        with source.open("rb") as given, self._system.open_output_stream(self._at(place)) as out:
            size, digest = _pump(given.read, out.write)
        with self._system.open_input_stream(self._at(place)) as back:
            if _pump(back.read, lambda block: None) != (size, digest):
                raise RunError(f"{self.url}/{place}: what was read back is not what was written")
        return size, digest

    def _read(self, place: PurePosixPath, target: Path, size: int, digest: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._system.open_input_stream(self._at(place)) as given, target.open("wb") as out:
            if _pump(given.read, out.write) != (size, digest):
                raise RunError(f"{self.url}/{place}: damaged: its size or sha256 is not that of {FILES}")

    def _put(self, place: PurePosixPath, data: bytes) -> None:
        self._make_folder(place)
        with self._system.open_output_stream(self._at(place)) as out:
            out.write(data)

    def _get(self, place: PurePosixPath) -> bytes:
        with self._system.open_input_stream(self._at(place)) as given:
            return bytes(given.read())

    def _make_folder(self, place: PurePosixPath) -> None:
        if self._system.type_name not in _FLAT:
            self._system.create_dir(self._at(place.parent), recursive=True)

    def _at(self, place: PurePosixPath) -> str:
        return str(self._base / place)


def _same_work(one: RunRecord, other: RunRecord) -> bool:
    """Whether two records are of one run; of jobs that were sent to a site, also where a second one went on with it."""
    sent = one.submission is not None and other.submission is not None
    return one.stages == other.stages and (sent or one.started == other.started)


def _goes_before(one: RunRecord, other: RunRecord) -> bool:
    """Whether the first of two records of one run says more: it has finished, or both have not and it is later."""
    if (one.status == "finished") != (other.status == "finished"):
        return one.status == "finished"
    return one.started > other.started


def _place(kind: str, key: str) -> PurePosixPath:
    return PurePosixPath("stages", kind, key)


def _listed(data: bytes, where: str) -> dict[str, tuple[PurePosixPath, int, str]]:
    """The file list of a copy: name -> (where it lies beside this list, bytes, sha256).

    Raises:
        RunError: a name in it would lead out of the artefact's folder.
    """
    listed = {
        str(name): (PurePosixPath(str(copy), str(name)), int(size), str(digest))
        for name, (size, digest, copy) in json.loads(data).items()
    }
    for name, (source, _, _) in listed.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in source.parts or not path.parts or "\\" in name or source.is_absolute():
            raise RunError(f"{where}: {name!r} is no name inside an artefact")
    return listed


def _pump(read: Callable[[int], bytes], write: Callable[[bytes], object]) -> tuple[int, str]:
    """Copy a stream; its bytes and sha256."""
    digest, size = hashlib.sha256(), 0
    while block := read(_BLOCK):
        digest.update(block)
        write(block)
        size += len(block)
    return size, digest.hexdigest()


def _one_request(url: str) -> str:
    """An S3 URL that sends small files in one request instead of three."""
    if not url.startswith("s3://") or "allow_delayed_open" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}allow_delayed_open=true"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
