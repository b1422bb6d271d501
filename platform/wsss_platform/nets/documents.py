"""What `import-weights` prints."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from wsss_platform.config.document import Document


class ImportedWeights(Document):
    """How a released checkpoint fits a network of this platform (`import-weights`)."""

    SCHEMA: ClassVar[str] = "wsss-platform/imported-weights"

    source: str
    """The file that was read."""
    kind: str = Field(serialization_alias="as")
    """Name of the release."""
    names: str
    """Where the release's names of tensors come from."""
    found: int
    """Tensors that were taken."""
    left_out: tuple[str, ...]
    """Tensors that are left out on purpose."""
    initial: tuple[str, ...]
    """Tensors that the release does not store; they keep their initial values."""
    missing: tuple[str, ...]
    """Tensors that should be in the file and are not."""
    unexpected: tuple[str, ...]
    """Tensors of the file that nothing here takes."""
    shapes: tuple[str, ...]
    """Tensors of another shape, with both shapes."""
    contradicting: tuple[str, ...]
    """Tensors that the file has twice, and differently."""
    out: str | None
    """The file that was written; null when the weights were refused."""

    @property
    def problems(self) -> dict[str, tuple[str, ...]]:
        """What should be empty and is not, by what it is called."""
        lists = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.shapes,
            "stored twice with different values": self.contradicting,
        }
        return {what: names for what, names in lists.items() if names}
