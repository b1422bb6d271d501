import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as distributed
from torch.nn.parallel import DistributedDataParallel as DDP

from tiny_method import TinyConfig, TinyLoss, TinyModule, TinySplit, Trouble, tiny_job
from two_workers import leave
from wsss_platform.config import TrainConfig
from wsss_platform.data.split import Sample
from wsss_platform.errors import InputError, RunError
from wsss_platform.method import Phase
from wsss_platform.method.module import Batch
from wsss_platform.plan.jobs import EpochEnd, TrainJob
from wsss_platform.train.checkpoint import STATE, read_torch
from wsss_platform.train.loop import train_phase

SHORT = TrainConfig(epochs=2, batch=4, crop=48)


def _run(job: TrainJob, **options: Any) -> list[EpochEnd]:
    return [end for end, _ in train_phase(job, **options)]


def _losses(ends: list[EpochEnd]) -> list[dict[str, float]]:
    return [dict(end.losses) for end in ends]


def _state(job: TrainJob, folder: Path, checkpoint: Path | None = None) -> dict[str, Any]:
    for end, save in train_phase(job, checkpoint=checkpoint):
        if end.epoch == end.epochs:
            save(folder)
    return read_torch(folder / STATE)


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_resumed_is_bit_equal_to_uninterrupted(stop: int, optimiser: Any, tmp_path: Path) -> None:
    """With dropout, noise, a bank and an averaged copy: losses, weights and optimiser state."""
    job = tiny_job(train=TrainConfig(epochs=4, batch=4, crop=48, optimiser=optimiser))
    whole = _run(job)
    for end, save in train_phase(job):
        if end.epoch == stop:
            save(tmp_path / "checkpoint")
            break
    torch.rand(17)  # whatever the process draws in between
    rest = _run(job, checkpoint=tmp_path / "checkpoint")
    assert [end.epoch for end in rest] == list(range(stop + 1, 5))
    assert _losses(rest) == _losses(whole[stop:])
    assert [end.learning_rate for end in rest] == [end.learning_rate for end in whole[stop:]]
    complete = _state(job, tmp_path / "a")
    resumed = _state(job, tmp_path / "b", tmp_path / "checkpoint")
    torch.testing.assert_close(resumed["model"], complete["model"], rtol=0, atol=0)
    torch.testing.assert_close(resumed["optimiser"]["state"], complete["optimiser"]["state"], rtol=0, atol=0)
    assert resumed["optimiser"]["param_groups"] == complete["optimiser"]["param_groups"]
    assert int(complete["model"]["at"]) == 4 * 12  # the bank saw every image of every epoch


def test_seed_decides() -> None:
    assert _losses(_run(tiny_job(train=SHORT))) == _losses(_run(tiny_job(train=SHORT)))
    assert _losses(_run(tiny_job(train=SHORT))) != _losses(_run(tiny_job(train=SHORT, seed=1)))


def test_loader_processes_change_nothing() -> None:
    assert _losses(_run(tiny_job(train=SHORT), loaders=2)) == _losses(_run(tiny_job(train=SHORT)))


def test_the_loss_falls_and_the_total_is_the_weighted_sum() -> None:
    job = tiny_job(train=TrainConfig(epochs=12, batch=4, crop=48, learning_rate=5e-3, resize_range=(1, 1)))
    ends = _run(job)
    assert ends[-1].losses["classification"] < 0.9 * ends[0].losses["classification"]
    for end in ends:
        assert set(end.losses) == {"classification", "contrast", "total"}
        parts = end.losses["classification"] + 0.1 * end.losses["contrast"]
        assert end.losses["total"] == pytest.approx(parts, rel=1e-5)
    assert [end.step for end in ends] == [3 * epoch for epoch in range(1, 13)]
    optimiser = {"train.learning_rate": 5e-3, "train.weight_decay": job.experiment.config.train.weight_decay}
    assert ends[0].applied == {
        "loss.classification": 1.0,
        "loss.contrast": 0.1,
        **{path: pytest.approx(value) for path, value in optimiser.items()},
        "train.epochs": 12,
    }
    assert ends[0].images_per_second > 0


def test_poly_schedule_reaches_every_step() -> None:
    train = TrainConfig(epochs=2, batch=4, crop=48, schedule="poly", power=1.0, learning_rate=0.6)
    ends = _run(tiny_job(train=train))
    assert [end.learning_rate for end in ends] == [pytest.approx(0.6 * 4 / 6), pytest.approx(0.6 * 1 / 6)]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_and_resumes(precision: Any, tmp_path: Path) -> None:
    job = tiny_job(train=TrainConfig(epochs=2, batch=4, crop=48, precision=precision))
    steps = train_phase(job)
    _, save = next(steps)
    save(tmp_path)
    rest = [end for end, _ in steps]
    assert ("scale" in read_torch(tmp_path / STATE)["scaler"]) == (precision == "float16")
    assert _losses(_run(job, checkpoint=tmp_path)) == _losses(rest)
    full = _run(tiny_job(train=SHORT))
    assert rest[-1].losses["classification"] == pytest.approx(full[-1].losses["classification"], rel=0.02)
    assert rest[-1].losses["classification"] != full[-1].losses["classification"]


def test_nan_stops_with_step_term_and_images() -> None:
    job = tiny_job(train=SHORT, trouble=Trouble(nan_step=4))
    epochs = train_phase(job)
    assert next(epochs)[0].epoch == 1
    with pytest.raises(RunError) as caught:
        next(epochs)
    message = str(caught.value)
    assert message.startswith("step 5: loss term 'contrast' is nan; images: ")
    named = message.partition("images: ")[2].split(", ")
    assert len(named) == 4
    assert set(named) <= set(job.experiment.dataset.split("train").ids)


def test_infinite_total_is_found_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each term is finite, their weighted sum is not; no weight may have moved."""
    made: list[TinyModule] = []
    plain = TinyModule.__init__

    def remember(self: TinyModule, *arguments: Any) -> None:
        plain(self, *arguments)
        made.append(self)

    monkeypatch.setattr(TinyModule, "__init__", remember)
    with pytest.raises(RunError, match="step 1: loss term 'total' is inf"):
        _run(tiny_job(train=SHORT, loss=TinyLoss(contrast=3e38, classification=3e38)))
    torch.manual_seed(0)
    fresh = TinyModule(made[0].head.out_channels, Trouble())
    assert torch.equal(made[0].head.weight, fresh.head.weight)


def _with_phase(job: TrainJob, build: Any) -> TrainJob:
    return dataclasses.replace(job, phase=Phase("tiny", build, job.phase.sections))


class _OtherTerms(TinyModule):
    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        terms = super().losses(batch, progress)
        terms["contrats"] = terms.pop("contrast")
        return terms


class _Unreduced(TinyModule):
    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        terms = super().losses(batch, progress)
        return {**terms, "contrast": terms["contrast"].expand(4)}


def test_terms_must_be_the_loss_section() -> None:
    def build(config: TinyConfig, classes: int) -> TinyModule:
        return _OtherTerms(classes, config.trouble)

    with pytest.raises(RunError, match=r"\['classification', 'contrats'\].*\['classification', 'contrast'\]"):
        _run(_with_phase(tiny_job(train=SHORT), build))


def test_terms_must_be_scalars() -> None:
    def build(config: TinyConfig, classes: int) -> TinyModule:
        return _Unreduced(classes, config.trouble)

    with pytest.raises(RunError, match=r"'contrast' has shape \[4\]"):
        _run(_with_phase(tiny_job(train=SHORT), build))


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_bad_image_is_an_input_error_without_a_traceback(loaders: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read = TinySplit.read

    def broken(self: TinySplit, id: str) -> Sample:
        if id == self.ids[5]:
            raise InputError("/data/five.jpg: truncated")
        return read(self, id)

    monkeypatch.setattr(TinySplit, "read", broken)
    with pytest.raises(InputError) as caught:
        _run(tiny_job(train=SHORT), loaders=loaders)
    assert str(caught.value) == "/data/five.jpg: truncated"


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    for _, save in train_phase(tiny_job(train=SHORT)):
        save(tmp_path)
    with pytest.raises(InputError, match="checkpoint of another training"):
        _run(tiny_job(train=SHORT, seed=1), checkpoint=tmp_path)


def test_a_batch_that_workers_cannot_share_is_refused() -> None:
    with pytest.raises(InputError, match="split evenly over 3 workers"):
        _run(tiny_job(train=SHORT, workers=3), world=3)


class Steady(TinyModule):
    """Without what differs between workers on purpose (dropout, noise), its BatchNorm frozen."""

    def train(self, mode: bool = True) -> "Steady":
        super().train(mode)
        self.backbone.eval()
        return self

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        self.dropout.p = 0.0
        terms = super().losses(batch, progress)
        return {**terms, "contrast": terms["contrast"] * 0}


def steady(config: TinyConfig, classes: int) -> Steady:
    return Steady(classes, config.trouble)


def _nan_on_rank_one(config: TinyConfig, classes: int) -> TinyModule:
    rank = distributed.get_rank()
    return TinyModule(classes, Trouble(nan_step=1 if rank == 1 else -1))


def _ddp_worker(rank: int, folder: Path, good: TrainJob, bad: TrainJob) -> None:
    """Both trainings in one process group: starting processes is what takes the time."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    options: dict[str, Any] = {"rank": rank, "world": 2, "wrap": lambda o: DDP(o, forward_sync_buffers=False)}
    losses = []
    for end, save in train_phase(good, **options):
        losses.append(dict(end.losses))
        save(folder / "checkpoint")
    message = ""
    try:
        _run(bad, **options)
    except RunError as error:
        message = str(error)
    torch.save({"losses": losses, "message": message}, folder / f"result-{rank}.pt")
    leave()


def test_two_workers_equal_one_and_stop_together(tmp_path: Path) -> None:
    """A global batch of 8: equal losses, equal weights, one bank, every worker's part of a checkpoint.
    And NaN on the second worker alone stops both with its images."""
    train = TrainConfig(epochs=2, batch=8, crop=48, optimiser="sgd", learning_rate=0.05)
    good = _with_phase(tiny_job(train=train, images=16), steady)
    bad = _with_phase(tiny_job(train=SHORT, images=16), _nan_on_rank_one)
    torch.multiprocessing.spawn(_ddp_worker, (tmp_path, good, bad), nprocs=2)
    results = [torch.load(tmp_path / f"result-{rank}.pt", weights_only=True) for rank in range(2)]

    alone = _state(good, tmp_path / "alone")
    for result in results:
        for mine, theirs in zip(result["losses"], _losses(_run(good)), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-5)
    assert {path.name for path in (tmp_path / "checkpoint").iterdir()} == {STATE, "random-0.pt", "random-1.pt"}
    together = read_torch(tmp_path / "checkpoint" / STATE)
    torch.testing.assert_close(together["model"], alone["model"], rtol=1e-5, atol=1e-6)

    message = results[0]["message"]
    assert message == results[1]["message"]
    assert message.startswith("step 2: loss term 'contrast' is nan; images: ")
    assert len(message.split(", ")) == 2  # the second worker's share of four
