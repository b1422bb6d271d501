import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import ray

from another_process import LONGEST_WAIT, gone, until
from tiny_method import Trouble, tiny_job
from wsss_platform.config import TrainConfig
from wsss_platform.engine.runner import RayRunner
from wsss_platform.engine.trainer import RAY_FOLDER, checkpoint_of
from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.jobs import METRICS, WEIGHTS, EpochEnd, TrainJob
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.train.checkpoint import read_torch
from wsss_platform.train.record import read_epochs

pytestmark = pytest.mark.usefixtures("two_nodes")

TRAIN = TrainConfig(epochs=3, batch=4, crop=48, learning_rate=1e-3)


def _train(job: TrainJob, folder: Path, runner: RayRunner | None = None) -> list[EpochEnd]:
    folder.mkdir(parents=True, exist_ok=True)
    seen: list[EpochEnd] = []
    (runner or RayRunner()).train(job, folder, seen.append)
    assert [end.epoch for end in seen] == list(range(1, seen[0].epochs + 1))
    assert [end.losses for end in seen] == [end.losses for end in read_epochs(folder / METRICS)]
    assert not (folder / RAY_FOLDER).exists()
    return seen


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of TRAIN in one process without Ray."""
    folder = tmp_path_factory.mktemp("undisturbed")
    LocalRunner(threads=1).train(tiny_job(train=TRAIN), folder, lambda end: None)
    return folder


def _same(folder: Path, other: Path) -> None:
    ends, others = read_epochs(folder / METRICS), read_epochs(other / METRICS)
    assert [end.losses for end in ends] == [end.losses for end in others]
    assert (folder / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()


def test_a_killed_worker_is_recovered(undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL in the second epoch; the end has the bytes of an undisturbed training in one process, and
    Ray leaves our standard output alone."""
    once = tmp_path / "once"
    _train(tiny_job(train=TRAIN, trouble=Trouble(kill_step=4, once=str(once))), tmp_path / "run")
    assert once.exists()
    _same(tmp_path / "run", undisturbed)
    assert capsys.readouterr().out == ""


@pytest.mark.drill
def test_workers_lost_too_often_end_the_run_and_it_can_go_on(undisturbed: Path, tmp_path: Path) -> None:
    job = tiny_job(train=TRAIN, trouble=Trouble(kill_step=4, once=str(tmp_path / "once")))
    with pytest.raises(RunError, match=r"^worker 0: .*died") as caught:
        _train(job, tmp_path / "run", RayRunner(max_failures=0))
    assert len(str(caught.value)) < 300
    _train(job, tmp_path / "run")
    _same(tmp_path / "run", undisturbed)


def test_two_workers_on_two_nodes(tmp_path: Path) -> None:
    """Each image once per epoch over both workers, one bank; a loader process in each."""
    job = tiny_job(train=TrainConfig(epochs=2, batch=4, crop=48), workers=2)
    ends = _train(job, tmp_path, RayRunner(workers=2, cpus_per_worker=2))
    assert ends[-1].step == 6
    model = read_torch(tmp_path / WEIGHTS)["model"]
    assert int(model["at"]) == 2 * 12
    assert bool((model["bank"].abs().sum(dim=1) > 0).all())


def test_nan_ends_the_run_at_once_with_its_message(tmp_path: Path) -> None:
    """Not repeated, although lost workers would be; and the message is what the loop said, nothing around it."""
    job = tiny_job(train=TRAIN, trouble=Trouble(nan_step=4))
    seen: list[EpochEnd] = []
    with pytest.raises(RunError) as caught:
        RayRunner().train(job, tmp_path, seen.append)
    message = str(caught.value)
    assert message.startswith("step 5: loss term 'contrast' is nan; images: ")
    assert len(message.splitlines()) == 1
    assert [end.epoch for end in seen] == [1]
    assert not (tmp_path / WEIGHTS).exists()


class Halt(Exception):
    """What a caller raises to end a training."""


def test_an_exception_of_on_epoch_ends_the_training(tmp_path: Path) -> None:
    job = tiny_job(train=TrainConfig(epochs=40, batch=4, crop=48, checkpoint_every=2), trouble=Trouble(seconds=0.05))

    def stop(end: EpochEnd) -> None:
        if end.epoch == 2:
            checkpoint = checkpoint_of(tmp_path, 2)
            assert checkpoint is not None
            assert (checkpoint / "state.pt").exists()
            raise Halt

    with pytest.raises(Halt):
        RayRunner().train(job, tmp_path, stop)
    reached = read_epochs(tmp_path / METRICS)[-1].epoch
    assert 2 <= reached < 40
    assert not (tmp_path / WEIGHTS).exists()
    until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], "the end of the worker")
    assert read_epochs(tmp_path / METRICS)[-1].epoch == reached  # nothing trains on


def test_workers_must_be_those_of_the_experiment(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the experiment says 1, the runner 2"):
        RayRunner(workers=2).train(tiny_job(), tmp_path, lambda end: None)


DRIVER = """
from pathlib import Path
from tiny_method import Trouble, tiny_job
from wsss_platform.config import TrainConfig
from wsss_platform.engine.cluster import connect
from wsss_platform.engine.runner import RayRunner

job = tiny_job(train=TrainConfig(epochs=5, batch=4, crop=48), trouble=Trouble(seconds=0.3))
with connect("local", cpus=1, object_store=128 * 1024**2):
    RayRunner().train(job, Path({folder!r}), lambda end: print(end.epoch, flush=True))
"""


@pytest.mark.drill
def test_a_killed_driver_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """kill -9 after two epochs; the same command ends with the weights of an undisturbed training, and
    trains again at most the epoch whose checkpoint was not committed."""
    folder = tmp_path / "ray"
    folder.mkdir()
    code = textwrap.dedent(DRIVER.format(folder=str(folder)))
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, process_group=0)
    assert first.stdout is not None
    for line in first.stdout:
        if int(line) == 2:
            break
    first.send_signal(signal.SIGKILL)
    first.wait()
    gone(first.pid)
    before = read_epochs(folder / METRICS)
    assert 2 <= len(before) < 5
    again = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LONGEST_WAIT, check=False
    )
    assert again.returncode == 0, again.stderr
    assert [int(line) for line in again.stdout.split()] == [1, 2, 3, 4, 5]
    assert again.stderr == ""
    ends = read_epochs(folder / METRICS)
    assert ends[: len(before) - 1] == before[:-1]  # with their seconds: they were not trained again
    plain = tmp_path / "local"
    plain.mkdir()
    LocalRunner(threads=1).train(tiny_job(train=TrainConfig(epochs=5, batch=4, crop=48)), plain, lambda end: None)
    _same(folder, plain)
