"""The page of a comparison: its numbers and words, its recipe, its figures, and what of it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stored_runs import PROTOCOL
from wsss_platform.api._comparison import Comparison
from wsss_platform.config.recipes import Variant, comparison_recipe, read_recipe
from wsss_platform.errors import InputError
from wsss_platform.plan.protocol import Protocol
from wsss_platform.report.comparison_page import (
    BEGIN,
    END,
    LARGEST,
    NOTES,
    conclusions,
    page_file,
    page_text,
    write_page,
)
from wsss_platform.report.documents import ComparedVariant, ComparisonDocument, Difference, Gap, Origin

SCORES = {"cam": (0.3254, 0.0152), "fbr": (0.4045, 0.0048), "drs": (0.2332, 0.025), "rtc": (0.334, 0.023)}
GAPS = {"fbr": (0.0791, 0.056, 0.1031), "drs": (-0.0922, -0.1191, -0.0665), "rtc": (0.0085, -0.0211, 0.0351)}


def recipe(kind: str = "sample") -> str:
    variants = {label: Variant(label, {}) for label in SCORES}
    return comparison_recipe(variants, {"kind": kind}, {}, {}, {"seeds": [0, 1, 2]})


def compared(folder: Path, *, kind: str = "sample", labels: tuple[str, ...] = tuple(SCORES), seeds: int = 3) -> Any:
    """A comparison with the numbers above, whose figures are small files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("effects.png", "image-a.png", "image-b.png"):
        (folder / name).write_bytes(name.encode())
    protocol = Protocol.model_validate(PROTOCOL)
    rows = [
        ComparedVariant(
            label=label,
            method=label,
            seeds=tuple(range(seeds)),
            mean_iou=SCORES[label][0],
            mean_iou_by_seed=(SCORES[label][0],) * seeds,
            spread=SCORES[label][1] if seeds > 1 else None,
            thresholds=(0.3,) * seeds,
            training_seconds=None if label == "rtc" else 84.4,
            classes={},
            effects={},
        )
        for label in labels
    ]
    gaps = [(label, dict(zip(("value", "low", "high"), GAPS[label], strict=True))) for label in labels[1:]]
    return ComparisonDocument(
        comparison="four",
        folder=str(folder),
        at="best",
        rows=tuple(rows),
        differences=tuple(
            Difference(label=label, against=labels[0], mean_iou=Gap(**gap, wins=0.5), effects={}) for label, gap in gaps
        ),
        protocols={
            label: protocol.model_copy(update={"label_gate": label != "rtc", "scales": label}) for label in labels
        },
        origin=Origin(date="2026-01-02", commit="0123456789abcdef+", version="0.1", recipe=recipe(kind)),
        drawn=("b", "a"),
    )


def test_the_page_says_the_numbers(tmp_path: Path) -> None:
    text = page_text(compared(tmp_path))
    assert text.startswith("# four\n\n- Made: 2026-01-02, commit 0123456789ab with changed files, wsss-platform 0.1\n")
    assert "- Images: trained on x (1), scored on x (1)\n- Random seeds: 0, 1, 2\n" in text
    assert "| cam | labels | 32.54 ± 1.52 | baseline | 84 |" in text
    assert "| fbr | labels | 40.45 ± 0.48 | +7.91 [+5.60, +10.31] | 84 |" in text
    unlabelled = "| rtc | labels; none when maps are made | 33.40 ± 2.30 | +0.85 [-2.11, +3.51] | not recorded |"
    assert unlabelled in text
    assert "| supervision | labels |" in text
    assert "| variant | label gate | scales |" in text
    assert "| rtc | no | rtc |" in text


def test_outside_a_checkout_the_page_says_so(tmp_path: Path) -> None:
    found = compared(tmp_path)
    found = found.model_copy(update={"origin": found.origin.model_copy(update={"commit": None})})
    assert "- Made: 2026-01-02, not from a checkout, wsss-platform 0.1\n" in page_text(found)


def test_the_conclusions_follow_from_the_intervals(tmp_path: Path) -> None:
    first, second, third = conclusions(compared(tmp_path))
    assert first == "Above cam, with an interval above 0: fbr (+7.91 [+5.60, +10.31])."
    assert second == (
        "No difference to cam is shown for rtc (+0.85 [-2.11, +3.51]); "
        "below cam, with an interval below 0: drs (-9.22 [-11.91, -6.65])."
    )
    assert third == "The spread over 3 random seeds (standard deviation) is 0.48 points for fbr up to 2.50 for drs."


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            ("cam", "rtc"),
            ("No variant is above cam with an interval above 0.", "No difference to cam is shown for rtc "),
        ),
        (
            ("cam", "drs"),
            ("No variant is above cam with an interval above 0.", "Below cam, with an interval below 0: "),
        ),
        (("cam", "fbr"), ("Above cam, with an interval above 0: fbr ", "Every variant is above cam.")),
        (("cam",), ("cam is the only variant, so nothing is compared.", "No difference was measured.")),
    ],
)
def test_conclusions_of_fewer_variants(labels: tuple[str, ...], said: tuple[str, str], tmp_path: Path) -> None:
    for text, expected in zip(conclusions(compared(tmp_path, labels=labels)), said, strict=False):
        assert text.startswith(expected)


def test_one_seed_says_nothing_of_the_spread(tmp_path: Path) -> None:
    found = compared(tmp_path, seeds=1)
    assert conclusions(found)[2].startswith("One random seed: the spread over random seeds is not known")
    assert "Differences are paired over images, with 95 % intervals." in page_text(found)


def test_the_recipe_is_read_back(tmp_path: Path) -> None:
    variants = {
        "cam": Variant("cam", {}),
        "a.b c": Variant("fbr", {"loss.negative_regions": 0.1, "maps.scales": (0.5, 1.0), "data.labels": "xml"}),
    }
    settings, data = {"train.epochs": 4, "initial": "small"}, {"kind": "voc12", "root": "VOC", "sample.size": 64}
    text = comparison_recipe(variants, data, settings, {"preset": None, "local": True}, {"seeds": [2], "at": "masks"})
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    found = read_recipe(path, "compare")
    assert found.options == {"local": True, "data": "voc12", "root": "VOC", "seeds": [2], "at": "masks"}
    assert found.settings == {**settings, "data.sample.size": 64}
    assert list(found.variants) == ["cam", "a.b c"]
    assert found.variants["a.b c"].settings == {**variants["a.b c"].settings, "maps.scales": [0.5, 1.0]}
    assert max(map(len, text.splitlines())) <= 100


def test_figures_lie_beside_the_page(tmp_path: Path) -> None:
    file = write_page(compared(tmp_path / "c"), tmp_path / "page.md")
    assert (tmp_path / "page-image.png").read_bytes() == b"image-b.png", "the image that differs most"
    assert (tmp_path / "page-effects.png").read_bytes() == b"effects.png"
    assert "(page-image.png)" in file.read_text(encoding="utf-8")


def test_a_large_figure_is_passed_over(tmp_path: Path) -> None:
    found = compared(tmp_path / "c")
    (tmp_path / "c" / "image-b.png").write_bytes(b"x" * LARGEST)
    write_page(found, tmp_path / "page.md")
    assert (tmp_path / "page-image.png").read_bytes() == b"image-a.png"


def test_no_photograph_is_copied(tmp_path: Path) -> None:
    file = write_page(compared(tmp_path / "c", kind="voc12"), tmp_path / "page.md")
    assert [path.name for path in tmp_path.glob("*.png")] == ["page-effects.png"]
    assert file.read_text(encoding="utf-8").count("![") == 1


def test_a_page_is_renewed_and_notes_are_kept(tmp_path: Path) -> None:
    found = compared(tmp_path / "c")
    file = Comparison(found).write_page(tmp_path)
    assert file == tmp_path / "c.md"
    text = file.read_text(encoding="utf-8")
    assert text.endswith(f"{END}\n\n{NOTES}\n\nSuperseded: no\n")
    file.write_text(f"above\n{text}by hand\n", encoding="utf-8")
    write_page(found.model_copy(update={"comparison": "five"}), file)
    again = file.read_text(encoding="utf-8")
    assert again == f"above\n{text}by hand\n".replace("# four", "# five")
    assert again.count(BEGIN) == again.count(END) == 1


def test_a_file_that_is_no_page_is_refused(tmp_path: Path) -> None:
    for content in ("text\n", f"{BEGIN}\n", f"{END}\n{BEGIN}\n{END}\n"):
        (tmp_path / "a.md").write_text(content)
        with pytest.raises(InputError, match="compare did not write it") as refused:
            write_page(compared(tmp_path / "c"), tmp_path / "a.md")
        assert refused.value.field == "--page"
        assert (tmp_path / "a.md").read_text() == content
    with pytest.raises(InputError, match="ends in .md") as refused:
        page_file(tmp_path / "a.html", "c")
    assert refused.value.nearest == str(tmp_path / "a.md")
    with pytest.raises(InputError, match="a.md is a file; expected a folder"):
        page_file(tmp_path / "a.md" / "b.md", "c")
    (tmp_path / "c.md").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        page_file(tmp_path, "c")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="a.md: is there and no text in UTF-8") as refused:
        page_file(tmp_path / "a.md", "c")
    assert refused.value.field == "--page"


@pytest.mark.parametrize("kind", ["effects", "image"])
def test_a_file_of_another_is_not_replaced_by_a_figure(kind: str, tmp_path: Path) -> None:
    (figure := tmp_path / f"page-{kind}.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=f"page-{kind}.png is there") as refused:
        write_page(compared(tmp_path / "c"), tmp_path / "page.md")
    assert refused.value.field == "--page"
    assert figure.read_bytes() == b"mine"
    assert not (tmp_path / "page.md").exists()
    figure.unlink()
    write_page(compared(tmp_path / "c"), tmp_path / "page.md")
    write_page(compared(tmp_path / "c"), tmp_path / "page.md")  # whose figures those are, now
    assert figure.read_bytes() != b"mine"


def test_a_folder_need_not_exist(tmp_path: Path) -> None:
    assert page_file(tmp_path / "pages", "c") == tmp_path / "pages" / "c.md"
    assert page_file(tmp_path / "page.md", "c") == tmp_path / "page.md"
