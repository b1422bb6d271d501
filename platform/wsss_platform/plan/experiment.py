"""An experiment is a method, a config, data, a seed and a protocol; `plan` lists its stages with their keys.

    train:seed ─► maps:seed ─► masks:seed ─► train:fbr ─► maps:fbr ─► masks:fbr
                                                              └────────────┴──► score

A stage's key is a hash of what its output depends on and nothing else, so changing
`masks.background` leaves the keys of training and maps equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from wsss_platform.config import (
    DataConfig,
    ImportedConfig,
    ImportedMasksConfig,
    MapsConfig,
    MasksConfig,
    MethodConfig,
    TrainConfig,
    fingerprint,
    look_up,
    override,
)
from wsss_platform.config.supervision import UNKNOWN
from wsss_platform.data import Dataset, open_data
from wsss_platform.data.part import PartedDataset, base_of
from wsss_platform.data.split import NO_TRUTH
from wsss_platform.errors import InputError
from wsss_platform.method import PLAIN_CAM, Method, Phase
from wsss_platform.plan.affinity import with_affinity
from wsss_platform.store.artefacts import Store

Kind = Literal["train", "maps", "masks", "score"]

REVISIONS: Mapping[Kind, int] = {"train": 4, "maps": 5, "masks": 2, "score": 3}
"""Raised when the platform's code of a stage gives other numbers for the same inputs."""


@dataclass(frozen=True)
class Stage:
    """One step of a plan: a pure function from stored inputs and config sections to a stored output."""

    kind: Kind
    phase: Phase
    key: str
    list_name: str
    """The split it trains on, or whose maps, masks or scores it makes."""
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    """By role: "weights", "maps", "masks", or the name of a phase that is read."""

    @property
    def name(self) -> str:
        """Such as "train:seed"."""
        return f"{self.kind}:{self.phase.name}"


@dataclass(frozen=True)
class Experiment:
    """Everything that determines the numbers of a run."""

    method: Method
    config: MethodConfig
    data: DataConfig
    seed: int = 0
    workers: int = 1
    """Training processes. Part of the training key: more workers sum gradients in another order and draw
    other crops."""

    @cached_property
    def dataset(self) -> Dataset:
        """The opened data; its splits have parts, such as "train:rest-3" (data.part)."""
        return PartedDataset(open_data(self.data))

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The method's phases for this config, and the affinity phase where there is one."""
        return with_affinity(self.method.phases(self.config), self.config)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """All stages in the order in which they can run."""
        if isinstance(self.config, ImportedMasksConfig):
            masks = self._imported("masks", self.config)
            return (masks, self._score(None, masks))
        if isinstance(self.config, ImportedConfig):
            maps = self._imported("maps", self.config)
            masks = self._masks(maps)
            return (maps, masks, self._score(maps, masks))
        stages: list[Stage] = []
        for phase in self.phases:
            reads: dict[str, Stage] = {}
            taken = self.config.released_file(phase.name) is not None  # then nothing is trained on earlier outputs
            for source, what in () if taken else phase.reads.items():
                earlier = next(stage for stage in stages if stage.name == f"train:{source}")
                maps = self._maps(earlier, self.data.train_list, stages)
                chain = [*_refined(maps), maps] if what == "maps" else [*_refined(maps), maps, self._masks(maps)]
                stages += [stage for stage in chain if stage not in stages]
                reads[source] = chain[-1]
            stages.append(self._train(phase, reads))
        maps = self._maps(stages[-1], self.data.score_list, stages)
        stages += [stage for stage in _refined(maps) if stage not in stages]
        masks = self._masks(maps)
        return (*stages, maps, masks, self._score(maps, masks))

    def stage(self, kind: Kind, phase: str | None = None) -> Stage:
        """The last stage of a kind (of a phase); InputError where there is none, as imported masks have no maps."""
        found = [s for s in self.stages if s.kind == kind and phase in (None, s.phase.name)]
        if not found:
            raise InputError(
                f"a run of the method {self.method.name!r} has no {kind}: its first stage is {self.stages[0].name!r}"
            )
        return found[-1]

    @property
    def source(self) -> Stage:
        """Where its maps or masks come from: the last training, or the import. What comes after may change for a given
        run."""
        imported = isinstance(self.config, ImportedConfig | ImportedMasksConfig)
        return self.stages[0] if imported else self.stage("train")

    def of_seed(self, offset: int) -> Experiment:
        """This with one of the following random seeds; 0 is its own."""
        return replace(self, seed=self.seed + offset)

    def with_changes(self, changes: Mapping[str, Any], where: str) -> Experiment:
        """This with other values in its config.

        Args:
            changes: dotted path -> value.
            where: begins the message of an InputError, such as "trial 3".

        Raises:
            InputError: a path that does not exist, or an illegal value.
        """
        return replace(self, config=override(self.config, changes, where))

    @property
    def key(self) -> str:
        """Of the whole experiment: the key of its score."""
        return self.stages[-1].key

    def train_config(self, phase: Phase) -> TrainConfig:
        """The phase's training section."""
        section = look_up(self.config, phase.train)
        assert isinstance(section, TrainConfig)
        return section

    def maps_config(self, phase: Phase) -> MapsConfig:
        """The phase's maps section."""
        section = look_up(self.config, phase.maps)
        assert isinstance(section, MapsConfig)
        return section

    def masks_config(self, phase: Phase) -> MasksConfig:
        """The phase's masks section."""
        section = look_up(self.config, phase.masks)
        assert isinstance(section, MasksConfig)
        return section

    def loss_weights(self, phase: Phase) -> dict[str, float]:
        """The phase's loss weights: term -> weight."""
        return {name: float(value) for name, value in look_up(self.config, phase.loss).model_dump().items()}

    def _train(self, phase: Phase, reads: Mapping[str, Stage]) -> Stage:
        # a plain CAM phase has its sections under the names that plain CAM has them under: "seed.train" is "train"
        prefix = phase.train.removesuffix("train") if phase.plain_cam else ""
        sections = {path.removeprefix(prefix): look_up(self.config, path) for path in phase.sections}
        if "backbone" in sections and self.config.backbone.weights not in ("imagenet", "none"):
            # a file counts by its content, not by its place
            sections["backbone"] = self.config.backbone.model_copy(update={"weights": "file"})
        released = self.config.released_file(phase.name)
        if released is not None:  # neither how it would be trained nor on what counts
            shape = {path: value for path, value in sections.items() if prefix + path not in (phase.train, phase.loss)}
            key = self._key("train", phase, shape, released=file_fingerprint(released, "released"))
            return Stage("train", phase, key, self.data.train_list)
        key = self._key(
            "train",
            phase,
            sections,
            split=self.split_fingerprint(self.data.train_list),
            reads={name: stage.key for name, stage in reads.items()},
            seed=self.seed,
            workers=self.workers,
            initial_weights=weights_fingerprint(self.config.backbone.weights),
            **self._saliency(self.data.train_list, used="saliency" in phase.extras),
        )
        return Stage("train", phase, key, self.data.train_list, dict(reads))

    def _maps(self, train: Stage, list_name: str, stages: Sequence[Stage]) -> Stage:
        phase, split = train.phase, self.split_fingerprint(list_name)
        if phase.refines:
            source = next(stage for stage in stages if stage.name == f"train:{phase.refines}")
            maps = self._maps(source, list_name, stages)
            sections = {path: look_up(self.config, path) for path in phase.refine_sections}
            key = self._key("maps", phase, sections, split=split, weights=train.key, maps=maps.key)
            return Stage("maps", phase, key, list_name, {"weights": train, "maps": maps})
        key = self._key("maps", phase, {"maps": self.maps_config(phase)}, split=split, weights=train.key)
        return Stage("maps", phase, key, list_name, {"weights": train})

    def _imported(self, kind: Kind, config: ImportedConfig | ImportedMasksConfig) -> Stage:
        # the files count by their content, wherever they lie and whatever is said of them
        section = config.imported.model_dump(mode="json") | {"folder": "", "supervision": UNKNOWN}
        split = self.split_fingerprint(self.data.score_list)
        key = self._key(kind, self.phases[-1], {"imported": section}, split=split)
        return Stage(kind, self.phases[-1], key, self.data.score_list)

    def _masks(self, maps: Stage) -> Stage:
        masks = self.masks_config(maps.phase)
        saliency = self._saliency(maps.list_name, used=masks.rule == "saliency")
        key = self._key("masks", maps.phase, {"masks": masks}, maps=maps.key, **saliency)
        return Stage("masks", maps.phase, key, maps.list_name, {"maps": maps})

    def _score(self, maps: Stage | None, masks: Stage) -> Stage:
        inputs = {"masks": masks} if maps is None else {"maps": maps, "masks": masks}
        keys = {role: stage.key for role, stage in inputs.items()}
        key = self._key("score", masks.phase, {}, **keys, truth=self.truth_fingerprint(masks.list_name))
        return Stage("score", masks.phase, key, masks.list_name, inputs)

    def _saliency(self, list_name: str, *, used: bool) -> dict[str, str]:
        """What a key says of the split's saliency maps: nothing where they are not used."""
        return {"saliency": self.saliency_fingerprint(list_name)} if used else {}

    def _key(self, kind: Kind, phase: Phase, sections: Mapping[str, Any], **inputs: Any) -> str:
        return fingerprint(
            {
                "kind": kind,
                "platform": REVISIONS[kind],
                "method": None if kind == "score" else self.identity(phase),
                "sections": dict(sections),
                "inputs": inputs,
            }
        )

    def identity(self, phase: Phase) -> list[str | int]:
        """Whose code makes a phase's stages: method, its revision, phase. A plain CAM phase is the same one in every
        method."""
        return list(PLAIN_CAM) if phase.plain_cam else [self.method.name, self.method.revision, phase.name]

    def split_fingerprint(self, name: str) -> str:
        """Of a split's images and image-level labels."""
        return _cached(self, f"split {name}", lambda: self.dataset.split(name).fingerprint())

    def saliency_fingerprint(self, name: str) -> str:
        """Of a split's saliency maps; InputError when there are none."""
        return _cached(self, f"saliency {name}", lambda: self.dataset.split(name).saliency_fingerprint())

    def truth_fingerprint(self, name: str) -> str:
        """Of a split's ground truth."""
        return _cached(self, f"ground truth {name}", lambda: self.dataset.truth(name).fingerprint())


def _refined(maps: Stage) -> list[Stage]:
    """The stored maps that maps are made from, and what those are made from, in the order in which they can run."""
    source = maps.inputs.get("maps")
    return [] if source is None else [*_refined(source), source]


_FINGERPRINTS: dict[tuple[str, str], str] = {}


def _cached(experiment: Experiment, what: str, compute: Any) -> str:
    """Fingerprints of unchanged data are read once per process, not once per trial."""
    slot = (fingerprint(experiment.data), what)
    if slot not in _FINGERPRINTS:
        _FINGERPRINTS[slot] = compute()
    return _FINGERPRINTS[slot]


def weights_fingerprint(weights: str) -> str:
    """The name of packaged weights, or the content hash of a local file."""
    if weights in ("imagenet", "none"):
        return weights
    return file_fingerprint(weights, "backbone.weights", "neither 'imagenet', 'none' nor ")


def file_fingerprint(name: str, field: str, besides: str = "not ") -> str:
    """sha256 of a file's content; InputError naming the setting when there is no such file."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"{field}: {name!r} is {besides}an existing file", field=field)
    stat = path.stat()
    return _hash_of(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=32)
def _hash_of(path: Path, modified: int, size: int) -> str:
    """Files are large and asked for with every key."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_cached(stage: Stage, store: Store) -> bool:
    """Whether the store holds the stage's output."""
    return store.has(stage.kind, stage.key)


def check_truth(experiment: Experiment, wanted: Stage) -> None:
    """InputError when a score is wanted of a split that has no ground truth."""
    if wanted.kind == "score" and experiment.truth_fingerprint(wanted.list_name) == NO_TRUTH:
        raise InputError(
            f"split {base_of(wanted.list_name)!r} has no ground truth, so it cannot be scored: put its masks into "
            "masks/ID.png, name another split with --score-split, or end with --until masks",
            field="--score-split",
        )


def needed(stages: tuple[Stage, ...], store: Store, wanted: Stage) -> list[Stage]:
    """The stages that must run to have `wanted`, in order: nothing upstream of a cached stage is repeated."""
    todo: set[str] = set()

    def visit(stage: Stage) -> None:
        if is_cached(stage, store):
            return
        todo.add(stage.key)
        for upstream in stage.inputs.values():
            visit(upstream)

    visit(wanted)
    return [stage for stage in stages if stage.key in todo]
