"""The knowledge that went into masks, as the protocol states it: kinds, each with the model that brought it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from wsss_platform.config.section import Section, validated
from wsss_platform.errors import unknown

Kind = Literal[
    "image-labels",
    "image-text-pairs",
    "self-supervised-features",
    "class-agnostic-masks",
    "saliency",
    "class-masks",
    "other",
]
"""Image-level labels; pairs of images and texts, as CLIP has seen; features learnt without labels, as DINO's; masks
without classes, as SAM has seen; saliency maps; masks with classes, of other images too; what none of these is."""
KINDS: tuple[Kind, ...] = get_args(Kind)
UNKNOWN = "unknown (imported)"
"""What a protocol says of what is not known."""
_WORDS = {
    "image-labels": "labels",
    "image-text-pairs": "image-text pairs",
    "self-supervised-features": "self-supervised features",
    "class-agnostic-masks": "class-agnostic masks",
    "class-masks": "class masks",
}
_FORMER = {"labels": "image-labels", "saliency": "saliency"}
"""Words of protocols that earlier versions stored."""


class Knowledge(Section):
    """One kind of knowledge and where it came from."""

    kind: Kind
    model: str = Field("", max_length=80)
    """The network that brought it, such as "CLIP ViT-B/16"; "" where none did or it is not known."""
    hash: str = Field("", pattern=r"^[0-9a-f]{0,64}$")
    """Of its weights or of what it made, hexadecimal; "" where it is not known."""

    @model_validator(mode="after")
    def _named(self) -> Knowledge:
        if self.kind == "other" and not self.model:
            raise ValueError("other knowledge says what it is, such as other:scribbles")
        return self

    def words(self, hashes: bool = False) -> str:
        """Such as "image-text pairs (CLIP ViT-B/16)"."""
        said = [self.hash] if hashes and self.hash else []
        if self.kind == "other":
            return " ".join((self.model, *(f"({text})" for text in said)))
        said = [self.model, *said] if self.model else said
        return f"{_WORDS.get(self.kind, self.kind)} ({', '.join(said)})" if said else _WORDS.get(self.kind, self.kind)


def knowledge(text: str) -> Knowledge:
    """What KIND, KIND:MODEL or KIND:MODEL@HASH says; InputError with the nearest kind otherwise."""
    kind, _, rest = text.partition(":")
    model, at, digits = rest.rpartition("@")
    if not at or not re.fullmatch(r"[0-9a-fA-F]{4,64}", digits):
        model, digits = rest, ""
    if kind.strip() not in KINDS:
        raise unknown("kind of knowledge (--supervision)", kind.strip(), KINDS, "--supervision")
    said = {"kind": kind.strip(), "model": model.strip(), "hash": digits.lower()}
    return validated(Knowledge, said, f"--supervision {text}")


def in_order(supervision: Iterable[Knowledge]) -> tuple[Knowledge, ...]:
    """Each once, whatever the order in which it was said."""
    return tuple(sorted(set(supervision), key=lambda each: (KINDS.index(each.kind), each.model, each.hash)))


def joined(known: Sequence[Knowledge], more: Sequence[Knowledge]) -> tuple[Knowledge, ...]:
    """What was known with kinds that came in later; that the rest is unknown stays said."""
    new = [each for each in more if each.kind not in [one.kind for one in known]]
    return (*(known or (Knowledge(kind="other", model=UNKNOWN),)), *new) if new else tuple(known)


def supervision_words(supervision: Sequence[Knowledge], hashes: bool = False) -> str:
    """In one line, such as "labels + saliency"; `UNKNOWN` where nothing is stated."""
    return " + ".join(each.words(hashes) for each in supervision) or UNKNOWN


def _of_earlier_versions(given: Any) -> Any:
    """Protocols were stored with a text such as "labels + saliency"."""
    if not isinstance(given, str):
        return given
    if given in (UNKNOWN, "unknown"):
        return ()
    parts = given.split(" + ")
    return tuple(
        {"kind": _FORMER[part]} if part in _FORMER else {"kind": "other", "model": part[:80]} for part in parts
    )


Supervision = Annotated[tuple[Knowledge, ...], BeforeValidator(_of_earlier_versions)]
"""Empty where it is not known."""
