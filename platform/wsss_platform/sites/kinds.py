"""The four kinds of sites. Each is a module with the functions of `Client`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Literal, NamedTuple, Protocol, cast

from wsss_platform.sites.job import Job
from wsss_platform.sites.ledger import Sent, Status
from wsss_platform.sites.site import Kind, Site

CheckState = Literal["ok", "wrong", "skipped"]


class Check(NamedTuple):
    """What was checked before anything is sent."""

    what: str
    """Such as "partition"."""
    state: CheckState
    """"skipped": it cannot be checked from here."""
    said: str
    """What was found, and what to do where it is wrong."""


class Client(Protocol):
    """What a kind of site does. No function but `submit` and `cancel` changes anything there."""

    def files(self, job: Job) -> dict[str, str]:
        """Path on the site, or name of an object -> text of what would be written, the code's archive left out."""

    def commands(self, job: Job) -> list[str]:
        """What would be run or called, in order, as a person reads it."""

    def check(self, job: Job) -> Iterator[Check]:
        """Whether this job can be sent. What is out of reach is "skipped"."""

    def look(self, site: Site) -> Iterator[Check]:
        """Whether the site can be used at all (`sites check`)."""

    def submit(self, job: Job) -> str:
        """Send it; the site's name for it.

        Raises:
            InputError: the site refuses it, with the reason.
            RunError: the site cannot be reached.
        """

    def status(self, sent: Sent) -> Status:
        """How it does."""

    def logs(self, sent: Sent, follow: bool) -> Iterator[str]:
        """Lines of its output, each with its line end; with `follow` until the job ends."""

    def cancel(self, sent: Sent) -> None:
        """End it; nothing happens where it has ended."""


MODULES: dict[Kind, str] = {"slurm": "slurm", "kuberay": "kuberay", "ray": "ray_jobs", "ray-up": "ray_up"}


def client_of(kind: Kind) -> Client:
    """The functions of a kind."""
    return cast("Client", import_module(f"wsss_platform.sites.{MODULES[kind]}"))
