"""A recorded run: its score, its CAMs, pseudo masks at any threshold, and images of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wsss_platform.api._defaults import storage_folder
from wsss_platform.api._frames import data_frame
from wsss_platform.errors import InputError, unknown

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from wsss_platform.maps.storage import AnyMap, MapReader
    from wsss_platform.plan.experiment import Experiment, Kind
    from wsss_platform.plan.protocol import Protocol
    from wsss_platform.report.documents import Images
    from wsss_platform.run.records import RunRecord
    from wsss_platform.store.artefacts import Store


class ImageMaps(NamedTuple):
    """The CAMs of one image."""

    classes: tuple[str, ...]
    """Names of the classes that are in the image."""
    scores: NDArray[np.float32]
    """float32 [classes, H, W], 0..1, at the size of the image."""


class Point(NamedTuple):
    """A place on a sweep of background thresholds."""

    threshold: float
    """Background threshold, 0..1."""
    miou: float
    """Mean IoU, percent."""


@dataclass(frozen=True)
class Sweep:
    """The mean IoU of the CAMs at every background threshold, before any CRF, from one exact pass."""

    thresholds: tuple[float, ...]
    """0..1, ascending."""
    miou: tuple[float, ...]
    """Percent, in the order of `thresholds`; nan where nothing could be scored."""

    def to_pandas(self) -> Any:
        """A pandas DataFrame with the columns threshold and miou; InputError where pandas is not installed."""
        return data_frame({"threshold": self.thresholds, "miou": self.miou})


class RunScore:
    """How good a run's masks and CAMs are, against ground truth. All IoU in percent, as the tables print them."""

    def __init__(self, summary: Mapping[str, Any], protocol: Protocol) -> None:
        """
        Args:
            summary: of a score.
            protocol: under which it was scored.
        """
        self.summary, self.protocol = summary, protocol

    @property
    def miou(self) -> float:
        """Mean IoU of the pseudo masks as they were made, percent."""
        return _percent(self.summary["mean_iou"])

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of `miou` over images, percent."""
        low, high = self.summary["interval"]
        return _percent(low), _percent(high)

    @property
    def best(self) -> Point:
        """Where the sweep is best: an oracle, chosen on the ground truth it is scored on; InputError where there are no
        maps to sweep."""
        swept = self._swept()
        return Point(swept["best_threshold"], _percent(swept["best_mean_iou"]))

    @property
    def per_class(self) -> dict[str, float | None]:
        """IoU of each class of the masks as made, percent; None for a class that is nowhere."""
        return {
            name: None if values["iou"] is None else _percent(values["iou"])
            for name, values in self.summary["classes"].items()
        }

    @property
    def sweep(self) -> Sweep:
        """The mean IoU at every background threshold; InputError where there are no maps to sweep."""
        swept = self._swept()
        return Sweep(tuple(swept["thresholds"]), tuple(_percent(value) for value in swept["mean_iou"]))

    def _swept(self) -> dict[str, Any]:
        swept: dict[str, Any] | None = self.summary["sweep"]
        if swept is None:
            raise InputError("this score is of imported masks: without maps there is no threshold to sweep")
        return swept

    @property
    def images(self) -> int:
        """Number of scored images."""
        return int(self.summary["images"])

    def to_pandas(self) -> Any:
        """A pandas DataFrame: a row for each class with IoU, precision and recall, in percent."""
        found = self.summary["classes"]
        columns = {
            name: [None if values[name] is None else _percent(values[name]) for values in found.values()]
            for name in ("iou", "precision", "recall")
        }
        return data_frame({"class": list(found), **columns})

    def __repr__(self) -> str:
        low, high = self.interval
        best = f", best {self.best.miou:.2f} at {self.best.threshold:g}" if self.summary["sweep"] else ""
        return f"<mean IoU {self.miou:.2f} ({low:.2f}..{high:.2f}) over {self.images} images{best}>"


class RunMaps(Mapping[str, ImageMaps]):
    """The stored CAMs of a run by image id; read when asked for."""

    def __init__(self, reader: MapReader, ids: tuple[str, ...], classes: tuple[str, ...]) -> None:
        """
        Args:
            reader: of the stored maps.
            ids: of the split.
            classes: names of the foreground classes, in the order of their numbers.
        """
        self._reader, self._ids, self._classes = reader, ids, classes

    def __getitem__(self, image: str) -> ImageMaps:
        from wsss_platform.maps.storage import full_size

        stored = self.stored(image)
        return ImageMaps(tuple(self._classes[int(index)] for index in stored.classes), full_size(stored))

    def stored(self, image: str) -> AnyMap:
        """The CAMs of an image as they are stored; InputError with the nearest id where there are none."""
        if image not in self._reader:
            raise unknown("image", image, self._ids)
        return self._reader[image]

    def get(self, image: str, default: Any = None) -> Any:
        """The CAMs of an image, or the default where it has none."""
        if image not in self:
            return default
        return self[image]

    def __contains__(self, image: object) -> bool:
        return image in self._reader

    def __iter__(self) -> Iterator[str]:
        return (image for image in self._ids if image in self._reader)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Run:
    """A recorded run. Score and maps are read from the storage folder when they are first asked for."""

    def __init__(self, experiment: Experiment, store: Store, name: str, result: Any = None) -> None:
        """
        Args:
            experiment: what was run.
            store: where its stages are.
            name: of the run.
            result: the document that the command prints; None where the run was only opened.
        """
        self.experiment, self.store, self.name = experiment, store, name
        self.result = result

    @property
    def folder(self) -> Path:
        """Of its record."""
        return self.store.run_folder(self.name)

    @property
    def record(self) -> RunRecord:
        """What was recorded: method, settings, protocol, seconds, software."""
        from wsss_platform.run.records import read_record

        return read_record(self.store, self.name)

    @property
    def protocol(self) -> Protocol:
        """Everything that must be equal for two numbers to be compared."""
        return self.record.protocol

    @cached_property
    def score(self) -> RunScore:
        """Its score; InputError where it has not been scored."""
        from wsss_platform.run.pipeline import read_score, read_summary

        read_score(self.experiment, self.store, f"run {self.name!r}")
        key = self.experiment.stage("score").key
        return RunScore(read_summary(self.store.open("score", key)), self.protocol)

    @cached_property
    def maps(self) -> RunMaps:
        """Its CAMs by image id; InputError where none are stored."""
        from wsss_platform.maps.storage import MapReader

        stage = self.experiment.stage("maps")
        split = self.experiment.dataset.split(stage.list_name)
        return RunMaps(MapReader(self._stored("maps")), tuple(split.ids), tuple(split.classes))

    def mask(self, image: str, background: float | None = None) -> NDArray[np.uint8]:
        """A pseudo mask: uint8 [H, W], 0 background, then the classes from 1; 255 undecided.

        Args:
            image: its id.
            background: make it from the CAMs with this background threshold, 0..1, without a CRF and without training
                again. None: the mask as the run made it.

        Raises:
            InputError: an unknown image (with the nearest one), or no stored maps or masks.
        """
        from wsss_platform.config import MasksConfig
        from wsss_platform.data.palette import mask_file, read_mask
        from wsss_platform.maps.storage import full_size
        from wsss_platform.masks.rules import labels

        split = self.experiment.dataset.split(self.experiment.stage("masks").list_name)
        if image not in split.ids:
            raise unknown(f"image of split {split.name!r}", image, split.ids)
        if background is not None and not 0 <= background <= 1:
            raise InputError(f"background: expected a threshold of 0 to 1, got {background!r}", field="background")
        if background is None:
            return read_mask(mask_file(self._stored("masks"), image))
        stored = self.maps.stored(image)  # opened once, for all images
        return labels(full_size(stored), stored.classes, MasksConfig(background=background))

    def show(self, images: int = 8) -> Figure:
        """A matplotlib figure: images with their CAMs, pseudo masks and ground truth; the worst, best and some others.

        Args:
            images: how many rows.

        Raises:
            InputError: the run has not been scored.
        """
        from wsss_platform.report.show import overview

        if images < 1:
            raise InputError(f"images: expected at least 1, got {images!r}", field="images")
        return overview(self.experiment, self.store, images)

    def draw(self, folder: str | Path | None = None, count: int = 4, images: Sequence[str] | None = None) -> Images:
        """Write images: image, CAMs, pseudo mask and ground truth side by side, the sweep and the classes.

        Args:
            folder: to write into; None: images/ in the run's.
            count: how many of the worst, of the best and of random others.
            images: ids of images to draw instead.

        Returns:
            The files, and how often the storage has evaluated on the ground truth that chose them.

        Raises:
            InputError: the run has not been scored, or an unknown image (with the nearest one).
        """
        from wsss_platform.report.documents import EvaluationCounts, Images
        from wsss_platform.report.evaluations import evaluations, evaluations_of
        from wsss_platform.report.show import show_run

        experiment, target = self.experiment, self.folder / "images" if folder is None else Path(folder)
        written = show_run(experiment, self.store, target, count=count, ids=images)
        scored = experiment.data.score_list
        seen = evaluations_of(evaluations(self.store), scored, experiment.truth_fingerprint(scored)[:12])
        return Images(folder=str(target), files=tuple(map(str, written)), evaluations=EvaluationCounts.of(seen))

    def _stored(self, kind: Kind) -> Path:
        stage = self.experiment.stage(kind)
        if not self.store.has(kind, stage.key):
            raise InputError(f"run {self.name!r} has no stored {kind}; make them with wsss.{kind}({self.name!r})")
        return self.store.open(kind, stage.key).folder

    def __repr__(self) -> str:
        return f"<run {self.name!r} of {self.experiment.method.name} in {self.store.root}>"


def open_run(name: str, storage: str | Path | None = None) -> Run:
    """A run that an earlier call or command recorded.

    Args:
        name: of the run.
        storage: the storage folder; None: the variable WSSS_STORAGE, else wsss-storage.

    Raises:
        InputError: no such run (with the nearest one).
    """
    from wsss_platform.api.runs import load_run
    from wsss_platform.store.artefacts import Store

    store = Store(storage_folder(storage))
    return Run(load_run(store, name)[0], store, name)


def run_of(given: Run | str, storage: str | Path | None) -> tuple[str, Path]:
    """Name and storage folder of a run that is given as itself or by its name."""
    return (given.name, given.store.root) if isinstance(given, Run) else (given, storage_folder(storage))


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value
