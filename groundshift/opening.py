"""Opening what the settings name: the ledger, the object store, the registry of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from groundshift.adapters.files import FileObjectStore
from groundshift.errors import Misconfigured
from groundshift.ledger import Ledger
from groundshift.ports import ObjectStore, Registry
from groundshift.settings import Settings


def settings_of(data_dir: Path | None = None, **options: Any) -> Settings:
    """Settings from the environment and what the command line says. Raises Misconfigured."""
    given = {name: value for name, value in options.items() if value is not None}
    if data_dir is not None:
        given["data_dir"] = data_dir.resolve()
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise Misconfigured(
            f"setting {name}: {first['msg']} (got {first['input']!r:.80}); "
            f"set GROUNDSHIFT_{name.upper()} or the option of that name"
        ) from error


def open_ledger(settings: Settings) -> Ledger:
    """The ledger that the settings name."""
    return Ledger.open(
        settings.ledger_url,
        tenant=settings.tenant,
        actor=settings.actor,
        timeout_s=settings.database_timeout_s,
    )


def open_store(settings: Settings) -> ObjectStore:
    """The object store that the settings name: a folder or a bucket. Raises Misconfigured."""
    scheme, found, place = settings.objects.partition("://")
    if not found:
        return FileObjectStore(Path(settings.objects))
    if scheme != "s3":
        raise Misconfigured(
            f"object_root {settings.objects!r}: name a folder or s3://bucket/prefix, "
            "or leave it empty for a folder in the data folder"
        )
    from groundshift.adapters.s3 import S3ObjectStore  # 0.1 s that the laptop does not need

    bucket, _, prefix = place.partition("/")
    return S3ObjectStore(
        bucket,
        prefix=prefix,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        retry_s=settings.s3_retry_s,
    )


def open_registry(settings: Settings) -> Registry:
    """MLflow's registry: the server that the settings name, else SQLite in the data folder.

    Raises Misconfigured where mlflow is not installed.
    """
    from groundshift.adapters.mlflow_registry import MlflowRegistry  # seconds that few need

    if not settings.mlflow_uri:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    return MlflowRegistry(settings.tracking, artifacts=settings.data_dir / "mlflow-artifacts")
