"""The images and the page of a study: drawn, self-contained, free of secrets and of markup in reasons."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from wsss_platform.api.study_pages import write_page
from wsss_platform.report.study_page import PAGE, _comparison
from wsss_platform.search.documents import StudyComparison
from wsss_platform.tune.figures import ESTIMATOR, failure_figure, importance
from wsss_platform.tune.study import StudyFolder, row

NOISE, SIGNAL = "loss.noise", "loss.signal"
HAS_SCIPY = importlib.util.find_spec("scipy") is not None


def study(folder: Path, trials: int = 24, failures: int = 2) -> StudyFolder:
    """One axis decides, the other does not; rungs, and failures with a secret and a tag in their reason."""
    made = StudyFolder(folder / "s", {"method": ["tiny", 1], "objective": "masks", "selection": "train ground truth"})
    kinds = {NOISE: FloatDistribution(0, 1), SIGNAL: FloatDistribution(0.01, 1, log=True)}
    for index in range(trials):
        params = {NOISE: (index * 0.618) % 1, SIGNAL: 0.01 + 0.99 * ((index * 0.381) % 1)}
        attributes = {"changes": params, "seconds": 1.5}
        made.study.add_trial(
            create_trial(
                params=params,
                distributions=kinds,
                value=0.5 - (params[SIGNAL] - 0.4) ** 2,
                user_attrs=attributes,
                intermediate_values={1: 0.2},
            )
        )
    for _ in range(failures):
        reason = "<b>bad</b> step 3: WANDB_API_KEY=abcdef0123456789 was not taken"
        made.study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"reason": reason}))
    return made


class Page(HTMLParser):
    """Collects images, links and words; tags must close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: dict[str, bytes] = {}
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if tag == "img":
            head, _, data = (given["src"] or "").partition(",")
            assert head == "data:image/png;base64"
            self.images[given["alt"] or ""] = base64.b64decode(data)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_holds_every_image_and_nothing_from_outside(tmp_path: Path) -> None:
    made = study(tmp_path)
    (made.folder / "comparison.json").write_text(json.dumps({"report": REPORT, "rows": ROWS}))
    said: list[str] = []
    written = write_page(made.folder, on_skip=said.append)
    names = {"history", "importance", "parallel", "rank", "rungs", "failures"} | ({"contour"} if HAS_SCIPY else set())
    assert {path.stem for path in written} == names | {"study"}
    assert [text.split(".")[0] for text in said] == ([] if HAS_SCIPY else ["contour"])
    text = (made.folder / PAGE).read_text()
    page = Page(text)
    assert set(page.images) == names
    assert all(data.startswith(b"\x89PNG") for data in page.images.values())
    assert not re.search(r"<script|https?://|<link", text)
    words = " ".join(page.words)
    assert "PED-ANOVA" in words
    assert "half of train ground truth" in words
    assert "24 times on train:half-1" in words
    assert "+12.00" in words
    assert "+2.00 to +20.00" in words
    assert "abcdef0123456789" not in text
    assert "b" not in page.tags
    assert "<b>bad</b> step 3" in words  # as text
    for path in written[:-1]:
        assert path.read_bytes() == page.images[path.stem]


REPORT = {
    "chosen_on": "train:half-1",
    "reported_on": "train:half-2",
    "images": 9,
    "seeds": 1,
    "selection": "half of train ground truth",
    "objective": "best of the sweep",
    "overlap": False,
    "against": "baseline",
    "evaluations": {"train:half-1": 24, "train:half-2": 2},
}
ROWS = [
    {"row": "baseline", "method": "cam", "miou": 30.0, "threshold": 0.3, "seconds": 40.0},
    {"row": "best trial", "method": "cam", "trial": 4, "miou": 42.0, "difference": 12.0, "low": 2.0, "high": 20.0}
    | {"seconds": 50.0},
]


def test_seconds_that_are_not_known_are_left_out() -> None:
    rows = [{**ROWS[0], "seconds": None}, ROWS[1]]
    text = _comparison(StudyComparison.model_validate({"report": REPORT, "rows": rows}))
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>(.*?)</tr>", text, re.S)][1:]
    assert [line[-1] for line in cells] == ["", "50"]


def test_the_importance_finds_the_axis_that_decides(tmp_path: Path) -> None:
    shares = importance(study(tmp_path, trials=60).study)
    assert shares[SIGNAL] > 1.5 * shares[NOISE]
    assert sum(shares.values()) == pytest.approx(1)
    assert "PedAnova" in ESTIMATOR


def test_with_too_few_trials_the_reason_is_told(tmp_path: Path) -> None:
    made = study(tmp_path, trials=1, failures=0)
    said: list[str] = []
    written = write_page(made.folder, on_skip=said.append)
    assert {"rank", "contour"} <= {text.split(".")[0] for text in said}
    assert made.folder / PAGE in written
    assert made.folder / "failures.png" not in written
    assert importance(made.study) == {}


def test_a_failure_is_listed_with_its_reason(tmp_path: Path) -> None:
    rows = [row(trial) for trial in study(tmp_path, 3, 2).study.get_trials()]
    (text,) = failure_figure(rows).texts
    assert text.get_text().startswith("2 of 5 trials failed")
    assert "trial 3: <b>bad</b> step 3" in text.get_text()
    assert "abcdef0123456789" not in text.get_text()
    with pytest.raises(ValueError, match="no trial failed"):
        failure_figure(rows[:3])


def test_the_style_of_others_is_left_alone(tmp_path: Path) -> None:
    import matplotlib

    made = study(tmp_path, 6)
    before = matplotlib.rcParams["axes.facecolor"]
    write_page(made.folder)
    assert matplotlib.rcParams["axes.facecolor"] == before
    assert optuna.__version__
