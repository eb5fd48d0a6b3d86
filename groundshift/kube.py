"""The Kubernetes API through the official client, with its errors in this platform's words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from groundshift.errors import Conflict, GroundshiftError, Misconfigured, NotFound, Unavailable

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = Mapping[str, Any]
"""A Kubernetes object as its JSON is."""

_DEFAULT_CONFIG: Final = "~/.kube/config"
_TIMEOUT_S: Final = (3.0, 30.0)
"""Longest wait for a connection, and for an answer."""
_BY_STATUS: Final[Mapping[int, type[GroundshiftError]]] = {
    400: Misconfigured,
    401: Misconfigured,
    403: Misconfigured,
    404: NotFound,
    409: Conflict,
    422: Misconfigured,
}


@dataclass(frozen=True)
class Kind:
    """One kind of object, by its place in the API."""

    group: str
    version: str
    plural: str


INFERENCE_SERVICES: Final = Kind("serving.kserve.io", "v1beta1", "inferenceservices")
REVISIONS: Final = Kind("serving.knative.dev", "v1", "revisions")


def connect() -> ApiClient:
    """The API of the cluster that this pod runs in, else of KUBECONFIG (~/.kube/config).

    Raises Misconfigured where there is neither.
    """
    from kubernetes import config
    from kubernetes.client import ApiClient, Configuration

    configuration = Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                # the client itself reads KUBECONFIG once, when it is imported
                config_file=os.environ.get("KUBECONFIG", _DEFAULT_CONFIG),
                client_configuration=configuration,
            )
    except (config.ConfigException, OSError) as error:
        raise Misconfigured(
            f"no cluster: {error}; set KUBECONFIG to the file that your cluster gave you"
        ) from error
    return ApiClient(configuration)


def list_objects(
    client: ApiClient, kind: Kind, namespace: str, *, selector: str = ""
) -> list[Object]:
    """The objects of one kind in a namespace, as one consistent reading. Raises GroundshiftError.

    `kind` is of a named group, i.e. none of the core's (pods, secrets).
    """
    from kubernetes.client import CustomObjectsApi

    with translated(f"{kind.plural} of namespace {namespace}"):
        found: Any = CustomObjectsApi(client).list_namespaced_custom_object(
            kind.group,
            kind.version,
            namespace,
            kind.plural,
            label_selector=selector or None,
            _request_timeout=_TIMEOUT_S,
        )
    return list(found["items"])


def list_pods(client: ApiClient, namespace: str) -> list[Object]:
    """The pods of a namespace. Raises GroundshiftError."""
    from kubernetes.client import CoreV1Api

    with translated(f"pods of namespace {namespace}"):
        found = CoreV1Api(client).list_namespaced_pod(namespace, _request_timeout=_TIMEOUT_S)
    return list(as_json(client, found.items))


def as_json(client: ApiClient, typed: object) -> Any:
    """What the client made of an answer, as the JSON it was."""
    return client.sanitize_for_serialization(typed)  # type: ignore[no-untyped-call]


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise the API's refusals as GroundshiftError: `what` was asked for."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        kind = _BY_STATUS.get(error.status or 0, Unavailable)
        cure = "; see `groundshift cluster doctor`" if kind is Misconfigured else ""
        raise kind(
            f"{what}: the cluster answered {error.status}: {_message(error)}{cure}"
        ) from error
    except HTTPError as error:
        raise Unavailable(f"{what}: no answer from the Kubernetes API: {error}") from error


def _message(error: Any) -> str:
    """The API server's own words."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def condition(found: Object, type_: str = "Ready") -> Object:
    """One condition of an object's status; empty where it has none yet."""
    conditions = found.get("status", {}).get("conditions", ())
    return next((c for c in conditions if c["type"] == type_), {})


def is_true(found: Object, type_: str = "Ready") -> bool:
    """Whether a condition holds."""
    return condition(found, type_).get("status") == "True"
