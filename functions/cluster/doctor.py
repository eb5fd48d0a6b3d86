"""Is the cluster what the platform needs, and does the platform stand on it? With cures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from functions.cluster.state import SERVICES, Part, State, read_state
from functions.commands.doctor import Check
from groundshift.errors import GroundshiftError, NotFound
from groundshift.kube import Kind, as_json, connect, list_objects, translated

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_GROUPS: Final = (
    ("serving.knative.dev/v1", "Knative Serving", True),
    ("eventing.knative.dev/v1", "Knative Eventing", True),
    ("serving.kserve.io/v1beta1", "KServe", True),
    ("sources.knative.dev/v1", "Knative sources (clocks)", False),
)
_POLICIES: Final = Kind("networking.k8s.io", "v1", "networkpolicies")
_ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_CURES: Final = {
    "function": "groundshift cluster logs {name}; is the image there, are ConfigMap and Secret?",
    "program": "groundshift cluster logs {name}",
    "model": "is the model in the bucket? groundshift publish-models --to s3://BUCKET",
    "broker": "is Knative Eventing up? kubectl -n knative-eventing get pods",
    "trigger": "is its subscriber ready? groundshift cluster status",
    "clock": "is Knative Eventing up? kubectl -n knative-eventing get pods",
    "job": "is Knative Eventing's job sink up? kubectl -n knative-eventing get pods",
}
_APPLY: Final = "groundshift cluster apply OVERLAY"


def examine(namespace: str, *, open_api: Callable[[], ApiClient] = connect) -> list[Check]:
    """Look at the cluster from the API down to each part; what cannot be looked at ends it."""
    try:
        client = open_api()
        version = _version(client)
        groups = _groups(client)
    except GroundshiftError as error:
        return [Check("Kubernetes", ok=False, found=str(error), cure="set KUBECONFIG")]
    checks = [Check("Kubernetes", ok=True, found=version), *_served(groups)]
    if all(check.ok for check in checks if check.needed):
        checks += _try("namespace", lambda: _namespace(client, namespace), cure=_APPLY)
        checks += _try("parts", lambda: _platform(client, namespace), cure=_APPLY)
    return checks


def _version(client: ApiClient) -> str:
    from kubernetes.client import VersionApi

    with translated("version"):
        return str(VersionApi(client).get_code().git_version)


def _groups(client: ApiClient) -> set[str]:
    from kubernetes.client import ApisApi

    with translated("API groups"):
        found: Any = as_json(client, ApisApi(client).get_api_versions())
    return {v["groupVersion"] for group in found["groups"] for v in group["versions"]}


def _served(groups: set[str]) -> Iterator[Check]:
    for version, name, needed in _GROUPS:
        there = version in groups
        group, _, number = version.partition("/")
        found = number if there else f"no {group} of version {number}"
        yield Check(name, ok=there, found=found, cure="install it", needed=needed)


def _namespace(client: ApiClient, namespace: str) -> Iterator[Check]:
    from kubernetes.client import CoreV1Api

    with translated(f"namespace {namespace}"):
        found: Any = as_json(client, CoreV1Api(client).read_namespace(namespace))
    level = found["metadata"].get("labels", {}).get(_ENFORCE, "none")
    yield Check(
        "PodSecurity",
        ok=level == "restricted",
        found=f"namespace {namespace} enforces {level}",
        cure=f"kubectl label namespace {namespace} {_ENFORCE}=restricted",
        needed=False,
    )
    closed = [
        p["metadata"]["name"]
        for p in list_objects(client, _POLICIES, namespace)
        if not p["spec"].get("podSelector") and not p["spec"].get("ingress")
    ]
    yield Check(
        "default deny",
        ok=bool(closed),
        found=", ".join(closed) or "no NetworkPolicy closes the namespace",
        cure=_APPLY,
        needed=False,
    )
    yield from _references(client, namespace)


def _references(client: ApiClient, namespace: str) -> Iterator[Check]:
    """The ConfigMaps and Secrets that the functions name."""
    from kubernetes.client import CoreV1Api

    core = CoreV1Api(client)
    readers: dict[str, Callable[..., object]] = {
        "configMapRef": core.read_namespaced_config_map,
        "secretRef": core.read_namespaced_secret,
    }
    for field, name in sorted(_named(list_objects(client, SERVICES, namespace))):
        what = f"{'ConfigMap' if field == 'configMapRef' else 'Secret'} {name}"
        try:
            with translated(what):
                readers[field](name, namespace)
        except NotFound:
            cure = "make it; docs/deployment.md says what belongs into it"
            yield Check(what, ok=False, found="not there", cure=cure)
        except GroundshiftError as error:
            yield Check(what, ok=False, found=str(error), cure="ask who may read it", needed=False)
        else:
            yield Check(what, ok=True, found="there")


def _named(services: Sequence[Any]) -> set[tuple[str, str]]:
    return {
        (field, reference["name"])
        for service in services
        for container in service["spec"]["template"]["spec"]["containers"]
        for source in container.get("envFrom", ())
        for field, reference in source.items()
        if field in ("configMapRef", "secretRef")
    }


def _platform(client: ApiClient, namespace: str) -> Iterator[Check]:
    state = read_state(client, namespace)
    yield from map(_of_part, state.parts)
    yield _releases(state)


def _of_part(part: Part) -> Check:
    cure = _CURES[part.what].format(name=part.name)
    found = part.shows if part.ready else part.why
    return Check(f"{part.what} {part.name}", ok=part.ready, found=found, cure=cure)


def _releases(state: State) -> Check:
    found = state.releases
    shown = f"{found.stable or 'in the image'}, canary {found.canary or 'none'}"
    return Check(
        "model set",
        ok=not found.why,
        found=found.why or f"{shown} at {found.percent} %",
        cure="groundshift cluster status shows each model's revisions",
    )


def _try(name: str, look: Callable[[], Iterator[Check]], *, cure: str) -> list[Check]:
    try:
        return list(look())
    except GroundshiftError as error:
        return [Check(name, ok=False, found=str(error), cure=cure)]
