"""What went into masks: as it is stated, stored and said."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from wsss_platform.config.supervision import Knowledge, Supervision, in_order, joined, knowledge, supervision_words
from wsss_platform.errors import InputError


@pytest.mark.parametrize(
    ("text", "model", "digits", "words"),
    [
        ("image-labels", "", "", "labels"),
        ("saliency:PoolNet", "PoolNet", "", "saliency (PoolNet)"),
        ("image-text-pairs:CLIP ViT-B/16@5806e77c", "CLIP ViT-B/16", "5806e77c", "image-text pairs (CLIP ViT-B/16)"),
        ("class-masks: DeepLab v2 : COCO ", "DeepLab v2 : COCO", "", "class masks (DeepLab v2 : COCO)"),
        ("other:points@user", "points@user", "", "points@user"),
        ("class-agnostic-masks:@0123456789ab", "", "0123456789ab", "class-agnostic masks"),
    ],
)
def test_kind_model_and_hash(text: str, model: str, digits: str, words: str) -> None:
    found = knowledge(text)
    assert (found.kind, found.model, found.hash) == (text.partition(":")[0], model, digits)
    assert found.words() == words
    assert digits in found.words(hashes=True)
    assert not digits or digits not in words


def test_wrong_words() -> None:
    with pytest.raises(
        InputError, match=r"kind of knowledge \(--supervision\) 'image-label'; did you mean 'image-labels'"
    ):
        knowledge("image-label")
    with pytest.raises(InputError, match="--supervision other: .*says what it is"):
        knowledge("other")
    with pytest.raises(InputError, match="at most 80"):
        knowledge("saliency:" + 81 * "x")
    with pytest.raises(ValidationError, match="hash"):
        Knowledge(kind="saliency", hash="../..")


def test_the_order_in_which_it_is_said_is_nothing() -> None:
    said = [knowledge(text) for text in ("saliency:B", "image-labels", "saliency:A@ABCD", "image-labels")]
    assert (
        in_order(said)
        == in_order(reversed(said))
        == tuple(map(knowledge, ("image-labels", "saliency:A@abcd", "saliency:B")))
    )


def test_what_is_unknown_stays_so_when_more_comes_in() -> None:
    saliency = (Knowledge(kind="saliency", hash="abcd"),)
    labels = (Knowledge(kind="image-labels"),)
    assert supervision_words(joined((), saliency)) == "unknown (imported) + saliency"
    assert supervision_words(joined(labels, saliency)) == "labels + saliency"
    assert joined((*labels, *saliency), saliency) == (*labels, *saliency)
    assert joined((), ()) == ()


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("labels", "labels"),
        ("labels + saliency", "labels + saliency"),
        ("labels + CLIP", "labels + CLIP"),
        ("unknown (imported)", "unknown (imported)"),
    ],
)
def test_what_earlier_versions_stored(stored: str, words: str) -> None:
    found = TypeAdapter(Supervision).validate_python(stored)
    assert all(isinstance(each, Knowledge) for each in found)
    assert supervision_words(found) == words
