"""A comparison as a page in Markdown, such as those of docs/experiments: what came out, and how to repeat it.

The page is written again by the next comparison that is given the same file. Only what stands between `BEGIN` and `END`
is renewed, so that a person's text below `NOTES` stays.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from wsss_platform.config.supervision import supervision_words
from wsss_platform.errors import InputError
from wsss_platform.plan.protocol import Protocol
from wsss_platform.report.comparison_folder import EFFECTS, image_file
from wsss_platform.report.documents import ComparedVariant, ComparisonDocument, Difference, Gap
from wsss_platform.report.table import Table, aligned
from wsss_platform.report.tables.comparison import AT
from wsss_platform.store.artefacts import write_atomic

BEGIN, END, NOTES = "<!-- comparison: begin -->", "<!-- comparison: end -->", "<!-- notes -->"
LARGEST = 400_000
"""Bytes of a figure that is copied beside a page: pages lie in repositories."""
_WORDS = {"train_list": "trained on", "score_list": "scored on", "truth": "ground truth"}
"""Fields of a protocol whose name alone would not be understood."""
_KINDS = ("effects", "image")
"""Of the figures beside a page; ends their names."""


def write_page(document: ComparisonDocument, path: Path) -> Path:
    """Write the page and its figures, or renew a page that was written before.

    Args:
        document: the comparison, whose figures are in its folder.
        path: the page (.md), or a folder for it.

    Returns:
        The page's file.

    Raises:
        InputError: `path` is no place for a page; see `page_file`.
    """
    file = page_file(path, Path(document.folder).name)
    file.parent.mkdir(parents=True, exist_ok=True)
    figures = []
    for caption, source, kind in _figures(document):
        figure = _figure_file(file, kind)
        write_atomic(figure, source.read_bytes())
        figures.append((caption, figure.name))
    made = f"{BEGIN}\n\n{page_text(document, figures)}\n\n{END}"
    if file.exists():
        before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
        text = f"{before}{made}{rest.partition(END)[2]}"
    else:
        text = f"{made}\n\n{NOTES}\n\nSuperseded: no\n"
    write_atomic(file, text)
    return file


def page_file(path: Path, name: str) -> Path:
    """The file of a page.

    Args:
        path: a file that ends in .md, or a folder, which need not exist.
        name: of the comparison; in a folder, the page's.

    Raises:
        InputError: a file with another ending, a file where a folder is needed, one that is there and is no page of a
            comparison, or a new page beside a file that has the name of one of its figures.
    """
    if path.suffix != ".md" and (path.is_file() or (path.suffix and not path.is_dir())):
        near = path.with_suffix(".md")
        told = f"--page {path}: expected a file that ends in .md, such as {near}, or a folder"
        raise InputError(told, field="--page", nearest=str(near))
    file = path / f"{name}.md" if path.is_dir() or path.suffix != ".md" else path
    if file.is_dir():
        raise InputError(f"--page {path}: {file} is a folder; expected a file", field="--page")
    for parent in file.parents:
        if parent.exists() and not parent.is_dir():
            raise InputError(f"--page {path}: {parent} is a file; expected a folder", field="--page")
    if not file.exists():
        if taken := next((each for each in (_figure_file(file, kind) for kind in _KINDS) if each.exists()), None):
            raise InputError(
                f"--page {file}: {taken} is there, and a figure of the page would replace it; expected another name",
                field="--page",
            )
    else:
        before, begin, rest = _read(file).partition(BEGIN)
        if not begin or END not in rest or END in before:
            told = f"--page {file}: is there and holds no line {BEGIN} before a line {END}, so compare did not write it"
            raise InputError(f"{told}; expected another file", field="--page")
    return file


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        told = f"--page {file}: is there and no text in UTF-8, so compare did not write it; expected another file"
        raise InputError(told, field="--page") from None


def _figure_file(page: Path, kind: str) -> Path:
    return page.with_name(f"{page.stem}-{kind}.png")


def page_text(document: ComparisonDocument, figures: Sequence[tuple[str, str]] = ()) -> str:
    """What the page says of a comparison, without its markers; `figures` are (caption, file name beside the page)."""
    shown = [f"![{caption}]({quote(name)})" for caption, name in figures]
    parts = [
        f"# {document.comparison}",
        _facts(document),
        "## Result",
        f"Percent; {AT[document.at]}. Differences are paired over images"
        f"{' and random seeds' if _seeds(document) > 1 else ''}, with 95 % intervals.",
        result_table(document).to_markdown().rstrip(),
        *shown,
        "## Conclusion",
        "\n".join(f"{number}. {text}" for number, text in enumerate(conclusions(document), 1)),
        "## How to repeat it",
        "Save this as `recipe.toml`:",
        f"```toml\n{document.origin.recipe.rstrip()}\n```",
        "```console\n$ wsss-platform compare --recipe recipe.toml\n```",
        "## Protocol",
        *_protocol(document),
    ]
    return "\n\n".join(parts)


def result_table(document: ComparisonDocument) -> Table:
    """A line for each variant: supervision, mean IoU, spread, difference to the baseline, seconds of training."""
    baseline = document.rows[0].label
    gaps = {one.label: one.mean_iou for one in document.differences}
    rows = tuple(
        (
            row.label,
            _supervision(document.protocols[row.label]),
            _score(row),
            _interval(gaps[row.label]) if row.label in gaps else "baseline",
            "not recorded" if row.training_seconds is None else f"{row.training_seconds:.0f}",
        )
        for row in document.rows
    )
    headings = ("variant", "supervision", "mIoU", f"minus {baseline}", "training, seconds")
    return Table("", aligned(headings, ("variant", "supervision")), rows)


def conclusions(document: ComparisonDocument) -> tuple[str, str, str]:
    """What the numbers say, and no more: which variants are above the baseline, which are not, and the spread."""
    baseline = document.rows[0].label
    above = [one for one in document.differences if (one.mean_iou.low or 0) > 0]
    below = [one for one in document.differences if one.mean_iou.high is not None and one.mean_iou.high < 0]
    open_ = [one for one in document.differences if one not in above and one not in below]
    if not document.differences:
        first, second = f"{baseline} is the only variant, so nothing is compared.", "No difference was measured."
    else:
        first = (
            f"Above {baseline}, with an interval above 0: {_listed(above)}."
            if above
            else f"No variant is above {baseline} with an interval above 0."
        )
        told = []
        if open_:
            told.append(f"No difference to {baseline} is shown for {_listed(open_)}")
        if below:
            told.append(f"below {baseline}, with an interval below 0: {_listed(below)}")
        text = "; ".join(told) or f"Every variant is above {baseline}"
        second = f"{text[0].upper()}{text[1:]}."
    return first, second, _spread(document)


def _spread(document: ComparisonDocument) -> str:
    count = _seeds(document)
    known = [(row.spread, row.label) for row in document.rows if row.spread is not None]
    if not known:
        return "One random seed: the spread over random seeds is not known, and the intervals are over images alone."
    low, high = min(known), max(known)
    if low == high:
        return f"The spread over {count} random seeds (standard deviation) is {100 * low[0]:.2f} points."
    return (
        f"The spread over {count} random seeds (standard deviation) is {100 * low[0]:.2f} points for {low[1]} up to "
        f"{100 * high[0]:.2f} for {high[1]}."
    )


def _facts(document: ComparisonDocument) -> str:
    origin, said = document.origin, document.protocols[document.rows[0].label]
    commit = "not from a checkout" if origin.commit is None else f"commit {origin.commit[:12]}{_changed(origin.commit)}"
    seeds = ", ".join(map(str, document.rows[0].seeds))
    return "\n".join(
        (
            f"- Made: {origin.date}, {commit}, wsss-platform {origin.version}",
            f"- Data: {said.data}",
            f"- Images: trained on {said.train_list} ({said.train_images}), scored on {said.score_list} "
            f"({said.score_images})",
            f"- Random seeds: {seeds}",
        )
    )


def _changed(commit: str) -> str:
    return " with changed files" if commit.endswith("+") else ""


def _protocol(document: ComparisonDocument) -> Iterator[str]:
    """What holds for all variants as a table, and a line for each field in which they differ."""
    told = {label: protocol.fields_in_words() for label, protocol in document.protocols.items()}
    first = next(iter(told.values()))
    common = [name for name in first if all(each[name] == first[name] for each in told.values())]
    rows = tuple((_words(name), _value(first[name])) for name in common)
    yield Table("", aligned(("setting", "all variants"), ("setting", "all variants")), rows).to_markdown().rstrip()
    if differing := [name for name in first if name not in common]:
        headings = ("variant", *map(_words, differing))
        lines = tuple((label, *(_value(each[name]) for name in differing)) for label, each in told.items())
        yield "The variants differ in:"
        yield Table("", aligned(headings, headings), lines).to_markdown().rstrip()


def _words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def _value(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _figures(document: ComparisonDocument) -> Iterator[tuple[str, Path, str]]:
    """(caption, file, one of `_KINDS`) of each figure for the page: the bars, and an image of the sample."""
    folder = Path(document.folder)
    if _small(folder / EFFECTS):
        yield "what the masks get right and wrong, in percent", folder / EFFECTS, "effects"
    if tomllib.loads(document.origin.recipe)["data"]["kind"] != "sample":
        return
    for image in document.drawn:
        if _small(folder / image_file(image)):
            yield f"image {image}, on which the variants differ most", folder / image_file(image), "image"
            return


def _small(file: Path) -> bool:
    return file.is_file() and file.stat().st_size < LARGEST


def _seeds(document: ComparisonDocument) -> int:
    return len(document.rows[0].seeds)


def _supervision(said: Protocol) -> str:
    words = supervision_words(said.supervision)
    return words if said.label_gate else f"{words}; none when maps are made"


def _score(row: ComparedVariant) -> str:
    if row.mean_iou is None:
        return "-"
    return f"{100 * row.mean_iou:.2f}" + ("" if row.spread is None else f" ± {100 * row.spread:.2f}")


def _listed(found: Iterable[Difference]) -> str:
    return ", ".join(f"{one.label} ({_interval(one.mean_iou)})" for one in found)


def _interval(gap: Gap) -> str:
    if gap.value is None or gap.low is None or gap.high is None:
        return "not measured"
    return f"{100 * gap.value:+.2f} [{100 * gap.low:+.2f}, {100 * gap.high:+.2f}]"
