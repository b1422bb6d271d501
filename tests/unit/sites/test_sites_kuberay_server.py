"""Kind kuberay with the kubernetes package, against a small HTTP server that answers as an API server does.

It is not a cluster: nothing runs, no operator and no admission is there, and the answers are these tests' own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_server import Api, kubeconfig, refusal, serving
from wsss_platform.errors import InputError, RunError, UnknownNameError
from wsss_platform.sites import kuberay
from wsss_platform.sites.code import Code
from wsss_platform.sites.job import Job
from wsss_platform.sites.ledger import Sent
from wsss_platform.sites.site import Site

pytest.importorskip("kubernetes")

ID = "mine-1130-021955-3fa2"
MAPS = "/api/v1/namespaces/vision/configmaps"
JOBS = "/apis/ray.io/v1/namespaces/vision/rayjobs"
PODS = "/api/v1/namespaces/vision/pods"
WAITING, SUBMITTER = f"wsss-platform/submission={ID}", f"job-name={ID}"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    with serving() as (made, port):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", port)))
        monkeypatch.setattr(kuberay, "POLL_SECONDS", 0.0)
        yield made


def site(**changes: Any) -> Site:
    made = {
        "kind": "kuberay",
        "storage": "/storage/results",
        "environment": {"image": "registry.example.org/wsss-platform:0.1.0"},
        "resources": {"gpus_per_node": 2, "cpus_per_node": 4},
        "kuberay": {"namespace": "vision"},
        "secrets": {"WANDB_API_KEY": "secret:wandb/key"},
    }
    return Site.model_validate({**made, **changes})


def job(**changes: Any) -> Job:
    return Job(ID, "mine", site(**changes), ("train", "fbr"), Code(()))


SENT = Sent(
    id=ID,
    site_name="mine",
    site=site(),
    handle=ID,
    command="wsss-platform train fbr",
    commit=None,
    sent="2026-11-30T02:19:55+00:00",
)


def ray_job(deployed: str = "", ray: str = "", **status: str) -> tuple[int, Any]:
    found = {"jobDeploymentStatus": deployed, "jobStatus": ray, **status}
    return 200, {"metadata": {"name": ID, "uid": "42"}, "status": found}


def pod(name: str, phase: str = "Running", created: str = "2026-11-30T02:20:00Z", **status: Any) -> Any:
    return {"metadata": {"name": name, "creationTimestamp": created}, "status": {"phase": phase, **status}}


def listed(*items: Any) -> tuple[int, Any]:
    return 200, {"items": list(items)}


def named(*names: str) -> tuple[int, Any]:
    return listed(*({"metadata": {"name": name}} for name in names))


def test_submit_makes_both_objects_and_the_config_map_belongs_to_the_job(api: Api) -> None:
    api.answers = {("POST", MAPS): (201, {}), ("POST", JOBS): ray_job(), ("PATCH", f"{MAPS}/{ID}"): (200, {})}
    assert kuberay.submit(job()) == ID
    assert api.calls() == [("POST", MAPS), ("POST", JOBS), ("PATCH", f"{MAPS}/{ID}")]
    (_, _, how, config_map), (_, _, strict, made), (*_, patch) = api.asked
    config_text, job_text = kuberay.files(job()).values()
    assert made == yaml.safe_load(job_text)
    assert {name: of for name, of in config_map.items() if name != "binaryData"} == yaml.safe_load(config_text)
    assert set(config_map["binaryData"]) == {"code.tar.gz"}
    assert how == strict == {"fieldValidation": "Strict"}  # and no dry run
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": ID, "uid": "42"}
    assert patch == {"metadata": {"ownerReferences": [owner]}}
    assert api.tokens == {"Bearer of-the-test"}


def test_what_was_made_goes_where_the_rest_is_refused(api: Api) -> None:
    said = 'admission webhook "policy" denied the request: no image of this registry'
    api.answers = {
        ("POST", MAPS): (201, {}),
        ("POST", JOBS): refusal(422, said),
        ("DELETE", f"{JOBS}/{ID}"): refusal(404, "no"),
        ("DELETE", f"{MAPS}/{ID}"): (200, {}),
    }
    with pytest.raises(InputError, match="refuses it: admission webhook"):
        kuberay.submit(job())
    assert api.calls()[2:] == [("DELETE", f"{JOBS}/{ID}"), ("DELETE", f"{MAPS}/{ID}")]


REFUSED = [
    (401, "Unauthorized", "the credentials of the current context are wrong or have expired (401); log in again"),
    (403, 'configmaps is forbidden: User "ann" cannot create', "no permission (configmaps is forbidden: User"),
    (403, 'configmaps is forbidden: User "system:anonymous" cannot', "credentials of the current context are wrong"),
    (404, 'namespaces "vision" not found', 'namespaces "vision" not found'),
    (409, f'configmaps "{ID}" already exists', "refuses it: configmaps"),
]


@pytest.mark.parametrize(("code", "said", "line"), REFUSED)
def test_a_refusal_is_one_clear_line_and_removes_nothing(api: Api, code: int, said: str, line: str) -> None:
    api.answers = {("POST", MAPS): refusal(code, said)}
    with pytest.raises(InputError) as caught:
        kuberay.submit(job())
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert api.calls() == [("POST", MAPS)]


def test_a_server_that_fails_is_no_fault_of_the_input(api: Api) -> None:
    api.answers = {("GET", f"{JOBS}/{ID}"): refusal(503, "etcd is away")}
    with pytest.raises(RunError, match=r"etcd is away \(503\)"):
        kuberay.status(SENT)


STATES = [
    (ray_job(), "queued", "New"),
    (ray_job("Initializing"), "queued", "Initializing"),
    (ray_job("Running", "PENDING"), "queued", "Running PENDING"),
    (ray_job("Running", "RUNNING"), "running", "Running RUNNING"),
    (ray_job("Complete", "SUCCEEDED"), "finished", "Complete SUCCEEDED"),
    (ray_job("Complete", "STOPPED"), "cancelled", "Complete STOPPED"),
    (ray_job("Suspended"), "queued", "Suspended"),
    (ray_job("Failed", "FAILED", reason="AppFailed", message="exit\ncode 2"), "failed", "AppFailed: exit code 2"),
    (ray_job("Failed", "RUNNING", reason="DeadlineExceeded"), "failed", "DeadlineExceeded"),
    (ray_job("ValidationFailed", message="bad name"), "failed", "bad name"),
    (refusal(404, f'rayjobs.ray.io "{ID}" not found'), "unknown", "cancelled, or removed after its end"),
    ((200, {"metadata": {"deletionTimestamp": "2026"}, "status": {}}), "cancelled", "it is being deleted"),
]


@pytest.mark.parametrize(("answer", "state", "said"), STATES)
def test_status(api: Api, answer: Any, state: str, said: str) -> None:
    api.answers = {("GET", f"{JOBS}/{ID}"): answer, ("GET", f"{PODS}?{WAITING}"): refusal(403, "no pods for you")}
    found = kuberay.status(SENT)
    assert (found.id, found.state) == (ID, state)
    assert said in found.said


def container(**state: Any) -> dict[str, Any]:
    return {"initContainerStatuses": [{"name": "code", "state": state}]}


PULL = container(waiting={"reason": "ImagePullBackOff", "message": "Back-off pulling image\n no such image"})
FULL = {
    "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient nvidia.com/gpu"}]
}
BROKEN = container(waiting={"reason": "CrashLoopBackOff"})
BROKEN["initContainerStatuses"][0]["lastState"] = {"terminated": {"exitCode": 2, "message": "tar: cannot open\n"}}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (PULL, "pod head, container code: ImagePullBackOff: Back-off pulling image no such image"),
        (FULL, "pod head: no node has room for it: 0/3 nodes: Insufficient nvidia.com/gpu"),
        (BROKEN, "pod head, container code: CrashLoopBackOff: tar: cannot open"),
        (container(waiting={"reason": "PodInitializing"}), None),
        (container(terminated={"exitCode": 0, "reason": "Completed"}), None),
    ],
)
def test_what_a_pod_waits_for_is_one_line(api: Api, status: dict[str, Any], said: str | None) -> None:
    api.answers = {
        ("GET", f"{JOBS}/{ID}"): ray_job("Initializing"),
        ("GET", f"{PODS}?{WAITING}"): listed(pod("worker"), pod("head", "Pending", **status)),
        ("GET", f"{PODS}?{SUBMITTER}"): listed(),
    }
    assert kuberay.status(SENT).said == (f"Initializing; {said}" if said else "Initializing")


def stamped(*words: str) -> str:
    """Lines of a log with the times that the server adds; the first two are of one moment."""
    times = ["02:19:55.000000001", "02:19:55.000000001", "02:20:00.000000000", "02:20:07.500000000"]
    return "".join(f"2026-11-30T{time}Z {word}\n" for time, word in zip(times, words, strict=False))


def test_logs_are_those_of_the_newest_submitter(api: Api) -> None:
    api.answers = {
        ("GET", f"{JOBS}/{ID}"): ray_job("Complete", "SUCCEEDED"),
        ("GET", f"{PODS}?{SUBMITTER}"): listed(pod("b", created="2026-11-30T02:30:00Z"), pod("a")),
        ("GET", f"{PODS}/b/log"): stamped("one", "two", "", "größer"),
    }
    assert list(kuberay.logs(SENT, follow=False)) == ["one\n", "two\n", "\n", "größer\n"]
    *_, query, _ = api.asked[-1]
    assert query["container"] == "ray-job-submitter"


def test_followed_logs_go_on_over_a_broken_connection_and_wait_for_a_start(api: Api) -> None:
    api.answers = {
        ("GET", f"{JOBS}/{ID}"): [*[ray_job("Initializing")] * 2, *[ray_job("Running", "RUNNING")] * 2, STATES[4][0]],
        ("GET", f"{PODS}?{WAITING}"): listed(),
        ("GET", f"{PODS}?{SUBMITTER}"): [listed(), listed(), listed(), listed(pod("a", "Pending")), listed(pod("a"))],
        ("GET", f"{PODS}/a/log"): [stamped("one", "two") + "!", stamped("one", "two", "three", "four")],
    }
    assert list(kuberay.logs(SENT, follow=True)) == ["one\n", "two\n", "three\n", "four\n"]
    read = [query["follow"] for _, path, query, _ in api.asked if path.endswith("/log")]
    assert [follow.lower() for follow in read] == ["true"] * 3  # never that of the pod that had not started


def test_before_a_submitter_there_is_the_heads_log_or_a_reason(api: Api) -> None:
    head = f"{PODS}?{WAITING},ray.io/node-type=head"
    api.answers = {
        ("GET", f"{JOBS}/{ID}"): ray_job("Initializing"),
        ("GET", f"{PODS}?{WAITING}"): listed(),
        ("GET", f"{PODS}?{SUBMITTER}"): listed(),
        ("GET", head): [listed(pod("head")), listed()],
        ("GET", f"{PODS}/head/log"): stamped("Ray started"),
    }
    assert list(kuberay.logs(SENT, follow=False)) == ["Ray started\n"]
    with pytest.raises(RunError, match=r"no output yet \(Initializing\)"):
        list(kuberay.logs(SENT, follow=False))


@pytest.mark.parametrize(
    ("answer", "deleted"),
    [(ray_job("Running", "RUNNING"), True), (ray_job("Complete", "SUCCEEDED"), False), (refusal(404, "gone"), False)],
)
def test_cancel_deletes_what_has_not_ended(api: Api, answer: Any, deleted: bool) -> None:
    api.answers = {("GET", f"{JOBS}/{ID}"): answer, ("DELETE", f"{JOBS}/{ID}"): [(200, {}), refusal(404, "gone")]}
    kuberay.cancel(SENT)
    kuberay.cancel(SENT)  # also where it is gone by now
    assert (("DELETE", f"{JOBS}/{ID}") in api.calls()) is deleted


def good() -> dict[tuple[str, str], Any]:
    claim = {
        "metadata": {"name": "wsss-storage"},
        "spec": {"accessModes": ["ReadWriteMany"]},
        "status": {"phase": "Bound"},
    }
    return {
        ("GET", "/version/"): (200, {"gitVersion": "v1.34.2"}),
        ("GET", "/api/v1/namespaces/vision"): (200, {}),
        ("GET", "/api/v1/namespaces"): named("default", "visions"),
        ("GET", "/apis/ray.io/v1"): (200, {"resources": [{"kind": "RayJob"}]}),
        ("GET", "/api/v1/namespaces/vision/persistentvolumeclaims"): listed(claim),
        ("GET", "/api/v1/namespaces/vision/secrets/wandb"): (200, {"data": {"key": "czNjcjN0"}}),
        ("GET", "/api/v1/nodes"): listed({"status": {"allocatable": {"nvidia.com/gpu": "4"}}}, {"status": {}}),
        ("POST", MAPS): (201, {}),
        ("POST", JOBS): (201, {}),
    }


def test_all_is_checked_and_nothing_is_made(api: Api) -> None:
    api.answers = good()
    found = list(kuberay.check(job()))
    assert [(check.what, check.state) for check in found if check.state != "ok"] == []
    assert [check.what for check in found][-2:] == ["secret wandb", "dry run"]
    assert [query["dryRun"] for method, _, query, _ in api.asked if method == "POST"] == ["All", "All"]
    (*_, gpus) = kuberay.look(site())
    assert gpus.said == "1 of 2 nodes have nvidia.com/gpu, 4 in all"
    assert "czNjcjN0" not in repr(found)
    assert {method for method, *_ in api.asked} == {"GET", "POST"}


WRONG = [
    (("GET", "/version/"), refusal(401, "Unauthorized"), "API server", "wrong", "have expired"),
    (("GET", "/api/v1/namespaces/vision"), None, "namespace", "wrong", "did you mean 'visions'?"),
    (("GET", "/api/v1/namespaces/vision"), refusal(403, "cannot get"), "namespace", "skipped", "cannot get"),
    (("GET", "/apis/ray.io/v1"), None, "KubeRay", "wrong", "KubeRay is not installed"),
    (("GET", "/api/v1/namespaces/vision/persistentvolumeclaims"), named("wsss-storages"), "claim", "wrong", "did you"),
    (
        ("GET", "/api/v1/namespaces/vision/persistentvolumeclaims"),
        listed({"metadata": {"name": "wsss-storage"}, "spec": {"accessModes": ["ReadWriteOnce"]}}),
        "claim",
        "wrong",
        "access modes ReadWriteOnce; expected ReadWriteMany",
    ),
    (("GET", "/api/v1/namespaces/vision/secrets/wandb"), None, "secret wandb", "wrong", "not in namespace vision"),
    (
        ("GET", "/api/v1/namespaces/vision/secrets/wandb"),
        (200, {"data": {"keys": ""}}),
        "secret wandb",
        "wrong",
        "'keys'",
    ),
    (("GET", "/api/v1/namespaces/vision/secrets/wandb"), refusal(403, "no"), "secret wandb", "skipped", "permission"),
    (("POST", JOBS), refusal(403, "cannot create rayjobs"), "dry run", "wrong", "cannot create rayjobs"),
    (("POST", JOBS), refusal(400, 'unknown field "spec.authOptions"'), "dry run", "wrong", "unknown field"),
    (("GET", "/api/v1/nodes"), listed({"status": {}}), "GPUs", "wrong", "no node has 2 nvidia.com/gpu (the most is 0)"),
]


@pytest.mark.parametrize(("asked", "answer", "what", "state", "said"), WRONG)
def test_what_is_wrong_is_named(api: Api, asked: Any, answer: Any, what: str, state: str, said: str) -> None:
    api.answers = {**good(), asked: answer}
    found = {check.what: check for check in (*kuberay.check(job()), *kuberay.look(site()))}
    assert found[what].state == state
    assert said in found[what].said
    stops = what in ("API server", "namespace") and state == "wrong"
    others = {check.state for name, check in found.items() if name not in (what, "manifest", "API server")}
    assert others == {"skipped" if stops else "ok"}


def test_a_server_that_is_away_or_a_wrong_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", port)))
    assert {check.state for check in kuberay.look(site())} == {"skipped"}
    with pytest.raises(RunError, match="no answer from http://127.0.0.1"):
        kuberay.status(SENT)
    with pytest.raises(UnknownNameError, match="did you mean 'there'?"):
        kuberay.submit(job(kuberay={"context": "ther"}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    manifest, *rest = kuberay.check(job())
    assert manifest.state == "ok"
    assert {check.state for check in rest} == {"skipped"}
    assert "expected a kubeconfig" in rest[0].said
