"""What a site file says: where a cluster is, what a job gets there, and where it keeps its results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from wsss_platform.config import Section, validated
from wsss_platform.errors import InputError
from wsss_platform.run.scrub import scrub

Kind = Literal["slurm", "kuberay", "ray", "ray-up"]
REFERENCE = re.compile(r"file:(?P<file>/[\w./+@-]+)|secret:(?P<secret>[a-z0-9][a-z0-9.-]*)/(?P<key>[\w.-]+)")
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
OURS = ("PYTHONPATH", "WSSS_STORAGE", "WSSS_SUBMISSION", "WSSS_COMMIT")
"""Variables that every job sets itself."""
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d{1,3}):(?P<minutes>[0-5]\d):(?P<seconds>[0-5]\d)")
_SIZE = re.compile(r"(?P<number>\d+)(?P<unit>[MGT])")
_PLAIN = re.compile(r"[\w.@:+-]*")


def _absolute(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/") or not re.fullmatch(r"[\w./+@-]+", value):
        raise ValueError("expected an absolute path of letters, digits and . _ - + @, as all nodes see it")
    return value.rstrip("/")


def _plain(value: str) -> str:
    if not _PLAIN.fullmatch(value) or value.startswith("-"):
        raise ValueError("expected letters, digits and . _ - + : @")
    return value


def _time(value: str) -> str:
    if value and not _TIME.fullmatch(value):
        raise ValueError('expected [days-]hours:minutes:seconds, such as "8:00:00" or "2-00:00:00"')
    return value


def _size(value: str) -> str:
    if value and not _SIZE.fullmatch(value):
        raise ValueError('expected a number and M, G or T, such as "64G"')
    return value


Path = Annotated[str, AfterValidator(_absolute)]
Plain = Annotated[str, AfterValidator(_plain)]
Time = Annotated[str, AfterValidator(_time)]
Size = Annotated[str, AfterValidator(_size)]


class Environment(Section):
    """Where a job finds Python and its packages: one of the three."""

    venv: Path | None = None
    """An existing virtual environment that all nodes see."""
    image: Plain | str | None = None
    """A container image; of kuberay and ray-up."""
    lock: Path | None = None
    """A lock file (requirements.lock) on the site: the environment is made from it once, under the storage folder."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("venv", "image", "lock") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one of venv, image and lock; got {' and '.join(given)}")
        if self.image is not None and not re.fullmatch(r"[a-z0-9][\w./:@-]*", self.image):
            raise ValueError("image: expected a name such as registry.example.org/wsss-platform:1.0")
        return self


class Resources(Section):
    """What a job gets; the options of `submit` with these names go before."""

    nodes: int = Field(1, ge=1)
    """Nodes with workers."""
    gpus_per_node: int = Field(0, ge=0)
    """GPUs on each of them."""
    cpus_per_node: int = Field(1, ge=1)
    """CPU cores on each of them."""
    memory_per_node: Size = ""
    """Such as "64G"; empty: what the site gives."""
    time_limit: Time = ""
    """[days-]hours:minutes:seconds; empty: what the site gives."""
    gpus_per_worker: float = Field(1.0, gt=0)
    """GPUs of a worker, where there are any."""


class Slurm(Section):
    """Of kind slurm."""

    partition: Plain = ""
    """Empty: the default one."""
    account: Plain = ""
    """Who pays."""
    login: Plain = ""
    """user@host for ssh; empty: `submit` runs on a login node."""
    requeue: bool = True
    """Whether a job that is preempted, or whose time is over, goes on in the queue."""
    options: tuple[Plain | str, ...] = ()
    """Further options of sbatch, such as "--constraint=a100"."""

    @model_validator(mode="after")
    def _options(self) -> Self:
        for text in self.options:
            if not re.fullmatch(r"--[a-z][a-z-]*(=[\w.,:@+/&|*-]+)?", text):
                raise ValueError(f'options: {text!r}; expected one such as "--constraint=a100"')
        return self


class KubeRay(Section):
    """Of kind kuberay."""

    namespace: Plain = "default"
    claim: Plain = "wsss-storage"
    """The persistent volume claim (ReadWriteMany) with the storage folder."""
    mount: Path = "/storage"
    """Where it is mounted; the storage folder lies below."""
    context: Plain = ""
    """Of kubectl's config; empty: the current one."""
    service_account: Plain = ""


class RayJobs(Section):
    """Of kind ray: a cluster that is running."""

    address: str = ""
    """Of its dashboard, such as http://127.0.0.1:8265."""

    @model_validator(mode="after")
    def _address(self) -> Self:
        if self.address and not re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[\w./-]*)?", self.address):
            raise ValueError("address: expected one without user and password, such as http://127.0.0.1:8265")
        return self


class RayUp(Section):
    """Of kind ray-up: Ray's cluster launcher."""

    cluster: str = ""
    """Its YAML file; a relative path is one beside the site file."""


class Site(Section):
    """A site file (TOML)."""

    kind: Kind
    """slurm, kuberay, ray (a running cluster) or ray-up (Ray's cluster launcher)."""
    storage: Path
    """The storage folder: every node sees it under this path."""
    remote: str = ""
    """Where jobs push their runs to and `submit fetch` pulls them from, such as s3://bucket/folder; empty: the storage
    folder itself, where this machine or the login node sees it."""
    environment: Environment = Environment()
    resources: Resources = Resources()
    secrets: dict[str, str] = Field(default_factory=dict)
    """Variable -> where the job finds its value: "file:/path" on the nodes or, of kuberay, "secret:NAME/KEY". Values
    themselves are refused."""
    variables: dict[str, str] = Field(default_factory=dict)
    """Further variables of the job's environment; no secrets."""
    slurm: Slurm = Slurm()
    kuberay: KubeRay = KubeRay()
    ray: RayJobs = RayJobs()
    ray_up: RayUp = RayUp()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        kinds = {"slurm": self.slurm, "kuberay": self.kuberay, "ray": self.ray, "ray_up": self.ray_up}
        for name, section in kinds.items():
            if name.replace("_", "-") != self.kind and section != type(section)():
                raise ValueError(f"[{name}] is not of kind {self.kind!r}; leave it out")
        for variable, value in self.variables.items():
            if not VARIABLE.fullmatch(variable):
                raise ValueError(f"variables: {variable!r} is no name of a variable")
            if variable in OURS:
                raise ValueError(f"variables.{variable}: set by every job; leave it out")
            if scrub(f"{variable}={value}") != f"{variable}={value}":
                raise ValueError(f"variables.{variable}: seems to be a secret; name it in [secrets]")
        return self

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if re.search(r"//[^/]*@|(access|secret)_key=", self.remote):
            raise ValueError("remote: expected a URL without keys; the job reads them from [secrets]")
        if self.kind in ("ray", "ray-up"):
            for name in ("time_limit", "memory_per_node"):
                if getattr(self.resources, name):
                    raise ValueError(f"resources.{name}: a cluster of kind {self.kind} has none; leave it out")
        if self.kind == "ray" and not self.ray.address:
            raise ValueError('ray.address is missing: the address of the dashboard, such as "http://127.0.0.1:8265"')
        if self.kind == "ray-up" and not self.ray_up.cluster:
            raise ValueError("ray_up.cluster is missing: the YAML file of Ray's cluster launcher")
        if self.kind == "kuberay":
            if self.environment.image is None:
                raise ValueError("environment.image is missing: pods run an image")
            if not f"{self.storage}/".startswith(f"{self.kuberay.mount}/"):
                raise ValueError(f"storage: expected a folder below kuberay.mount ({self.kuberay.mount})")
        if self.kind == "slurm" and self.environment.image is not None:
            raise ValueError("environment.image: a Slurm job runs in a venv, or in one made from a lock")
        return self


def read_site(data: Mapping[str, Any], where: str) -> Site:
    """The site of a file's plain data.

    Raises:
        InputError: what is wrong; the value of a secret is never shown.
    """
    secrets = data.get("secrets", {})
    if not isinstance(secrets, Mapping):
        raise InputError(f"{where}: secrets: expected a table of variables", field="secrets")
    for variable, reference in secrets.items():
        found = REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        of_kubernetes = data.get("kind") == "kuberay"
        wanted = "secret:NAME/KEY" if of_kubernetes else "file:/path"
        if not VARIABLE.fullmatch(variable):
            raise InputError(f"{where}: secrets: a name that is no variable; expected one such as WANDB_API_KEY")
        if found is None or (found["file"] is None) != of_kubernetes:
            raise InputError(
                f"{where}: secrets.{variable}: expected a reference, {wanted}, and never the value itself",
                field=f"secrets.{variable}",
            )
    return validated(Site, data, where)


def seconds(time: str) -> int | None:
    """Of a time limit; None where there is none."""
    found = _TIME.fullmatch(time)
    if found is None:
        return None
    days, hours, minutes, rest = (int(each or 0) for each in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def mebibytes(size: str) -> int | None:
    """Of a size; None where there is none."""
    found = _SIZE.fullmatch(size)
    return None if found is None else int(found["number"]) * {"M": 1, "G": 1024, "T": 1024**2}[found["unit"]]
