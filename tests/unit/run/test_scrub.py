"""Secrets never reach a record; ordinary text does, unharmed."""

from __future__ import annotations

import shlex
import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsss_platform.run.scrub import HIDDEN, scrub, scrub_command, shareable

SECRETS = st.text(string.ascii_letters + string.digits + "_+=.~!$%^&()-", min_size=8, max_size=80)
PLACES = [
    "WANDB_API_KEY={}",
    "export WANDB_API_KEY={}; wsss-platform train cam",
    "train --wandb-token {} --seed 3",
    "--api-key={}",
    '{{"password": "{}"}}',
    "password: {}",
    "cannot open https://someone:{}@example.org/data.zip: refused",
    "s3://{}@bucket/weights.pt",
    "AWS_SECRET_ACCESS_KEY={}",
]


@given(secret=SECRETS, place=st.sampled_from(PLACES))
@example(secret="0123456789abcdef0123456789abcdef01234567", place=PLACES[0])
def test_a_secret_in_a_named_place_is_hidden(secret: str, place: str) -> None:
    clean = scrub(place.format(secret))
    assert HIDDEN in clean
    assert secret not in clean.replace(place.format(""), "")


@given(
    hidden=st.text("0123456789abcdef", min_size=40, max_size=40).filter(lambda t: not t.isalpha() and not t.isdigit())
)
def test_a_bare_weights_and_biases_key_is_hidden(hidden: str) -> None:
    assert hidden not in scrub(f"wandb: login failed for {hidden}, try again")
    assert hidden not in scrub(f"local-{hidden}")


@given(st.text(max_size=200))
def test_scrubbing_twice_changes_nothing_more(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)


@given(secret=SECRETS, place=st.sampled_from(PLACES))
def test_scrubbing_a_hidden_secret_changes_nothing_more(secret: str, place: str) -> None:
    once = scrub(place.format(secret))
    assert scrub(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "wsss-platform tune fbr --data voc12 --set loss.contrast=0.05 --seed 3 --trials 20",
        "wsss-platform train my_pkg.mine:METHOD --set loss.class_token=0.1",
        "train:seed: loss 'classification' is nan at step 17 (images 2007_000032, 2007_000039)",
        "unexpected token at line 3; the basic rule",
        f"/storage/stages/maps/{'0a' * 32}: not in the store",
        "fbr-voc12-train_bal-seed0-trial-0003-abcdef123456 lost its worker",
        "https://github.com/wsss-platform/wsss-platform/issues/2",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize(
    "key",
    ["ghp_" + "a1B2" * 9, "hf_" + "abcD" * 8, "AKIA" + "ABCDEFGHIJKLMNOP", "eyJhbGciOi.eyJzdWIiOiI.c2lnbmF0dXJl"],
)
def test_known_keys_are_hidden_anywhere(key: str) -> None:
    assert scrub(f"failed with {key} given") == f"failed with {HIDDEN} given"


def test_authorisation_headers_are_hidden() -> None:
    assert scrub("Authorization: Bearer abcdefghijklmnop0123") == f"Authorization: Bearer {HIDDEN}"


def test_a_command_hides_the_argument_after_a_sensitive_option() -> None:
    command = scrub_command(["wsss-platform", "train", "cam", "--api-key", "two words", "--name", "my run"])
    assert command == f"wsss-platform train cam --api-key {HIDDEN} --name 'my run'"


@given(st.lists(st.text(string.ascii_lowercase + " '\"-./", min_size=1, max_size=12), max_size=8))
def test_a_plain_command_can_be_split_again(arguments: list[str]) -> None:
    if all(scrub(argument) == argument for argument in arguments):
        assert shlex.split(scrub_command(arguments)) == arguments


def test_what_is_shared_has_neither_home_nor_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert Path.home() == Path("/home/ada")
    shared = shareable({"root": "/home/ada/VOC", "url": "https://a:b@c.org", "other": ["/home/adam", 3], "n": 0.5})
    assert shared == {"root": "~/VOC", "url": f"https://{HIDDEN}@c.org", "other": ["/home/adam", 3], "n": 0.5}
