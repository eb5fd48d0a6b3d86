"""The KServe model server; the only module that imports kserve.

kserve parses ``sys.argv`` when it is imported: import this module through
`groundshift.serving.main.serve`, which hides the arguments from it. Everything that costs time
(decoding, inference, encoding) runs in a pool of threads, so that probes answer under load.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import kserve
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.server import RESTServer
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse

from groundshift.models import ModelRecord, TensorSpec
from groundshift.serving.gate import Gate, Limits
from groundshift.serving.metrics import ServerMetrics
from groundshift.serving.session import Session, compute_signature
from groundshift.v2 import HEADER_LENGTH, BadMessage, decode_request, encode_response

_APP: Final = "kserve.model_server:app"
"""The ASGI application that kserve makes at import and its RESTServer fills."""
_GRACE_S: Final = 15
"""After SIGTERM, the longest wait for requests in flight."""


@dataclass(frozen=True)
class _Call:
    """An inference as it came in: decoded in the pool, not on the event loop."""

    body: bytes
    header_length: str | None


@dataclass(frozen=True)
class _Reply:
    body: bytes
    json_length: int | None


class OnnxModel(kserve.Model):  # type: ignore[misc]  # kserve ships no types
    """One model of the store, as kserve sees it; ready once `load` has returned."""

    def __init__(
        self,
        record: ModelRecord,
        *,
        pool: ThreadPoolExecutor,
        metrics: ServerMetrics,
        max_bytes: int,
        provider: str = "cpu",
    ) -> None:
        super().__init__(record.name)
        self.record = record
        self.signature = compute_signature(record.variant, provider)
        self._pool = pool
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._provider = provider
        self._session: Session | None = None

    def load(self) -> bool:
        """Load and check the artifact. Raises NotFound, Misconfigured."""
        self._session = Session(self.record, max_bytes=self._max_bytes, provider=self._provider)
        self.ready = True
        return True

    def get_input_types(self) -> list[dict[str, Any]]:
        """The v2 metadata of the inputs."""
        return [_metadata(spec) for spec in self.record.inputs]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The v2 metadata of the outputs."""
        return [_metadata(spec) for spec in self.record.outputs]

    async def predict(self, payload: object, _headers: object = None) -> _Reply:
        """Answer one call from the thread pool."""
        if not isinstance(payload, _Call):  # kserve's v1 endpoints
            raise InvalidInput("use the v2 protocol: POST /v2/models/NAME/infer")
        self._metrics.waiting.inc()
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, payload)

    def _answer(self, call: _Call) -> _Reply:
        self._metrics.waiting.dec()
        session = self._session
        if session is None:
            raise BadMessage(f"{self.name} is not loaded")
        request = decode_request(call.body, call.header_length, self.record)
        with self._metrics.seconds.labels(model_name=self.name).time():
            outputs = session.run(request.inputs)
        count = next(iter(outputs.values())).shape[0]
        self._metrics.images.labels(model_name=self.name).inc(count)
        return _Reply(*encode_response(self._head(request.id), outputs, request))

    def _head(self, request_id: str | None) -> dict[str, Any]:
        revision = revision_name(self.record)
        return {
            "id": request_id or uuid.uuid4().hex,
            "model_name": self.name,
            "model_version": revision,
            "parameters": {
                "digest": self.record.digest,
                "signature": self.signature,
                "revision": revision,
            },
        }


class TileDataPlane(DataPlane):  # type: ignore[misc]
    """kserve's data plane without its decoder, which makes a Python list of every tensor."""

    async def ready(self) -> bool:
        """Whether every model is loaded (kserve's own answer is always yes)."""
        models = self.model_registry.get_models().values()
        return bool(models) and all(model.ready for model in models)

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """V2 metadata; `versions` holds the digest, then the revision; `platform` the signature."""
        model = self.get_model_from_registry(model_name)
        return {
            "name": model_name,
            "versions": [model.record.digest, revision_name(model.record)],
            "platform": model.signature,
            "inputs": model.get_input_types(),
            "outputs": model.get_output_types(),
        }

    def decode(
        self, body: object, headers: dict[str, str], *_args: object, **_kwargs: object
    ) -> tuple[object, dict[str, Any]]:
        """Pass an inference on undecoded; anything else is none of this server's."""
        if not isinstance(body, bytes):
            raise InvalidInput("use the v2 protocol: POST /v2/models/NAME/infer")
        return _Call(body, headers.get(HEADER_LENGTH)), {}

    def encode(self, *, response: _Reply, **_: object) -> tuple[bytes, dict[str, str]]:
        """The reply as the pool encoded it."""
        if response.json_length is None:
            return response.body, {}
        return response.body, {HEADER_LENGTH: str(response.json_length)}


class TileServer(kserve.ModelServer):  # type: ignore[misc]
    """kserve's server on a socket of ours, REST only, with models that load while it listens."""

    def __init__(self, listener: socket.socket, *, limits: Limits, metrics: ServerMetrics) -> None:
        super().__init__(enable_grpc=False, enable_latency_logging=False, workers=1)
        self.dataplane = TileDataPlane(model_registry=self.registered_models)
        self._listener = listener
        self._limits = limits
        self._metrics = metrics

    def start(self, models: Sequence[OnnxModel]) -> None:
        """Serve until SIGTERM. Raises NotFound or Misconfigured where a model cannot be loaded."""
        for model in models:
            self.register_model(model)
        asyncio.run(self._run(models))

    async def _run(self, models: Sequence[OnnxModel]) -> None:
        rest = RESTServer(
            _APP,
            self.dataplane,
            self.model_repository_extension,
            self.http_port,
            grace_period=_GRACE_S,
            timeout_keep_alive=self.timeout_keep_alive,
        )
        rest.config.fd = self._listener.fileno()
        rest.config.access_log = False
        rest.config.lifespan = "off"  # kserve's app has none, and its end would be logged as one
        kserve.model_server.app.add_middleware(Gate, limits=self._limits, metrics=self._metrics)
        kserve.model_server.app.add_exception_handler(BadMessage, _bad_message)
        await asyncio.gather(rest.start(), asyncio.to_thread(_load, models))


def revision_name(record: ModelRecord) -> str:
    """The name Knative gave this pod's revision; elsewhere the digest's first 12 digits."""
    return os.environ.get("K_REVISION") or record.short_digest


def _load(models: Sequence[OnnxModel]) -> None:
    for model in models:
        model.load()


def _metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


async def _bad_message(_: HttpRequest, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)
