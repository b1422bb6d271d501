"""Site files, what fits into a job, frozen code, and the ledger: what every kind of site shares."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from wsss_platform.errors import InputError
from wsss_platform.sites import code
from wsss_platform.sites.code import Code, frozen
from wsss_platform.sites.finding import find_site, known_sites
from wsss_platform.sites.fitting import fitted, with_typed, workers_of
from wsss_platform.sites.job import Job, new_id, with_files
from wsss_platform.sites.ledger import all_sent, find_sent, ledger, note_sent
from wsss_platform.sites.site import Resources, Site, mebibytes, read_site, seconds
from wsss_platform.sites.words import check_words

SLURM: dict[str, Any] = {"kind": "slurm", "storage": "/shared/wsss-storage", "environment": {"venv": "/shared/venv"}}

RAY: dict[str, Any] = {"kind": "ray", "environment": {}, "ray": {"address": "http://127.0.0.1:8265"}}


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(code, "_PLACE", tmp_path)  # the platform's own checkout may have changes


def site(**more: Any) -> Site:
    return read_site({**SLURM, **more}, "site")


def job(*command: str, **more: Any) -> Job:
    return Job("here-1130-021955-3fa2", "here", site(**more), command or ("methods",), Code(()))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kind": "slrum"}, "'slurm'"),
        ({"storage": "wsss-storage"}, "absolute path"),
        ({"storage": "/shared/../etc"}, "absolute path"),
        ({"storage": "/shared/$(touch x)"}, "absolute path"),
        ({"environment": {"venv": "/v", "lock": "/l"}}, "expected one of venv, image and lock"),
        ({"environment": {"image": "x:1"}}, "a Slurm job runs in a venv"),
        ({"kuberay": {"claim": "mine"}}, r"\[kuberay\] is not of kind 'slurm'"),
        ({"slurm": {"partition": "--wrap=x"}}, "letters, digits"),
        ({"slurm": {"options": ["--wrap=a b"]}}, "--constraint=a100"),
        ({"resources": {"time_limit": "8h"}}, "hours:minutes:seconds"),
        ({"resources": {"memory_per_node": "64 GB"}}, "64G"),
        ({"resources": {"node": 2}}, "did you mean 'resources.nodes'"),
        ({"variables": {"a-b": "1"}}, "no name of a variable"),
        ({"variables": {"PYTHONPATH": "/x"}}, "set by every job"),
        ({"variables": {"WANDB_API_KEY": "0123456789abcdef"}}, r"name it in \[secrets\]"),
        ({"remote": "s3://KEY:SECRET@bucket/folder"}, "a URL without keys"),
        ({"remote": "s3://bucket/folder?access_key=A&secret_key=B"}, "a URL without keys"),
        (
            {
                "kind": "ray",
                "environment": {},
                "ray": {"address": "http://h:8265"},
                "resources": {"time_limit": "1:00:00"},
            },
            "a cluster of kind ray has none",
        ),
        ({"kind": "ray"}, "ray.address is missing"),
        ({"kind": "ray", "ray": {"address": "http://me:secret@host:8265"}}, "without user and password"),
        ({"kind": "ray-up"}, "ray_up.cluster is missing"),
        ({"kind": "kuberay", "environment": {"image": "x:1"}}, "below kuberay.mount"),
    ],
)
def test_a_wrong_site_file_is_one_clear_line(more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        site(**more)


def test_a_site_holds_references_to_secrets_and_never_shows_a_value() -> None:
    assert site(secrets={"WANDB_API_KEY": "file:/home/me/.wandb"}).secrets
    with pytest.raises(InputError, match="expected a reference, file:/path") as raised:
        site(secrets={"WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567"})
    assert "0123456789abcdef" not in str(raised.value)


def test_a_site_is_found_by_name_or_path(tmp_path: Path) -> None:
    own = tmp_path / "config" / "wsss-platform" / "sites"
    own.mkdir(parents=True)
    (own / "mycluster.toml").write_text('kind = "slurm"\nstorage = "/shared/s"\n')
    assert "mycluster" in known_sites()
    name, path, found = find_site("mycluster")
    assert (name, path, found.storage) == ("mycluster", own / "mycluster.toml", "/shared/s")
    assert find_site(str(path))[0] == "mycluster"
    with pytest.raises(InputError, match="did you mean 'mycluster'"):
        find_site("mycluter")
    with pytest.raises(InputError, match="no such file"):
        find_site(str(tmp_path / "none.toml"))
    with pytest.raises(InputError, match=r"mycluster\.toml: unknown setting"):
        (own / "mycluster.toml").write_text('kind = "slurm"\nstorage = "/shared/s"\npartition = "gpu"\n')
        find_site("mycluster")


def test_what_is_typed_goes_before_the_site() -> None:
    found = with_typed(site(slurm={"partition": "cpu"}), {"resources.nodes": 4, "slurm.partition": None})
    assert (found.resources.nodes, found.slurm.partition) == (4, "cpu")
    of_ray = site(kind="ray", environment={}, ray={"address": "http://127.0.0.1:8265"})
    with pytest.raises(InputError, match="--partition: expected only with a site of kind slurm"):
        with_typed(of_ray, {"slurm.partition": "gpu"})


@pytest.mark.parametrize(
    ("nodes", "gpus", "share", "workers"), [(2, 4, 1, 8), (2, 4, 2, 4), (1, 2, 0.5, 4), (1, 1, 0.1, 10), (3, 0, 1, 3)]
)
def test_workers_follow_from_nodes_and_gpus(nodes: int, gpus: int, share: float, workers: int) -> None:
    room = Resources(nodes=nodes, gpus_per_node=gpus, gpus_per_worker=share, cpus_per_node=32)
    assert workers_of(room) == workers
    assert fitted(("train", "fbr"), room)[:4] == ("train", "fbr", "--workers", str(workers))
    assert "--workers" not in fitted(("tune", "fbr"), room), "trials are packed, each with its own workers"
    assert fitted(("methods",), room) == ("methods",)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gpus_per_node": 2, "gpus_per_worker": 4}, "a node has 2 GPUs"),
        ({"gpus_per_node": 4, "gpus_per_worker": 3}, "no multiple"),
        ({"gpus_per_node": 4, "gpus_per_worker": 1.5}, "whole number"),
        ({"gpus_per_node": 4, "cpus_per_node": 2}, "need a core each"),
    ],
)
def test_resources_that_do_not_fit_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        workers_of(Resources(**fields))


def test_a_command_that_asks_for_more_than_its_job_is_refused() -> None:
    room = Resources(nodes=2, gpus_per_node=4, cpus_per_node=32)
    assert fitted(("tune", "fbr", "--workers=8"), room) == ("tune", "fbr", "--workers=8")
    for command, said in [
        (("train", "fbr", "--workers", "9"), "has room for 8"),
        (("train", "fbr", "--gpus-per-worker", "8"), "a node of this job has 4"),
        (("train", "fbr", "--local"), "needs no cluster"),
        (("train", "fbr", "--workers", "many"), "expected a number"),
    ]:
        with pytest.raises(InputError, match=said):
            fitted(command, room)


def test_the_share_and_the_workers_of_the_command_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Resources(nodes=2, gpus_per_node=4, cpus_per_node=32)
    assert fitted(("train", "fbr", "--gpus-per-worker", "2"), room)[-2:] == ("--workers", "4")
    assert fitted(("train", "fbr", "--workers", "16", "--gpus-per-worker", "0.5"), room)[-1] == "0.5"
    with pytest.raises(InputError, match="has room for 2"):
        fitted(("tune", "fbr", "--workers", "8", "--gpus-per-worker", "4"), room)
    without = Resources(nodes=1, cpus_per_node=32)
    assert fitted(("tune", "fbr", "--workers", "4"), without)[-1] == "4", "cores count where there are no GPUs"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text("workers = 2\n")
    assert fitted(("train", "--recipe", "two.toml"), room) == ("train", "--recipe", "two.toml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tune", "fbr", "--study-storage", "postgresql://me:pw@host/db"), "seems to hold a secret"),
        (("train", "cam", "--data", "images"), "a folder of this machine"),
        (("train", "--recipe", "small.toml"), "no such file here"),
        (("train", "cam", "--storage=x"), "the site names the storage folder"),
    ],
)
def test_words_that_mean_something_else_on_the_site_are_refused(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match=said):
        check_words(words, tmp_path)
    check_words(("train", "fbr", "--data", "/shared/VOC2012", "--set", "loss.negative_regions=0.1"), tmp_path)


def test_times_and_sizes() -> None:
    assert (seconds("8:00:00"), seconds("2-00:00:30"), seconds("")) == (28_800, 172_830, None)
    assert (mebibytes("64G"), mebibytes("500M"), mebibytes("")) == (65_536, 500, None)


def git(folder: Path, *arguments: str) -> str:
    said = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(said, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def work_tree(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "method.py").write_text("A = 1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "method.py")
    git(folder, "commit", "--quiet", "-m", "one")
    return folder


def held(code: Code, files: dict[str, bytes] | None = None) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(code.archive(files))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


def only(code: Code, name: str) -> Code:
    return Code(tuple(tree for tree in code.trees if tree.name == name))


def test_a_clean_tree_is_sent_as_its_commit(work_tree: Path) -> None:
    (work_tree / "notes.txt").write_text("not tracked")
    mine = only(frozen(work_tree, dirty=True), "code")
    assert held(mine, {"files/a": b"1"}) == {"code/code/method.py": b"A = 1\n", "files/a": b"1"}
    assert mine.commit == git(work_tree, "rev-parse", "HEAD").strip()
    assert mine.trees[0].untracked == ("notes.txt",)
    assert mine.python_path == ("code",)
    assert mine.archive() == mine.archive(), "the same bytes"


def test_changes_of_tracked_files_go_only_with_dirty(work_tree: Path) -> None:
    (work_tree / "method.py").write_text("A = 2\n")
    with pytest.raises(InputError, match=r"method\.py.*--dirty"):
        frozen(work_tree, dirty=False)
    mine = only(frozen(work_tree, dirty=True), "code")
    assert (mine.commit or "").endswith("+")
    found = held(mine)
    assert found["code/code/method.py"] == b"A = 2\n"
    assert b"+A = 2" in found["code/code/changes.diff"]
    assert git(work_tree, "stash", "list") == "", "nothing is left in the work tree"


@pytest.mark.parametrize(
    "line",
    [
        'x = "AKIA' + 'ABCDEFGHIJKLMNOP"',
        "WANDB_API_KEY=0123456789abcdef" + "0123456789",
        'WANDB_API_KEY = "0123456789abcdef0123456789abcdef' + '01234567"',
        "export A=postgresql://me:" + "pw@host/db  # note",
        'url = "postgresql://me:' + 'hunter22@host/db"',
        "-----BEGIN RSA " + "PRIVATE KEY-----",
    ],
)
def test_changes_with_a_secret_are_never_sent(work_tree: Path, line: str) -> None:
    (work_tree / "method.py").write_text(f"A = 1\n{line}\n")
    with pytest.raises(InputError, match=r"the changes of method\.py seem to hold a secret") as raised:
        frozen(work_tree, dirty=True)
    assert line not in str(raised.value)


@pytest.mark.parametrize(
    "line", ["secrets = data.get('secrets', {})", "key = experiment.stage('train').key", "# 3d3354b"]
)
def test_ordinary_changes_are_no_secrets(work_tree: Path, line: str) -> None:
    (work_tree / "method.py").write_text(f"A = 1\n{line}\n")
    assert frozen(work_tree, dirty=True).trees


def test_links_do_not_leave_the_work_tree(work_tree: Path) -> None:
    (work_tree / "link").symlink_to("/etc/passwd")
    git(work_tree, "add", "link")
    git(work_tree, "commit", "--quiet", "-m", "link")
    assert set(held(only(frozen(work_tree, dirty=True), "code"))) == {"code/code/method.py"}


def test_files_that_a_command_names_go_along(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "small.toml").write_text("x = 1\n")
    (tmp_path / "outside.toml").write_text("x = 1\n")
    said, files = with_files(("tune", "--recipe=small.toml", "--data", "/shared/VOC2012"), here, "/s/job")
    assert said == ("tune", "--recipe=/s/job/files/small.toml", "--data", "/shared/VOC2012")
    assert files == {"small.toml": b"x = 1\n"}
    with pytest.raises(InputError, match="leads out of"):
        with_files(("tune", "--recipe", "../outside.toml"), here, "/s/job")
    (here / "fbr").write_text("a file that a method is called like")
    assert with_files(("tune", "fbr"), here, "/s/job") == (("tune", "fbr"), {})
    (here / "large.npy").write_bytes(bytes(2 * 1024 * 1024))
    with pytest.raises(InputError, match="larger than 1024 KiB"):
        with_files(("tune", "--data", "large.npy"), here, "/s/job")


def test_the_entry_script_quotes_and_reads_secrets_where_it_runs(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("very secret\n")
    made = job("train", "a b;c", "$(touch x)", secrets={"WANDB_API_KEY": f"file:{key}"}, environment={})
    script = made.entry()
    assert "very secret" not in script
    words = tmp_path / "python"  # in place of Python: prints its words and the variable
    words.write_text('#!/bin/bash\nprintf "%s\\n" "$@" "$WANDB_API_KEY" "$WSSS_SUBMISSION"\n')
    words.chmod(0o755)
    script = script.replace(f"cd {made.folder}", f"cd {tmp_path}").replace("exec python", f"exec {words}")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "-m", "wsss_platform.cli", "train", "a b;c", "$(touch x)", "very secret", made.id,
    ]  # fmt: skip
    key.unlink()
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (2, f"WANDB_API_KEY: {key} cannot be read")


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_delivers_to_its_remote_whatever_its_end(tmp_path: Path, code: int) -> None:
    made = job("tune", "fbr", environment={}, remote="s3://bucket/folder")
    words = tmp_path / "python"
    words.write_text(f'#!/bin/bash\necho "$@" >>{tmp_path}/said\n[[ "$3" != tune ]] || exit {code}\n')
    words.chmod(0o755)
    script = made.entry().replace(f"cd {made.folder}", f"cd {tmp_path}").replace("python -m", f"{words} -m")
    done = subprocess.run(["bash", "-c", script], check=False)
    assert done.returncode == code
    assert (tmp_path / "said").read_text().splitlines() == [
        "-m wsss_platform.cli tune fbr",
        f"-m wsss_platform.cli store push --submission {made.id} --remote s3://bucket/folder",
    ]


def test_an_id_is_known_after_a_restart() -> None:
    sent = note_sent(job("tune", "fbr", "--api-key", "abc"), "4711")
    assert "abc" not in (ledger() / f"{sent.id}.json").read_text()
    assert find_sent(sent.id) == sent
    assert list(all_sent()) == [sent]
    with pytest.raises(InputError, match="did you mean"):
        find_sent("here-1130-021955-3fa3")
    with pytest.raises(InputError):
        find_sent("../up")
    (ledger() / f"{sent.id}.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        find_sent(sent.id)


def test_an_id_is_a_legal_name_everywhere() -> None:
    assert new_id("My_Cluster (new)").startswith("my-cluster-new-")
    assert len(new_id("x" * 99)) <= 40
    assert new_id("a") != new_id("a")
