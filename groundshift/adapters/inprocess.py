"""`ModelClient` without a server: ONNX Runtime in this process, for devices and measurements."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundshift.errors import ModelMismatch, ModelRefused
from groundshift.models import list_models
from groundshift.ports import IN_PROCESS, ModelRevision, Split
from groundshift.serving.session import Session
from groundshift.v2 import BadMessage


class InProcessClient:
    """The models of a store; safe for threads, each call on the caller's thread."""

    def __init__(self, store: Path) -> None:
        self._sessions = {record.name: Session(record) for record in list_models(store)}
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        """Inferences by model."""
        self.seconds: dict[str, float] = dict.fromkeys(self._sessions, 0.0)
        """Seconds inside ONNX Runtime by model, over all threads."""

    def resolve(self, name: str) -> ModelRevision:
        """The revision of `name`. Raises ModelRefused where the store has none."""
        session = self._session(name)
        record = session.record
        return ModelRevision(
            name, record.short_digest, record.digest, session.signature, IN_PROCESS
        )

    def split(self, names: Sequence[str]) -> Split:
        """What the store holds, without a canary. Raises ModelRefused."""
        return Split(tuple(map(self.resolve, names)))

    def infer(
        self, revision: ModelRevision, inputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, NDArray[np.generic]]:
        """One inference. Raises ModelMismatch, ModelRefused."""
        session = self._session(revision.name)
        if session.record.digest != revision.digest:
            raise ModelMismatch(
                f"{revision.name}: {session.record.digest} is loaded, the run was planned with "
                f"{revision.digest}; plan it again"
            )
        begun = time.perf_counter()
        try:
            outputs = session.run(inputs)
        except BadMessage as error:
            raise ModelRefused(f"{revision.name}: {error}") from error
        with self._lock:
            self.calls[revision.name] += 1
            self.seconds[revision.name] += time.perf_counter() - begun
        return outputs

    def close(self) -> None:
        """Nothing is open: memory goes with the client."""

    def _session(self, name: str) -> Session:
        try:
            return self._sessions[name]
        except KeyError as error:
            known = ", ".join(self._sessions)
            raise ModelRefused(f"no model {name!r} in the store: it holds {known}") from error
