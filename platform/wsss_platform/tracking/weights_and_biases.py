"""Weights & Biases: the only importer of wandb.

A `Tracker` does all its work in a thread of its own. The caller's methods put a message in a queue and
return, so a service that is slow, away or broken cannot block or fail a run; what went wrong stands in
`Tracker.warnings`. `finish` waits a bounded time.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import unknown
from wsss_platform.run.scrub import scrub, shareable

MODES = ("auto", "online", "offline", "disabled")
"""What a user may ask for; "auto" is online when logged in and WANDB_MODE does not say otherwise."""
PROJECT = "wsss-platform"
"""Where runs go on the server, unless another is named."""
OWN_PROCESS = 60.0
"""Seconds that wandb's own process has for an offline run, which asks no service: a busy machine may need them."""


Mode = Literal["online", "offline", "disabled"]


def choose_mode(wanted: str = "auto") -> tuple[Mode, str]:
    """The mode that is possible, and why it is not the wanted one ("" when it is). Contacts no server.

    Logged in means what wandb means: WANDB_API_KEY, an identity token, a settings file or .netrc. Never prompts.

    Returns:
        ("online" | "offline" | "disabled", reason).
    """
    if wanted not in MODES:
        raise unknown("W&B mode", wanted, MODES, "--wandb")
    if wanted == "disabled":
        return "disabled", ""
    if wanted == "offline":
        return "offline", ""
    wandb = load_wandb()
    configured = str(wandb.setup(wandb.Settings(silent=True)).settings.mode)
    if configured == "disabled":
        return "disabled", "WANDB_MODE is disabled"
    if configured in ("offline", "dryrun"):
        return "offline", f"WANDB_MODE is {configured}"
    try:
        logged_in = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        return "offline", first_line(error)
    return ("online", "") if logged_in else ("offline", "not logged in")


class Target(NamedTuple):
    """Where a run goes on the server."""

    project: str = PROJECT
    entity: str | None = None
    """User or team; None: the user's own default."""
    kind: str | None = None
    """W&B's "job type" of the run, such as "leaderboard"."""


class Tracker:
    """One W&B run. Usable from the driver, trials and training workers alike.

    Args:
        name: of the run.
        group: runs of one study share it.
        config: plain data; the user's home folder and secrets are taken out of it.
        protocol: plain data, stored in the run's config under "protocol".
        folder: storage folder; W&B's files go to `folder/wandb`.
        mode: one of `MODES`. An online run that cannot be opened continues offline.
        target: where it goes on the server.
        id: of the run; a run of this id is continued. None: a new one.
        patience: seconds to wait for the service when opening the run.
        closing: seconds to wait for it when closing the run.
    """

    def __init__(
        self,
        *,
        name: str,
        group: str,
        config: Mapping[str, Any],
        protocol: Mapping[str, Any],
        folder: Path,
        mode: str = "auto",
        target: Target | None = None,
        id: str | None = None,
        patience: float = 10.0,
        closing: float = 10.0,
    ) -> None:
        if mode not in MODES:
            raise unknown("W&B mode", mode, MODES, "--wandb")
        self.mode = mode
        """As asked for; once the run is open, the mode it is in."""
        self.warnings: list[str] = []
        """What a person should know: that the run is offline, or what failed."""
        self.run_folder: Path | None = None
        """Where wandb keeps this run, once it is open."""
        self.target = target or Target()
        """Where the run belongs on the server; once it is open there, with the entity that it got."""
        self.ended = False
        """Whether it was closed, with all that was sent."""
        self._name, self._group, self._id = name, group, id
        self._config = shareable({**config, "protocol": protocol})
        self._folder = folder
        self._patience, self._closing = patience, closing
        self._messages: queue.SimpleQueue[Callable[[Any], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open = False

    @property
    def running(self) -> bool:
        """Whether there is a run that takes messages; False when disabled, finished or broken."""
        return self._open and self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Open the run in the background."""
        if self._thread is None and self.mode != "disabled":
            self._open = True
            os.environ.setdefault("WANDB_DATA_DIR", str(self._folder / "wandb"))  # else tables are staged at home
            self._thread = threading.Thread(target=self._work, name="wandb-tracker", daemon=True)
            self._thread.start()

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Points of curves; without `step` the next one. Steps must not decrease."""
        values = dict(metrics)
        self._send(lambda run: run.log(values, step=step))

    def image(self, name: str, image: NDArray[np.uint8]) -> None:
        """An image, uint8 [H, W, 3] RGB."""
        pixels = np.array(image)  # a copy: the caller may draw on

        def send(run: Any) -> None:
            run.log({name: load_wandb().Image(pixels)})

        self._send(send)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of plain values."""
        content = shareable([list(row) for row in rows])

        def send(run: Any) -> None:
            run.log({name: load_wandb().Table(columns=list(columns), data=content)})

        self._send(send)

    def change_config(self, values: Mapping[str, Any]) -> None:
        """Replace values of the run's config."""
        changed = shareable(dict(values))
        self._send(lambda run: run.config.update(changed, allow_val_change=True))

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """Store the summary, close the run and wait for it: `patience` and twice `closing` at most.

        A summary whose "status" is "failed" marks the run as failed. A second call does nothing.
        """
        if self._thread is None or not self._open:
            return
        values = shareable(dict(summary or {}))
        self._send(lambda run: run.summary.update(values))
        exit_code = 1 if values.get("status") == "failed" else 0
        self._send(lambda run: run.finish(exit_code=exit_code))
        self._messages.put(None)
        self._open = False
        longest = self._patience + 2 * self._closing
        self._thread.join(longest)
        self.ended = not self._thread.is_alive()
        if not self.ended:
            self._warn(f"did not finish in {longest:.0f} s; what it has is under {self._folder / 'wandb'}")

    def _send(self, message: Callable[[Any], None]) -> None:
        if self.running:
            self._messages.put(message)

    def _warn(self, text: str) -> None:
        line = f"W&B: {scrub(text)}"
        if line not in self.warnings:
            self.warnings.append(line)

    def _work(self) -> None:
        """The thread: open the run, then carry out messages in order until None."""
        known = failures()
        try:
            run = self._open_run(known)
        except known as error:
            self._warn(f"no run could be opened, nothing is tracked: {first_line(error)}")
            run = None
        if run is None:
            self._open = False
            return
        while (message := self._messages.get()) is not None:
            try:
                message(run)
            except known as error:
                self._warn(first_line(error))

    def _open_run(self, known: tuple[type[Exception], ...]) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.mode, reason = choose_mode(self.mode)
        if self.mode == "disabled":
            return None
        if self.mode == "online":
            started = time.monotonic()
            try:
                return self._init("online")
            except known as error:
                self.mode, waited = "offline", time.monotonic() - started
                self._id = self._id and f"{self._id}-offline"  # the attempt still holds the id
                reason = f"the service did not open the run within {waited:.0f} s ({first_line(error)})"
        run = self._init("offline")
        if reason:
            self._warn(f"{reason}; this run is kept offline in {run.settings.sync_dir} (later: wandb sync FOLDER)")
        return run

    def _init(self, mode: Literal["online", "offline"]) -> Any:
        opening = self._patience if mode == "online" else max(self._patience, OWN_PROCESS)
        run = load_wandb().init(
            id=self._id,
            resume="allow" if self._id and mode == "online" else None,  # offline, `wandb sync` joins what has one id
            name=self._name,
            group=self._group,
            job_type=self.target.kind,
            project=self.target.project,
            entity=self.target.entity,
            config=self._config,
            dir=str(self._folder),
            mode=mode,
            reinit="create_new",  # several trackers may live in one process
            settings=load_wandb().Settings(
                silent=True,
                console="off",
                init_timeout=opening,
                finish_timeout=self._closing,
                login_timeout=self._patience,
                save_code=False,
                disable_git=True,
                x_disable_meta=True,  # it holds the command line and the e-mail address
                x_save_requirements=False,
            ),
        )
        self.run_folder = Path(run.settings.sync_dir)
        if mode == "online":
            self.target = self.target._replace(project=str(run.project), entity=str(run.entity))
        return run


def load_wandb() -> ModuleType:
    """wandb, imported late (0.8 s) and without its reports of its own errors to the service.

    Those hold up the end of the process for 20 s when the service hangs (wandb 0.31), and the variable is
    read while the module is imported. WANDB_ERROR_REPORTING=true brings them back.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def failures() -> tuple[type[Exception], ...]:
    """What wandb is known to raise when its service or its own process is away, or a value does not suit it."""
    wandb = load_wandb()
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError
    from wandb.sdk.lib.service.service_token import WandbServiceConnectionError
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

    return (
        wandb.Error,
        WandbApiFailedError,
        WandbServiceConnectionError,
        HandleAbandonedError,
        MailboxClosedError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    )


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
