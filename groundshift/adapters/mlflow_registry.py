"""MLflow's registry: a server over http(s), or its own files in the data folder.

One registered model, `NAME`; each version of it is a model set: the files of its three models are
artifacts of the run that the version names. Only those files are written and read, byte for byte:
MLflow's own loaders, which unpickle, are never called.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from groundshift.errors import Forbidden, Misconfigured, NotFound, Unavailable
from groundshift.models import CARD
from groundshift.ports import RegisteredSet
from groundshift.registry import (
    FILES,
    card_of,
    copy_model,
    digest_of,
    facts_of,
    read_set,
    set_digest,
)
from groundshift.runs import MODEL_NAMES

NAME: Final = "groundshift"
"""The registered model."""
_EXPERIMENT: Final = "groundshift registry"
"""What holds the runs whose artifacts the versions are; trainings have one of their own."""
_FOLDER: Final = "models"
"""Artifact folder of a run."""
_DIGEST: Final = "digest"
_MODEL: Final = "model."
"""Tags of a version: the set's digest, and ``model.<name>`` for each of the three."""
_MOST: Final = 1000
_CARD_CHARS: Final = 5000
"""What MLflow's column for a description takes; the whole cards are among the artifacts."""
_GONE: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class MlflowRegistry:
    """A registry at an MLflow tracking URI: http(s)://..., or sqlite:///... with a folder."""

    def __init__(self, uri: str, *, artifacts: Path) -> None:
        """`artifacts`: where SQLite's files lie; a server keeps them itself.

        Raises Misconfigured where mlflow is not installed.
        """
        self._uri = uri
        self._artifacts = None if uri.startswith("http") else artifacts.resolve().as_uri()
        self._client = _client(uri)

    def register(self, store: Path, *, tags: Mapping[str, str]) -> RegisteredSet:
        """Take a model store's set in; the one that stands where the same set was registered."""
        records = read_set(store)
        digest = digest_of(records)
        with _answering(self._uri):
            for known in self._versions(f"tags.`{_DIGEST}` = '{digest}'"):
                return known
            run = self._client.create_run(self._experiment(), run_name=digest[7:19])
            with tempfile.TemporaryDirectory() as folder:
                for record in records:
                    copy_model(record.folder, Path(folder, record.name))
                self._client.log_artifacts(run.info.run_id, folder, _FOLDER)
            self._client.set_terminated(run.info.run_id)
            own = {_DIGEST: digest, **{_MODEL + r.name: r.digest for r in records}}
            made = self._client.create_model_version(
                self._registered(),
                source=f"{run.info.artifact_uri}/{_FOLDER}",
                run_id=run.info.run_id,
                tags={**facts_of(records), **tags, **own},
                description=card_of(records)[:_CARD_CHARS],
            )
            return self._one(made.version)

    def alias(self, version: str, alias: str) -> None:
        """Give a version an alias, taken from whichever had it. Raises NotFound."""
        with _answering(self._uri):
            self._one(version)
            self._client.set_registered_model_alias(NAME, alias, version)

    def fetch(self, which: str, to: Path) -> RegisteredSet:
        """Write a set, by version or alias, into a folder as a model store, digests verified."""
        with _answering(self._uri):
            found = self._one(which) if which.isdecimal() else self._aliased(which)
            source = self._client.get_model_version(NAME, found.version).source
            for name in MODEL_NAMES:
                self._download(f"{source}/{name}", to / name)
        records = read_set(to)
        if digest_of(records) != found.digest:
            raise Misconfigured(
                f"{NAME} {found.version}: the artifacts are {digest_of(records)}, not the "
                f"{found.digest} that were registered: register the set again"
            )
        return found

    def list(self) -> Sequence[RegisteredSet]:
        """Every set, the newest first."""
        with _answering(self._uri):
            found = self._versions("")
        return sorted(found, key=lambda one: int(one.version), reverse=True)

    def _download(self, source: str, to: Path) -> None:
        from mlflow.artifacts import download_artifacts

        to.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            try:
                download_artifacts(
                    artifact_uri=f"{source}/{name}", dst_path=str(to), tracking_uri=self._uri
                )
            except Exception as error:
                if name == CARD and _is_gone(error):
                    continue
                raise

    def _experiment(self) -> str:
        known = self._client.get_experiment_by_name(_EXPERIMENT)
        if known is not None:
            return str(known.experiment_id)
        return str(self._client.create_experiment(_EXPERIMENT, artifact_location=self._artifacts))

    def _registered(self) -> str:
        if not self._client.search_registered_models(f"name = '{NAME}'", max_results=1):
            self._client.create_registered_model(NAME)
        return NAME

    def _versions(self, where: str) -> Sequence[RegisteredSet]:
        filters = " and ".join(filter(None, (f"name = '{NAME}'", where)))
        found = self._client.search_model_versions(filters, max_results=_MOST)
        aliases = self._aliases() if found else {}
        return [_set(one, aliases) for one in found]

    def _aliases(self) -> dict[str, tuple[str, ...]]:
        """Aliases by version: a search does not say them."""
        known = self._client.get_registered_model(NAME).aliases
        found: dict[str, tuple[str, ...]] = {}
        for alias, version in sorted(known.items()):
            found[str(version)] = (*found.get(str(version), ()), alias)
        return found

    def _one(self, version: str) -> RegisteredSet:
        return _set(self._client.get_model_version(NAME, version), self._aliases())

    def _aliased(self, alias: str) -> RegisteredSet:
        return self._one(str(self._client.get_model_version_by_alias(NAME, alias).version))


def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody is told what runs here
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise Misconfigured(
            f"the registry at {uri} needs mlflow ({error}): pip install 'groundshift[training]', "
            "or ask for the models of the package (--from package)"
        ) from error
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _set(version: Any, aliases: Mapping[str, tuple[str, ...]]) -> RegisteredSet:
    tags = dict(version.tags)
    models = {name: tags.pop(_MODEL + name, "") for name in MODEL_NAMES}
    return RegisteredSet(
        version=str(version.version),
        digest=tags.pop(_DIGEST, set_digest(list(models.values()))),
        models=MappingProxyType(models),
        aliases=aliases.get(str(version.version), ()),
        tags=MappingProxyType(tags),
        card=version.description or "",
    )


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """What MLflow raises, as errors of ours."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if _is_gone(error):
            raise NotFound(
                f"{uri}: {error.message}: `groundshift models --from registry` lists what there is"
            ) from error
        if error.error_code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            raise Forbidden(f"{uri} refuses: {error.message}") from error
        raise Unavailable(f"MLflow at {uri} does not answer: {error.message}") from error
    except OSError as error:
        raise Unavailable(f"MLflow at {uri} does not answer: {error}") from error


def _is_gone(error: Exception) -> bool:
    return getattr(error, "error_code", "") in _GONE
