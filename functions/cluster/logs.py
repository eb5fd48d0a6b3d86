"""What the pods of one part say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from groundshift.errors import NotFound
from groundshift.kube import Object, list_pods, translated

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_LABELS: Final = (
    "serving.knative.dev/service",
    "serving.kserve.io/inferenceservice",
    "app.kubernetes.io/name",
    "app",
)
"""By which a pod is found: of a function, a model, a program."""
_SIDECARS: Final = frozenset({"queue-proxy"})


def read_logs(client: ApiClient, namespace: str, part: str, *, lines: int) -> Iterator[str]:
    """The last lines of each pod of a function, model or program, pod by pod.

    Raises NotFound where no pod runs.
    """
    pods = [p for p in list_pods(client, namespace) if _is_of(p, part)]
    if not pods:
        raise NotFound(
            f"no pod of {part!r} in namespace {namespace}: a function sleeps at zero pods; "
            "see `groundshift cluster status`"
        )
    return _lines(client, namespace, pods, lines)


def _lines(client: ApiClient, namespace: str, pods: Iterable[Object], lines: int) -> Iterator[str]:
    for pod in pods:
        name = pod["metadata"]["name"]
        for container in _containers(pod):
            for line in _read(client, namespace, name, container, lines).splitlines():
                yield f"{name}: {line}"


def _read(client: ApiClient, namespace: str, pod: str, container: str, lines: int) -> str:
    from kubernetes.client import CoreV1Api

    with translated(f"log of pod {pod}"):
        found: Any = CoreV1Api(client).read_namespaced_pod_log(
            pod, namespace, container=container, tail_lines=lines
        )
    return str(found)


def _containers(pod: Object) -> list[str]:
    """Containers that have started, without Knative's own."""
    status = pod.get("status", {})
    found = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    return [c["name"] for c in found if c["name"] not in _SIDECARS and "waiting" not in c["state"]]


def _is_of(pod: Object, part: str) -> bool:
    labels = pod["metadata"].get("labels", {})
    return any(labels.get(label) == part for label in _LABELS)
