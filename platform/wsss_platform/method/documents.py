"""What `methods` prints."""

from __future__ import annotations

from typing import Any, ClassVar

from wsss_platform.config.document import Document, Part


class ListedMethod(Part):
    """One method."""

    name: str
    """For the command line."""
    title: str
    """In a few words."""
    paper: str
    """Where it is described."""
    revision: int
    """Raised when the same settings mean something else."""
    presets: tuple[str, ...]
    """Names of the partial configs that it ships."""


class MethodList(Document):
    """Every method (`methods`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/methods"

    methods: tuple[ListedMethod, ...]
    """By name."""


class MethodField(Part):
    """One setting."""

    field: str
    """Dotted path."""
    default: Any
    """A value as in TOML; null for none."""
    meaning: str
    """With unit and range."""


class MethodFields(Document):
    """Every setting of a method (`methods METHOD`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/method"

    method: str
    """Its name."""
    title: str
    """In a few words."""
    fields: tuple[MethodField, ...]
    """Depth first."""
