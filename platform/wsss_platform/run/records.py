"""The local record of every run: what ran, on what, with which protocol, and what it scored.

storage/runs/<name>/run.json       the record, scrubbed of secrets; environment variables are never stored
storage/runs/<name>/config.toml    its config, as `wsss-platform train --recipe` accepts it
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import tomli_w
from pydantic import Field, ValidationError, field_validator, model_validator

from wsss_platform.config import Section, fingerprint
from wsss_platform.errors import InputError, unknown
from wsss_platform.plan.protocol import Protocol
from wsss_platform.run.scrub import scrub, scrub_command
from wsss_platform.store.artefacts import Store, check_name, write_atomic

if TYPE_CHECKING:
    from wsss_platform.plan.experiment import Experiment

RECORD = "run.json"
CONFIG = "config.toml"
SUBMISSION = "WSSS_SUBMISSION"
"""Environment variable of a job that was sent to a site: its id."""
COMMIT = "WSSS_COMMIT"
"""The same: the commit of the code that was sent, with "+" where changes were sent, too."""


class FixedScore(Section):
    """IoU of the masks as written, at the config's own background rule."""

    mean_iou: float = Field(ge=0, le=1)
    """Over the classes of the ground truth and background, 0..1."""
    per_class: dict[str, float | None]
    """Class name -> IoU 0..1; None for a class that is neither in the ground truth nor in the masks."""
    interval: tuple[float, float] | None = None
    """Bootstrap interval of the mean over images, 0..1, when one was computed."""


class BestScore(Section):
    """The best of the exact background sweep: an oracle, chosen with the ground truth it is scored on."""

    threshold: float
    """Background score 0..1."""
    mean_iou: float = Field(ge=0, le=1)
    """At that threshold, before any CRF."""


class Scores(Section):
    """Both numbers, always reported beside each other."""

    fixed: FixedScore
    best: BestScore | None = None
    """None where there is no sweep."""


class RunRecord(Section):
    """One run or trial. `command` and `reason` are scrubbed whenever a record is built or read."""

    version: Literal[1] = 1
    """Of the record's form; a newer one is refused by name instead of misread."""
    name: str
    """Of the run; its folder under storage/runs."""
    kind: Literal["run", "trial"] = "run"
    study: str | None = None
    """The study a trial belongs to."""
    method: str
    revision: int
    config: dict[str, Any]
    """The whole method config as plain data."""
    data: dict[str, Any]
    """The data config as plain data."""
    seed: int
    workers: int = Field(ge=1)
    protocol: Protocol
    stages: dict[str, str] = Field(default_factory=dict)
    """Stage name, such as "train:seed" -> content key."""
    scores: Scores | None = None
    objective: float | None = None
    """Of a trial: what its study maximises."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Stage name -> wall seconds it took when it was made, by this run or an earlier one."""
    software: dict[str, str] = Field(default_factory=dict)
    """Package -> version."""
    commit: str | None = None
    """Git commit of the working directory, with "+" when it had changes."""
    device: str = ""
    """What it ran on, in words."""
    started: str
    """ISO 8601, UTC."""
    finished: str | None = None
    """ISO 8601, UTC."""
    status: Literal["running", "finished", "failed"] = "running"
    reason: str | None = None
    """Why it failed."""
    command: str = ""
    """As typed, shell-quoted."""
    submission: str | None = None
    """The job that made it, where it was sent to a site (`submit`)."""

    @field_validator("command", "reason")
    @classmethod
    def _scrubbed(cls, value: str | None) -> str | None:
        return None if value is None else scrub(value)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        return check_name(value)

    @field_validator("submission")
    @classmethod
    def _plain_submission(cls, value: str | None) -> str | None:
        return None if value is None else check_name(value, "id of a submission")

    @field_validator("started", "finished")
    @classmethod
    def _time(cls, value: str | None) -> str | None:
        if value is not None:
            datetime.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "trial" and self.study is None:
            raise ValueError("a trial names its study")
        if self.status == "failed" and not self.reason:
            raise ValueError("a failed run says its reason")
        return self

    @property
    def config_key(self) -> str:
        """12 hex digits, equal for runs that differ in nothing but the seed."""
        return fingerprint([self.method, self.revision, self.config, self.workers, self.protocol])[:12]

    def done(self, scores: Scores | None, seconds: Mapping[str, float], objective: float | None = None) -> RunRecord:
        """The record of the run when it has finished."""
        return self._with(status="finished", scores=scores, seconds=dict(seconds), objective=objective, finished=now())

    def failed(self, reason: str, seconds: Mapping[str, float] | None = None) -> RunRecord:
        """The record of the run when it has failed."""
        return self._with(
            status="failed", reason=reason or "no reason given", seconds=dict(seconds or {}), finished=now()
        )

    def _with(self, **changes: Any) -> RunRecord:
        return RunRecord.model_validate({**self.model_dump(), **changes})


class Records(NamedTuple):
    """What a storage folder holds."""

    records: tuple[RunRecord, ...]
    """Oldest first."""
    damaged: tuple[tuple[str, str], ...]
    """(name of a run whose record cannot be read, why)."""


def start_record(
    experiment: Experiment,
    name: str,
    protocol: Protocol,
    *,
    study: str | None = None,
    device: str = "",
    command: Sequence[str] = (),
) -> RunRecord:
    """The record of a run that begins now; a trial when it names a study."""
    around = _around(Path.cwd())
    return RunRecord(
        name=name,
        kind="run" if study is None else "trial",
        study=study,
        method=experiment.method.name,
        revision=experiment.method.revision,
        config=experiment.config.model_dump(mode="json"),
        data=experiment.data.model_dump(mode="json"),
        seed=experiment.seed,
        workers=experiment.workers,
        protocol=protocol,
        stages={stage.name: stage.key for stage in experiment.stages},
        software=dict(around.software),
        commit=os.environ.get(COMMIT) or around.commit,
        device=device or around.device,
        started=now(),
        command=scrub_command(command),
        submission=os.environ.get(SUBMISSION) or None,
    )


class _Around(NamedTuple):
    software: dict[str, str]
    commit: str | None
    device: str


@lru_cache(maxsize=8)
def _around(folder: Path) -> _Around:
    """Read once: a study starts a record per trial and seed, and what this process runs was loaded before."""
    return _Around(software(), git_commit(folder), cpu_words())


def write_record(store: Store, record: RunRecord) -> Path:
    """Write config.toml and then run.json, each whole or not at all; returns the run's folder."""
    folder = store.run_folder(record.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / CONFIG, tomli_w.dumps(_without_none(record.config)))
    write_atomic(folder / RECORD, record.model_dump_json(indent=1))
    return folder


def read_record(store: Store, name: str) -> RunRecord:
    """The record of a run.

    Raises:
        InputError: no such run (with the nearest name), or a record that is damaged or of a newer platform.
    """
    path = store.run_folder(name) / RECORD
    try:
        stat = path.stat()
        return _read(path, (stat.st_mtime_ns, stat.st_ino, stat.st_size))
    except FileNotFoundError:
        raise unknown("run", name, _names(store), name) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        more = f" and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise InputError(
            f"{path}: damaged record: {field + ': ' if field else ''}{first['msg']}{more}", field=path
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", field=path) from None


_PARSED: dict[Path, tuple[tuple[int, int, int], RunRecord]] = {}


def _read(path: Path, stamp: tuple[int, int, int]) -> RunRecord:
    """After each trial a study reads all records; each is parsed again only when it was written again."""
    known = _PARSED.get(path)
    if known is None or known[0] != stamp:
        known = _PARSED[path] = stamp, RunRecord.model_validate_json(path.read_bytes())
    return known[1]


def read_records(store: Store) -> Records:
    """Every record of the storage, oldest first; a damaged one is listed by name and does no harm."""
    records: list[RunRecord] = []
    damaged: list[tuple[str, str]] = []
    for name in _names(store):
        try:
            records.append(read_record(store, name))
        except InputError as error:
            damaged.append((name, str(error)))
    return Records(tuple(sorted(records, key=lambda record: (record.started, record.name))), tuple(damaged))


def _names(store: Store) -> list[str]:
    return sorted(path.parent.name for path in (store.root / "runs").glob(f"*/{RECORD}"))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value if item is not None]
    return value


def now() -> str:
    """The time, ISO 8601 in UTC to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def software() -> dict[str, str]:
    """Versions of Python and of the packages whose release can change numbers; imports none of them."""
    versions = {"python": platform.python_version()}
    for package in ("wsss-platform", "torch", "torchvision", "ray", "optuna", "numpy", "opencv-python-headless"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit(folder: Path) -> str | None:
    """The commit checked out in `folder` ("+" when tracked files have changes), or None outside of git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            ["git", "-C", str(folder), *arguments],  # noqa: S607 (git from the PATH)
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_words() -> str:
    """The processor in words: "2 cores of Intel(R) Xeon(R) Platinum"."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{usable} {'core' if usable == 1 else 'cores'} of {model}"
