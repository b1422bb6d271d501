"""Ctrl-C with real signals to this process, and runs that end at a safe place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsss_methods.cam import METHOD
from wsss_platform.config import DataConfig, SampleConfig, override
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import METRICS
from wsss_platform.run.interrupts import Interrupted, Interrupts, interruptible
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import Event, StageProgress, run
from wsss_platform.store.artefacts import Store
from wsss_platform.train.record import read_epochs


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C as in a terminal: under a shell's `&` it would be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_is_kept_and_the_second_stops(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts("finishing the epoch") as interrupts:
        assert not interrupts.asked()
        press()
        assert interrupts.asked()
        assert "finishing the epoch; Ctrl-C again stops at once" in capfd.readouterr().err
        press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_it_goes_on_ignoring() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupts("finishing") as interrupts:
        press()
        assert not interrupts.asked()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def experiment(**changes: object) -> Experiment:
    small = {"train.epochs": 4, "train.batch": 4, "train.crop": 64, "maps.scales": [1.0], "backbone.weights": "none"}
    changed = {name.replace("__", "."): value for name, value in changes.items()}
    config = override(METHOD.config(), {**small, **changed}, "test")
    return Experiment(METHOD, config, DataConfig(sample=SampleConfig(train=4, val=2, size=64)))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("weights.pt")}


@pytest.mark.parametrize(("every", "reached"), [(1, 2), (3, 3)])
def test_a_training_ends_with_a_checkpoint_and_repeats_no_epoch(tmp_path: Path, every: int, reached: int) -> None:
    """Asked in the second epoch: it ends where everything is stored, and the end has the bytes of one go."""
    wanted = experiment(train__checkpoint_every=every)
    train, store, seen = wanted.stage("train"), Store(tmp_path / "one"), []

    def on_event(event: Event) -> None:
        if isinstance(event, StageProgress) and event.epoch is not None:
            seen.append(event.epoch.epoch)

    runner = LocalRunner(threads=1)
    with pytest.raises(Interrupted):
        run(wanted, store, runner, interruptible(on_event, lambda: len(seen) >= 2, wanted), until=train)
    assert seen[-1] == reached
    before = read_epochs(store.partial("train", train.key) / METRICS)
    run(wanted, store, runner, until=train)
    assert read_epochs(store.folder("train", train.key) / METRICS)[:reached] == before  # with their seconds
    run(wanted, Store(tmp_path / "other"), runner, until=train)
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_who_does_not_ask_is_not_interrupted(tmp_path: Path) -> None:
    wanted = experiment(train__epochs=1)
    watched = interruptible(lambda event: None, lambda: False, wanted)
    assert run(wanted, Store(tmp_path), LocalRunner(threads=1), watched).score is not None


def test_images_end_after_their_chunk(tmp_path: Path) -> None:
    wanted, store = experiment(train__epochs=1), Store(tmp_path)
    runner = LocalRunner(threads=1)
    run(wanted, store, runner, until=wanted.stage("train"))
    asked: list[Event] = []

    def on_event(event: Event) -> None:
        if isinstance(event, StageProgress):
            asked.append(event)

    with pytest.raises(Interrupted):
        run(wanted, store, runner, interruptible(on_event, lambda: bool(asked), wanted))
    assert [event.stage.kind for event in asked if isinstance(event, StageProgress)] == ["maps"]
    assert not store.has("maps", wanted.stage("maps").key)
    assert list(store.partial("maps", wanted.stage("maps").key).glob("maps-*.parquet"))
    assert run(wanted, store, runner).score is not None
