"""A published cloud mask that labels clouds for ours: ukis-csmask (DLR, Apache-2.0).

Used where it is installed; it never ships and is no dependency. ``pip install --no-deps
ukis-csmask`` lets a training of the cloud mask be taught; without it the synthetic clouds' own
masks are the labels.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

PACKAGE: Final = "ukis_csmask"
_MODELS: Final = ("model_4b_l1c", "model_4b_l2a")
"""Two readings of the same four bands: where they agree, the level of the image does not matter."""
SIZE: Final = 256
"""Edge of what it takes, pixels."""
_CLOUD, _SHADOW = 1, 2
_BLOCK, _CONTEXT = 192, 32


@dataclass(frozen=True)
class Opinion:
    """What the teacher sees, each [H,W]."""

    cloud: NDArray[np.bool_]
    shadow: NDArray[np.bool_]
    clear: NDArray[np.bool_]


class CloudTeacher:
    """Both models of the package in a folder."""

    def __init__(self, folder: Path) -> None:
        self._nets = [_Net(folder / name) for name in _MODELS]

    def opinion(self, image: NDArray[np.float32]) -> Opinion:
        """Of reflectance [4,H,W] (blue, green, red, near infrared), where both models agree."""
        one, two = (net.classes(image) for net in self._nets)
        agreed = one == two
        return Opinion(
            cloud=agreed & (one == _CLOUD),
            shadow=agreed & (one == _SHADOW),
            clear=agreed & (one != _CLOUD) & (one != _SHADOW),
        )


def find() -> CloudTeacher | None:
    """The teacher, where its package is installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return CloudTeacher(Path(spec.origin).parent)


class _Net:
    def __init__(self, stem: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(stem.with_suffix(".onnx")), options, providers=["CPUExecutionProvider"]
        )
        told = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        statistics = told["data"]["dataset_statistics"]["img"]
        self._mean, self._std = (np.array(s, np.float32)[:, None, None] for s in statistics)
        self._input = self._session.get_inputs()[0].name

    def classes(self, image: NDArray[np.float32]) -> NDArray[np.uint8]:
        """0 clear, 1 cloud, 2 shadow [H,W], block by block."""
        height, width = image.shape[1:]
        rows, columns = (-(-edge // _BLOCK) * _BLOCK for edge in (height, width))
        room = [
            (0, 0),
            (_CONTEXT, _CONTEXT + rows - height),
            (_CONTEXT, _CONTEXT + columns - width),
        ]
        padded = np.pad((image - self._mean) / self._std, room, mode="reflect")
        out = np.zeros((rows, columns), np.uint8)
        for top in range(0, rows, _BLOCK):
            for left in range(0, columns, _BLOCK):
                block = padded[None, :, top : top + SIZE, left : left + SIZE]
                found = self._session.run(None, {self._input: block.astype(np.float32)})[0][0]
                inner = found[:, _CONTEXT:-_CONTEXT, _CONTEXT:-_CONTEXT].argmax(axis=0)
                out[top : top + _BLOCK, left : left + _BLOCK] = inner
        return out[:height, :width]
