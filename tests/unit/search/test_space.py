"""Search spaces: what is legal, and what each mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from wsss_platform.config import MapsConfig, MethodConfig, Section
from wsss_platform.errors import InputError
from wsss_platform.search.space import (
    CategoricalAxis,
    FloatAxis,
    IntAxis,
    SearchSpace,
    choice_label,
)
from wsss_platform.search.space_file import field_type, load_space, read_space

WHY = "the paper's value and room around it"


class Loss(Section):
    """Weights."""

    classification: float = 1
    contrast: float = Field(0.05, ge=0, le=1)


class Config(MethodConfig):
    """A method's config with a weight, a count and an optional value."""

    loss: Loss = Loss()
    clusters: int = Field(8, ge=2, le=64)
    margin: float | None = None


def axes(**tables: dict[str, Any]) -> dict[str, Any]:
    return {"axes": {name.replace("__", "."): table for name, table in tables.items()}}


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        read_space(data, Config(), "space.toml")
    return str(caught.value)


def number(**more: Any) -> dict[str, Any]:
    return {"kind": "float", "low": 0.001, "high": 0.2, "log": True, "reason": WHY, **more}


def test_a_file_becomes_axes_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(
        f"""
        [axes."loss.contrast"]
        kind = "float"
        low = 1e-3
        high = 0.2
        log = true
        reason = "{WHY}"
        [axes."clusters"]
        kind = "int"
        low = 2
        high = 10
        step = 4
        reason = "{WHY}"
        [axes."maps.scales"]
        kind = "categorical"
        choices = [[1.0], [0.5, 1.0, 1.5]]
        reason = "{WHY}"
        """
    )
    space = load_space(path, Config())
    assert [axis.path for axis in space.axes] == ["loss.contrast", "clusters", "maps.scales"]
    assert [axis.probes() for axis in space.axes] == [(0.001, 0.2), (2, 10), ((1.0,), (0.5, 1.0, 1.5))]
    assert SearchSpace.model_validate(space.model_dump()) == space


def test_draws_are_legal_and_seeded() -> None:
    given = axes(
        loss__contrast=number(),
        clusters={"kind": "int", "low": 2, "high": 10, "step": 4, "reason": WHY},
        masks__crf={"kind": "categorical", "choices": ["none", "irn", "psa"], "reason": WHY},
    )
    contrast, clusters, crf = read_space(given, Config(), "space.toml").axes
    generator = np.random.default_rng(0)
    drawn = [(contrast.draw(generator), clusters.draw(generator), crf.draw(generator)) for _ in range(200)]
    numbers = [value for value, _, _ in drawn]
    assert 0.001 <= min(numbers) < 0.002
    assert 0.1 < max(numbers) <= 0.2
    assert all(float(f"{value:.4g}") == value for value in numbers), "four digits"
    assert np.median(numbers) < 0.02, "uniform in the logarithm"
    assert {value for _, value, _ in drawn} == {2, 6, 10}
    assert {value for _, _, value in drawn} == {"none", "irn", "psa"}
    assert {crf.draw(generator, ("none",)) for _ in range(50)} == {"irn", "psa"}
    again = np.random.default_rng(0)
    assert (contrast.draw(again), clusters.draw(again), crf.draw(again)) == drawn[0]
    assert [axis.count for axis in (contrast, clusters, crf)] == [float("inf"), 3, 3]


def test_a_study_stores_parameters_for_values() -> None:
    given = axes(
        clusters={"kind": "int", "low": 2, "high": 10, "step": 4, "reason": WHY},
        maps__scales={"kind": "categorical", "choices": [[1.0], [0.5, 1.0, 1.5]], "reason": WHY},
        train__flip={"kind": "categorical", "choices": [True, False], "reason": WHY},
    )
    config = Config(maps=MapsConfig(scales=(1.0,)))
    clusters, scales, flip = read_space(given, config, "space.toml").axes
    assert (clusters.parameter(7), clusters.parameter(99), clusters.value(6)) == (6, 10, 6)
    assert scales.parameter((0.5, 1.0, 1.5)) == "[0.5, 1.0, 1.5]"
    assert scales.value("[1.0]") == (1.0,)
    assert flip.value(False) is False
    assert not flip.same(True, 1)
    assert flip.same([1.0], (1.0,))


@pytest.mark.parametrize(
    ("name", "table", "expected"),
    [
        ("loss.contrst", number(), "did you mean 'loss.contrast'?"),
        ("loss", number(), "is a section; name one of its fields: loss.classification, loss.contrast"),
        ("loss.contrast", number(high=1.5), "at 1.5: loss.contrast: Input should be less than or equal to 1"),
        ("loss.contrast", number(low=-0.5, log=False), "at -0.5: loss.contrast: Input should be greater"),
        ("loss.contrast", number(low=0.0), "a log axis needs low above 0"),
        ("loss.contrast", number(low=0.2), "low must be below high"),
        ("loss.contrast", number(reason=" "), "missing reason"),
        ("loss.contrast", number(reason="short"), "reason: String should have at least 8"),
        ("loss.contrast", number(lo=1), "did you mean 'low'?"),
        ("loss.contrast", number(kind="flot"), "did you mean 'float'?"),
        ("loss.contrast", number(high=float("inf")), "finite"),
        ("loss.contrast", {"kind": "int", "low": 0, "high": 1, "reason": WHY}, "does not fit a field of type float"),
        ("loss.classification", {"kind": "int", "low": 0, "high": 1, "reason": WHY}, "use 'float'"),
        ("clusters", number(low=2, high=4), "kind 'float' does not fit a field of type int; use 'int'"),
        ("train.flip", {"kind": "int", "low": 0, "high": 1, "reason": WHY}, "use 'categorical'"),
        ("clusters", {"kind": "int", "low": 2, "high": 9, "step": 4, "reason": WHY}, "not low 2 plus a multiple"),
        ("clusters", {"kind": "int", "low": 2, "high": 8, "step": 2, "log": True, "reason": WHY}, "exclude each other"),
        ("masks.background", number(log=False), "solved exactly by the threshold sweep"),
        ("masks.crf", {"kind": "categorical", "choices": ["irn", "psa"], "reason": WHY}, "own value 'none'"),
        ("masks.crf", {"kind": "categorical", "choices": ["none", "psb"], "reason": WHY}, "Input should be 'none'"),
        ("train.flip", {"kind": "categorical", "choices": [True], "reason": WHY}, "at least 2 items"),
        ("train.flip", {"kind": "categorical", "choices": [True, True], "reason": WHY}, "twice"),
        ("clusters", {"kind": "categorical", "choices": [8, "8"], "reason": WHY}, "the same value"),
    ],
)
def test_each_mistake_is_named(name: str, table: dict[str, Any], expected: str) -> None:
    message = refused({"axes": {name: table}})
    assert expected in message
    assert message.startswith(f'space.toml: [axes."{name}"]')


def test_an_axis_that_does_nothing_beside_another_field_is_refused() -> None:
    scales = {"axes": {"maps.scales": {"kind": "categorical", "choices": [[1.0], [0.5, 1.0, 1.5]], "reason": WHY}}}
    read_space(scales, Config(), "space.toml")
    with pytest.raises(InputError, match=r"maps\.scales has no effect: maps\.sizes is \[256\]") as raised:
        read_space(scales, Config(maps=MapsConfig(sizes=(256,))), "space.toml")
    assert str(raised.value).startswith('space.toml: [axes."maps.scales"]')


def test_an_unquoted_path_is_explained() -> None:
    assert "quote the dotted path" in refused({"axes": {"loss": {"contrast": number()}}})


@pytest.mark.parametrize("data", [{}, {"axes": {}}, {"axes": 3}])
def test_a_space_without_axes_is_refused(data: dict[str, Any]) -> None:
    assert "no axes" in refused(data)


def test_a_stray_table_is_refused() -> None:
    assert "'axis' is not expected" in refused({"axis": {}, **axes(loss__contrast=number())})


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    with pytest.raises(InputError, match="no such file"):
        load_space(path, Config())
    path.write_text("[axes")
    with pytest.raises(InputError, match="not a TOML file"):
        load_space(path, Config())


def test_nearest_stays_on_the_axis() -> None:
    counts = IntAxis(path="clusters", reason=WHY, kind="int", low=2, high=10, step=4)
    assert [counts.nearest(value) for value in (-3, 3, 5, 10, 99)] == [2, 2, 6, 10, 10]
    weights = FloatAxis(path="loss.contrast", reason=WHY, kind="float", low=0.1, high=0.2)
    assert [weights.nearest(value) for value in (0, 0.15, 1)] == [0.1, 0.15, 0.2]


def test_labels_are_scalars() -> None:
    axis = CategoricalAxis(path="maps.scales", reason=WHY, kind="categorical", choices=((1.0,), (0.5, 2.0)))
    assert [choice_label(choice) for choice in axis.choices] == ["[1.0]", "[0.5, 2.0]"]


def test_field_types() -> None:
    config = Config()
    assert field_type(config, "loss.classification") is float
    assert field_type(config, "clusters") is int
    assert field_type(config, "margin") is float
