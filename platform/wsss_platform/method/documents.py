"""What `methods` prints."""

from __future__ import annotations

from typing import Any, ClassVar

from wsss_platform.config.document import Document, Part


class ListedMethod(Part):
    """One method."""

    name: str
    title: str
    paper: str
    revision: int
    presets: tuple[str, ...]
    """Names of the partial configs that it ships."""


class MethodList(Document):
    """Every method (`methods`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/methods"

    methods: tuple[ListedMethod, ...]


class MethodField(Part):
    """One config field."""

    field: str
    """Dotted path."""
    default: Any
    meaning: str


class MethodFields(Document):
    """Every config field of a method (`methods METHOD`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/method"

    method: str
    title: str
    fields: tuple[MethodField, ...]
