"""The jobs that `compare_checkouts` runs with each checkout, and the running of them."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

SAMPLE = "--set data.sample.train=24 --set data.sample.val=8"
RUN = "--local --until score --wandb disabled"
RENAMED = {"--images": "--images"}
"""Options that a later checkout may know by another name; tried when a command is refused."""


def short(section: str = "train", epochs: int = 2) -> str:
    """The options of a training of a few steps."""
    return f"--set {section}.epochs={epochs} --set {section}.batch=6 --set {section}.crop=96"


CAM = f"train cam {RUN} {SAMPLE} {short()} --set maps.scales=[1.0,1.5]"
FBR = f"train fbr {RUN} {SAMPLE} {short('seed.train')} {short()} --set seed.maps.scales=[1.5] --set maps.scales=[1.5]"
DRS = (
    f"train drs {RUN} {SAMPLE} {short()} {short('refine.train')} --set maps.sizes=[128,160] "
    "--set refine.maps.sizes=[128,160] --set masks.background=0.1"
)
AFFINITY = f"{short('affinity.train', 1)} --set affinity.walk.log2_steps=3"
PLAN = f"tune fbr {SAMPLE} --trials 3 --dry-run --json"

# Each job has a storage folder of its own; its commands run one after the other in one process.
# The late terms of rtc and rcm_mam begin after the first of two epochs. The rates of rtc are so low that its class maps
# are not empty by then, which would leave those terms 0.
JOBS: dict[str, tuple[str, ...]] = {
    "cam": (
        f"{CAM} --name plain",
        "score plain --score-split val --local --wandb disabled",
        f"{CAM} --name crf --set masks.crf=irn",
        f"{CAM} --name views --set maps.store=views",
        f"{CAM} --name psa --set affinity.kind=psa {AFFINITY}",
        f"{CAM} --name irn --set affinity.kind=irn {AFFINITY}",
        "tune plain --images 12 --confirm 12 --trials 12 --concurrent 1 --json",
    ),
    "fbr": (
        f"{FBR} --name fbr",
        f"{FBR} --name other-crf --set masks.crf=irn --dry-run --json",
        f"{FBR} --name other-loss --set loss.negative_regions=0.1 --dry-run --json",
        f"{FBR} --name other-seed --set seed.train.learning_rate=1e-3 --dry-run --json",
    ),
    "fbr_s": (f"train fbr_s {RUN} {SAMPLE} {short()} --name fbr_s --set host.small=64 --set maps.scales=[1.5]",),
    "drs": (f"{DRS} --name drs", f"{DRS} --name saliency --set masks.rule=saliency"),
    "rtc": (
        f"train rtc {RUN} {SAMPLE} {short()} --name rtc --set views.small=80 --set segmentation.start=1.0 "
        "--set loss.class_relation=0.1 --set train.learning_rate=3e-5 --set train.new_layer_factor=1.0 "
        "--set maps.scales=[1.5]",
    ),
    "rcm_mam": (
        f"data write-sample tree {SAMPLE}",
        f"train rcm_mam {RUN} --data voc12 --root tree --preset sample {short()} --name rcm_mam "
        "--set support.warm_up=1.0 --set support.ramp=0.5 --set maps.scales=[1.5] --set masks.background=0.4",
    ),
    "plans": (
        f"{PLAN} --name crf --inner 0 --space crf.toml",
        f"{PLAN} --name loss --inner 0 --space loss.toml",
        f"{PLAN} --name seed --inner 0 --space seed.toml",
        f"{PLAN} --name levels --inner 4 --space levels.toml",
    ),
    "study": (
        f"tune cam {SAMPLE} {short()} --set maps.scales=[1.0] --name study --trials 3 --inner 4 --concurrent 1 "
        "--scheduler none --space study.toml --wandb disabled --json",
    ),
}
SLOW = ("study",)
"""Only run when they are asked for: Ray does not start on a machine that is busy."""
_CRF = '[axes."masks.crf"]\nkind = "categorical"\nchoices = ["none", "irn", "psa"]\nreason = "only masks change"\n'
_LOSS = '[axes."loss.negative_regions"]\nkind = "float"\nlow = 0.01\nhigh = 0.2\nreason = "the last training changes"\n'
_RATE = 'kind = "float"\nlow = 1e-4\nhigh = 1e-3\nlog = true\nreason = "a training changes"\n'
SPACES = {
    "crf.toml": _CRF,
    "loss.toml": _LOSS,
    "seed.toml": f'[axes."seed.train.learning_rate"]\n{_RATE}',
    "levels.toml": _CRF + _LOSS,
    "study.toml": f'[axes."train.learning_rate"]\n{_RATE}{_CRF}',
}
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "WANDB_MODE": "disabled",
    "WSSS_TRACEBACK": "1",
    "WSSS_STORAGE": "storage",
}
PROCESS = """
import json, os, sys
from pathlib import Path
import wsss_methods, wsss_platform
from wsss_platform.cli import main
for package in (wsss_methods, wsss_platform):
    assert Path(package.__file__).is_relative_to(sys.argv[1]), f"{package.__file__} is not of {sys.argv[1]}"
for number, commands in enumerate(json.loads(sys.argv[2])):
    for command in commands:  # the second one has the new names of its options
        os.dup2(os.open(f"{number:02}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        try:
            main(command)
        except SystemExit as end:
            code = end.code
        if code != 2:
            break
    if code:
        sys.exit(code)
"""


@dataclass(frozen=True)
class Checkout:
    """One of the two, and where its results lie."""

    path: Path
    words: str
    """Its commit, with "+" when it has changes."""
    folder: Path
    reusable: bool
    """Whether earlier results of this folder are of the same code: its commit, without changes."""


def checkout(path: Path, work: Path) -> Checkout:
    """The checkout at a path; what is no git repository counts as changed."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", str(path), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    path = path.resolve()
    commit, changes = git("rev-parse", "HEAD") or "no-commit", git("status", "--porcelain")
    clean = changes == ""
    name = commit[:12] + ("" if clean else "-changed-" + hashlib.sha256(str(path).encode()).hexdigest()[:6])
    return Checkout(path, commit[:12] + ("" if clean else "+"), work / name, clean)


def job_folder(one: Checkout, job: str) -> Path:
    """Where a job's results lie: another folder for other commands or packages."""
    packages = {name: version(name) for name in ("torch", "numpy", "numba", "opencv-python-headless", "optuna", "ray")}
    settings = json.dumps([JOBS[job], SPACES, ENVIRONMENT, PROCESS, packages, sys.version])
    return one.folder / f"{job}-{hashlib.sha256(settings.encode()).hexdigest()[:6]}"


def run_job(one: Checkout, job: str) -> dict[str, Any]:
    """Run a job's commands unless its folder has their results; its wall and processor seconds.

    Raises:
        RuntimeError: a command failed, with the end of what it said.
    """
    folder = job_folder(one, job)
    one.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # another comparison may run
        done = folder / "done.json"
        if done.is_file():
            return {**json.loads(done.read_text(encoding="utf-8")), "reused": True}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        took = _run(one, job, folder)
        done.write_text(json.dumps(took), encoding="utf-8")
    return took | {"reused": False}


def _run(one: Checkout, job: str, folder: Path) -> dict[str, float]:
    commands = [shlex.split(command) for command in JOBS[job]]
    for name, text in SPACES.items():
        (folder / name).write_text(text, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WSSS_", "RAY_"))}
    environment = kept | ENVIRONMENT
    environment |= {"PYTHONPATH": os.pathsep.join(str(one.path / root) for root in ("platform", "methods"))}
    environment |= {"PYTHONPYCACHEPREFIX": str(one.folder / "bytecode"), "NUMBA_CACHE_DIR": str(one.folder / "numba")}
    given = json.dumps([[words, [RENAMED.get(word, word) for word in words]] for words in commands])
    started = time.monotonic()
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(one.path), given], cwd=folder, env=environment, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = (folder / "log.txt").read_text(errors="replace").splitlines()[-15:]
        raise RuntimeError(f"{one.path}, job {job}: exit code {process.returncode}\n  " + "\n  ".join(tail))
    return {"seconds": round(time.monotonic() - started, 1), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1)}
