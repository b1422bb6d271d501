"""Requests to a Kubernetes API server with the `kubernetes` package, an optional extra; each failure as one clear line.

Answers are plain dicts, as the server sent them: the package's own classes differ from release to release.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import yaml

from wsss_platform.errors import InputError, RunError, unknown
from wsss_platform.sites.kuberay_objects import Object, Objects
from wsss_platform.sites.site import Site

RAY_JOBS = {"group": "ray.io", "version": "v1", "plural": "rayjobs"}
SECONDS = (10, 60)
"""Until the server is connected, and until it answers."""
QUIET = (10, 300)
"""The same of a log that is followed: a connection that is silent for so long may be dead."""
STRICT = {"field_validation": "Strict"}
"""A KubeRay that does not know a field refuses it; without this it would run a Ray without authentication."""


class Missing(InputError):
    """The server has no such object (404)."""


class Forbidden(InputError):
    """The credentials have no permission (403)."""


class Server:
    """One API server and namespace, as the context of a site reaches them."""

    def __init__(self, site: Site) -> None:
        """Read the kubeconfig; nothing is sent.

        Raises:
            InputError: the package is not installed, or there is no such kubeconfig or context.
        """
        try:
            from kubernetes import client, config
        except ImportError:
            raise InputError(
                "kubernetes: the package is not installed; pip install 'wsss-platform[kubernetes]'", field="kubernetes"
            ) from None
        settings = client.Configuration()
        settings.retries = 1
        file = os.environ.get("KUBECONFIG") or None
        try:
            api = config.new_client_from_config(file, site.kuberay.context or None, client_configuration=settings)
        except (config.ConfigException, yaml.YAMLError, OSError) as error:
            raise _no_config(site.kuberay.context, file, config, error) from None
        self.namespace = site.kuberay.namespace
        self.context = f"context {site.kuberay.context!r}" if site.kuberay.context else "the current context"
        self.host = str(settings.host)
        self.core: Any = client.CoreV1Api(api)
        self.custom: Any = client.CustomObjectsApi(api)
        self.version: Any = client.VersionApi(api)
        self._exceptions: Any = client.exceptions

    def ask(self, call: Callable[..., Any], *arguments: str, **options: Any) -> Object:
        """The answer to one request.

        Args:
            call: a function of `core`, `custom` or `version`.
            arguments: what it needs.
            options: what it may be given.

        Raises:
            Missing: 404.
            Forbidden: 403.
            InputError: expired credentials (401), or another reason why the server refuses it.
            RunError: the server does not answer, or fails.
        """
        with self._failures():
            answer = call(*arguments, **options, _preload_content=False, _request_timeout=SECONDS)
            content = answer.data
        try:
            found: Object = json.loads(content)
        except ValueError:
            raise RunError(f"Kubernetes: {self.host} ({self.context}) does not answer as an API server does") from None
        return found

    def log(self, pod: str, container: str, follow: bool) -> Iterator[tuple[str, str]]:
        """(time, line) of a container's output, each line with its end; with `follow` until it or the connection ends.

        Raises:
            InputError, RunError: as `ask`.
        """
        from urllib3.exceptions import HTTPError

        with self._failures():
            answer = self.core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                follow=follow,
                timestamps=True,
                _preload_content=False,
                _request_timeout=QUIET if follow else SECONDS,
            )
            try:
                for line in answer:
                    time, _, text = line.decode("utf-8", "replace").partition(" ")
                    yield time, text
            except HTTPError:
                if not follow:
                    raise
            finally:
                answer.close()

    def pods(self, selector: str) -> list[Object]:
        """Of the namespace, with these labels, the oldest first."""
        found = self.ask(self.core.list_namespaced_pod, self.namespace, label_selector=selector)["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    def ray_job(self, name: str) -> Object:
        """One RayJob."""
        return self.ask(self.custom.get_namespaced_custom_object, namespace=self.namespace, name=name, **RAY_JOBS)

    def create(self, made: Objects) -> None:
        """Both objects, or none: what was made goes again where the rest is refused.

        The ConfigMap comes first, so that no pod waits for its code, and then belongs to the RayJob and goes with it.
        """
        name = made.ray_job["metadata"]["name"]
        self.ask(self.core.create_namespaced_config_map, self.namespace, body=made.config_map, **STRICT)
        try:
            job = self._create_ray_job(made.ray_job)
            owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": name, "uid": job["metadata"]["uid"]}
            self.ask(
                self.core.patch_namespaced_config_map,
                name,
                self.namespace,
                body={"metadata": {"ownerReferences": [owner]}},
            )
        except BaseException:  # also when a person stops it; the first failure is the one to report
            with suppress(InputError, RunError):
                self.delete(name)
            with suppress(InputError, RunError):
                self.ask(self.core.delete_namespaced_config_map, name, self.namespace)
            raise

    def try_out(self, made: Objects) -> None:
        """Have the server check both objects; nothing is made."""
        self.ask(self.core.create_namespaced_config_map, self.namespace, body=made.config_map, dry_run="All", **STRICT)
        self._create_ray_job(made.ray_job, dry_run="All")

    def delete(self, name: str) -> None:
        """A RayJob, and with it all that it owns."""
        self.ask(self.custom.delete_namespaced_custom_object, namespace=self.namespace, name=name, **RAY_JOBS)

    def _create_ray_job(self, body: Object, **options: str) -> Object:
        call = self.custom.create_namespaced_custom_object
        return self.ask(call, namespace=self.namespace, body=body, **RAY_JOBS, **STRICT, **options)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """The package's exceptions as ours."""
        from urllib3.exceptions import HTTPError

        try:
            yield
        except self._exceptions.ApiException as error:
            raise self._refused(int(error.status or 0), _message(error)) from None
        except HTTPError as error:
            said = str(getattr(error, "reason", None) or error).splitlines()[0]
            raise RunError(f"Kubernetes: no answer from {self.host} ({self.context}): {said}") from None

    def _refused(self, status: int, said: str) -> InputError | RunError:
        if status == 401 or (status == 403 and "system:anonymous" in said):
            return InputError(
                f"Kubernetes: the credentials of {self.context} are wrong or have expired ({status}); log in again",
                field="kuberay.context",
            )
        if status == 403:
            return Forbidden(f"Kubernetes: no permission ({said}); ask for it, or choose another kuberay.namespace")
        if status == 404:
            return Missing(f"Kubernetes: {said} (404)")
        if 400 <= status < 500 and status != 429:
            return InputError(f"Kubernetes: the API server refuses it: {said} ({status})")
        return RunError(f"Kubernetes: {self.host} ({self.context}) failed: {said} ({status})")


def _message(error: Any) -> str:
    """The server's own words, in one line."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else error.body
    try:
        said = json.loads(body or "")["message"]
    except (ValueError, KeyError, TypeError):
        said = body or error.reason or "no message"
    return " ".join(str(said).split())[:500]


def _no_config(context: str, file: str | None, config: Any, error: Exception) -> InputError:
    """Why a kubeconfig cannot be used, with the nearest context for a wrong one."""
    where = file or "~/.kube/config"
    try:
        known = [each["name"] for each in config.list_kube_config_contexts(file)[0]]
    except (config.ConfigException, yaml.YAMLError, OSError):
        known = []
    if known and context and context not in known:
        return unknown("context of kubectl (kuberay.context)", context, known, "kuberay.context")
    said = " ".join(str(error).split())
    return InputError(f"{where}: {said}; expected a kubeconfig (KUBECONFIG names another)", field="KUBECONFIG")
