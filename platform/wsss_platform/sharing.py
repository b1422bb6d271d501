"""Stages shared through the store's mirror: looked up before they are made, copied there when they were.

The one place where the pipeline meets a mirror (`pipeline.run`); what makes a stage, on Ray or not, knows nothing of
it. A mirror that fails costs no run: it is said once, and the run goes on without it
(docs/decisions/0017-shared-stages.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from wsss_platform.errors import RunError
from wsss_platform.experiment import Stage, is_cached
from wsss_platform.store import Elsewhere, Store


@dataclass(frozen=True)
class Shared:
    """A stage came from the mirror or went there, or the mirror failed."""

    stage: Stage
    what: Literal["brought", "sent", "failed"]
    reason: str = ""
    """Why it failed."""

    @property
    def words(self) -> str:
        """For a person."""
        said = {"brought": "from the mirror", "sent": "copied to the mirror"}
        return f"{self.stage.name}: {said.get(self.what, f'the mirror failed, going on without it: {self.reason}')}"


class Sharing:
    """What one run has to do with its store's mirror; nothing for a store without one."""

    def __init__(self, store: Store, tell: Callable[[Shared], None] = lambda shared: None) -> None:
        self._store, self._tell, self._mirror = store, tell, store.mirror

    def bring(self, wanted: Stage) -> None:
        """Bring what `wanted` needs and the store lacks: itself, or else what it is made from."""
        seen: set[str] = set()

        def visit(stage: Stage) -> None:
            if self._mirror is None or stage.key in seen:
                return
            seen.add(stage.key)
            if not is_cached(stage, self._store) and not self._brought(stage):
                for upstream in stage.inputs.values():
                    visit(upstream)

        visit(wanted)

    def bring_each(self, stages: Iterable[Stage]) -> None:
        """Look once more before these are made: another machine may have made them since the run began."""
        for stage in stages:
            if self._mirror is not None and not is_cached(stage, self._store):
                self._brought(stage)

    def send(self, stages: Iterable[Stage]) -> None:
        """Copy those that the store has, also what an earlier run could not."""
        for stage in stages:
            if self._mirror is not None and self._store.finished(stage.kind, stage.key):
                try:
                    if self._mirror.send(self._store, stage.kind, stage.key):
                        self._tell(Shared(stage, "sent"))
                except RunError as error:
                    self._fail(stage, error)

    def _brought(self, stage: Stage) -> bool:
        assert self._mirror is not None
        try:
            found = self._mirror.bring(self._store, stage.kind, stage.key)
        except RunError as error:
            self._fail(stage, error)
            return False
        if found:
            self._tell(Shared(stage, "brought"))
        return found

    def _fail(self, stage: Stage, error: RunError) -> None:
        self._mirror = None
        self._tell(Shared(stage, "failed", str(error)))


@dataclass(frozen=True)
class Withholding:
    """A mirror to which some stages are not sent."""

    mirror: Elsewhere
    kinds: tuple[str, ...]
    keys: frozenset[str] = frozenset()
    """Of single stages, beside those kinds."""

    def bring(self, store: Store, kind: str, key: str) -> bool:
        """See `store.Elsewhere`."""
        return self.mirror.bring(store, kind, key)

    def send(self, store: Store, kind: str, key: str) -> bool:
        """See `store.Elsewhere`; False for what is withheld."""
        return kind not in self.kinds and key not in self.keys and self.mirror.send(store, kind, key)
