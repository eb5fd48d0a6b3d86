"""Bring a folder of manifests onto the cluster, by server-side apply, and wait until it stands."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from functions.cluster.state import State, read_state
from groundshift.errors import Misconfigured, NotFound, Unavailable
from groundshift.kube import Object, translated

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

MANAGER: Final = "groundshift"
"""Who owns the fields that `apply` sets."""
_POLL_S: Final = 1.0
_RENDERERS: Final = (("kustomize", "build"), ("kubectl", "kustomize"))


@dataclass(frozen=True)
class Applied:
    """One manifest that stands now."""

    kind: str
    namespace: str
    name: str


def render(source: str) -> list[Object]:
    """The manifests of a kustomization's folder, a YAML file or, for ``-``, standard input.

    Raises NotFound, Misconfigured.
    """
    path = Path(source)
    if source == "-":
        text = sys.stdin.read()
    elif path.is_dir():
        text = _kustomized(path)
    elif path.is_file():
        text = path.read_text("utf-8")
    else:
        raise NotFound(f"{source}: no folder with a kustomization.yaml and no YAML file")
    try:
        found = [document for document in yaml.safe_load_all(text) if document]
    except yaml.YAMLError as error:
        raise Misconfigured(f"{source} is no YAML: {error}") from error
    for document in found:
        if not isinstance(document, dict) or not {"apiVersion", "kind"} <= document.keys():
            raise Misconfigured(f"{source}: a document without apiVersion and kind")
    return found


def _kustomized(folder: Path) -> str:
    for program, *arguments in _RENDERERS:
        if found := shutil.which(program):
            done = subprocess.run(
                [found, *arguments, str(folder)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise Misconfigured(f"{folder}: {done.stderr.strip()}")
            return done.stdout
    raise Misconfigured(
        f"{folder} is a kustomization, and neither kustomize nor kubectl is on the PATH: "
        "install one, or render it elsewhere and name the YAML file"
    )


def apply(client: ApiClient, manifests: Sequence[Object]) -> list[Applied]:
    """Apply in order; fields that others set are taken over. Raises GroundshiftError."""
    from kubernetes.dynamic import DynamicClient
    from kubernetes.dynamic.exceptions import ResourceNotFoundError

    with translated("the kinds of the cluster"):
        dynamic: Any = DynamicClient(client)  # type: ignore[no-untyped-call]
    done = []
    for manifest in manifests:
        meta, kind = manifest["metadata"], f"{manifest['apiVersion']} {manifest['kind']}"
        name, namespace = meta["name"], meta.get("namespace")
        try:
            with translated(f"{manifest['kind']} {name}"):
                resource = dynamic.resources.get(
                    api_version=manifest["apiVersion"], kind=manifest["kind"]
                )
                resource.server_side_apply(
                    body=manifest,
                    name=name,
                    namespace=namespace,
                    field_manager=MANAGER,
                    force_conflicts=True,
                )
        except ResourceNotFoundError as error:
            raise Misconfigured(
                f"the cluster knows no {kind}: install what brings it (Knative, KServe, see "
                "docs/deployment.md)"
            ) from error
        done.append(Applied(manifest["kind"], namespace or "", name))
    return done


def wait_ready(
    client: ApiClient,
    namespace: str,
    *,
    timeout_s: float,
    watch: Callable[[State], None] | None = None,
) -> State:
    """Wait until everything in a namespace is ready. Raises Unavailable with what is not."""
    deadline = time.monotonic() + timeout_s
    while True:
        state = read_state(client, namespace)
        if watch is not None:
            watch(state)
        if state.parts and not state.troubles and not state.releases.why:
            return state
        if time.monotonic() > deadline:
            rows = [f"{p.what} {p.name}: {p.why}" for p in state.troubles]
            said = "; ".join([*rows, state.releases.why]).strip("; ")
            raise Unavailable(f"not ready after {timeout_s:g} s: {said or 'nothing is there'}")
        time.sleep(_POLL_S)
