"""Configs: override by dotted path, clear errors, TOML round trip, keys independent of dict order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsss_platform.config import (
    DataConfig,
    MethodConfig,
    canonical,
    fingerprint,
    flatten,
    leaves,
    look_up,
    override,
    parse_assignment,
    read_toml,
    to_toml,
    validated,
)
from wsss_platform.errors import InputError


def test_override_changes_one_field_and_nothing_else() -> None:
    before = MethodConfig()
    after = override(before, {"train.epochs": 3})
    assert after.train.epochs == 3
    assert dict(leaves(after)) == {**dict(leaves(before)), "train.epochs": 3}
    assert before.train.epochs != 3


@pytest.mark.parametrize(
    ("path", "nearest"),
    [("train.epoch", "train.epochs"), ("trian.epochs", "train.epochs"), ("maps.scale", "maps.scales")],
)
def test_a_wrong_path_names_the_nearest_right_one(path: str, nearest: str) -> None:
    with pytest.raises(InputError, match=nearest):
        override(MethodConfig(), {path: 1})


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("train.epochs", 0, "greater than or equal to 1"),
        ("train.epochs", "many", "integer"),
        ("masks.background", 1.5, "less than or equal to 1"),
        ("train.resize_range", [2.0, 1.0], "resize_range"),
        ("backbone.output_stride", 12, "8, 16 or 32"),
        ("maps.scales", [], "scales"),
    ],
)
def test_an_illegal_value_names_the_field_and_what_was_expected(path: str, value: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        override(MethodConfig(), {path: value}, "--set")
    assert path.split(".")[0] in str(error.value)
    assert said in str(error.value)
    assert "--set" in str(error.value)


def test_an_unknown_key_in_a_file_names_the_nearest_right_one() -> None:
    with pytest.raises(InputError, match=r"train\.epochs"):
        validated(MethodConfig, {"train": {"epoch": 3}}, "my.toml")


def test_toml_round_trip(tmp_path: Path) -> None:
    config = override(MethodConfig(), {"train.learning_rate": 1e-5, "maps.scales": [0.5, 2.0], "train.flip": False})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert validated(MethodConfig, read_toml(path), str(path)) == config
    assert override(MethodConfig(), flatten(read_toml(path))) == config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loss.contrast=0.05", ("loss.contrast", 0.05)),
        ("train.learning_rate=1e-4", ("train.learning_rate", 1e-4)),
        ("train.flip=false", ("train.flip", False)),
        ("maps.scales=[0.5, 1]", ("maps.scales", [0.5, 1])),
        ("masks.crf=irn", ("masks.crf", "irn")),
        ("backbone.weights=/data/a b.pth", ("backbone.weights", "/data/a b.pth")),
        ("data.root=a=b", ("data.root", "a=b")),
    ],
)
def test_assignments(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["train.epochs", "=3", "train epochs=3", "../x=1"])
def test_a_malformed_assignment_says_what_was_expected(text: str) -> None:
    with pytest.raises(InputError, match="expected SETTING=VALUE"):
        parse_assignment(text)


def test_a_malformed_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("epochs = = 3")
    with pytest.raises(InputError, match=r"bad\.toml"):
        read_toml(path)
    with pytest.raises(InputError, match="no such file"):
        read_toml(tmp_path / "none.toml")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), PLAIN, max_size=6))
def test_fingerprints_do_not_depend_on_dict_order(data: dict[str, Any]) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(list(value))}
        return [turned(item) for item in value] if isinstance(value, list) else value

    assert canonical(data) == canonical(turned(data))
    assert fingerprint(data) == fingerprint(turned(data))


def test_every_field_says_what_it_means() -> None:
    for config in (MethodConfig(), DataConfig()):
        for path, _ in leaves(config):
            parent, _, name = path.rpartition(".")
            section = look_up(config, parent) if parent else config
            assert type(section).model_fields[name].description, f"{path} has no description"
