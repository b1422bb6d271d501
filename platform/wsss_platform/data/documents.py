"""What the verbs of `data` print."""

from __future__ import annotations

from typing import ClassVar

from wsss_platform.config.document import Document, Part
from wsss_platform.data.check import ListSummary


class DataLists(Document):
    """The splits of a data set (`data splits`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/data-lists"

    lists: dict[str, int]
    """Split -> its number of images."""
    classes: tuple[str, ...]
    """Names of the foreground classes."""


class ListProblem(Part):
    """A file of a split that is wrong."""

    list: str
    """Its name."""
    file: str
    """Its path."""
    message: str
    """What is wrong."""


class DataCheck(Document):
    """Every file of some splits, decoded (`data check`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/data-check"

    lists: tuple[ListSummary, ...]
    """What each holds."""
    problems: tuple[ListProblem, ...]
    """Every file that is wrong."""
    ready: bool
    """Whether nothing is wrong."""
    verdict: str
    """The same in one line, with the images that have labels and ground truth; each counts once."""


class ConvertedLabels(Document):
    """Labels that were converted (`data convert-labels`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/converted-labels"

    images: int
    """That have labels."""
    file: str
    """What was written."""


class DataTree(Document):
    """A VOC2012 tree that was written (`data write-sample`, `data convert-coco`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/data-tree"

    root: str
    """For `--data`."""
    lists: dict[str, int]
    """Split -> its number of images."""
