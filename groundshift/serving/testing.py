"""Tiny models with the exact tensor contract, for tests that need a real server but no accuracy.

They follow rules instead of weights, look at one pixel at a time (influence 0) and need no torch;
the `onnx` package (development only) writes them.

- cloud-mask: cloud where the mean of the four bands is over 0.3, else clear.
- segmenter: the class whose index (water, vegetation, soil, brightness, burnt) is largest gets 204
  of 254, each other one 10.
- change-classifier: p = min(1, 4 x mean absolute difference of reflectance).

Nodata (0 in every band) gives 255, as in the trained models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from geodata_etl.bands import BANDS, CLOUD_BANDS, Cloud, Cover
from geodata_etl.grid import HALO_PX, TILE_PX
from groundshift.models import ARTIFACT, CARD, RECORD, artifact_digest

_HEADER: Final = '<ir_version: 8, opset_import: ["" : 17]>'

_CLOUD_MASK: Final = """
cloud_mask (uint16[N,4,H,W] image) => (uint8[N,H,W] mask) {
  x = Cast <to = 1> (image)
  mean = ReduceMean <axes = [1], keepdims = 0> (x)
  least = ReduceMin <axes = [1], keepdims = 0> (x)
  limit = Constant <value_float = 3000.0> ()
  zero = Constant <value_float = 0.0> ()
  bright = Greater (mean, limit)
  nodata = Equal (least, zero)
  cloud = Cast <to = 2> (bright)
  none = Constant <value = uint8[1] {255}> ()
  mask = Where (nodata, none, cloud)
}
"""

_SEGMENTER: Final = """
segmenter (uint16[N,6,H,W] image) => (uint8[N,6,H,W] probabilities) {
  x = Cast <to = 1> (image)
  one = Constant <value_float = 1.0> ()
  zero = Constant <value_float = 0.0> ()
  blue, green, red, nir, swir16, swir22 = Split <axis = 1> (x)
  mean = ReduceMean <axes = [1], keepdims = 1> (x)
  wet_up = Sub (green, nir)
  green_up = Sub (nir, red)
  soil_up = Sub (swir16, nir)
  burnt_up = Sub (swir22, nir)
  wet_sum = Add (green, nir)
  green_sum = Add (nir, red)
  soil_sum = Add (swir16, nir)
  burnt_sum = Add (swir22, nir)
  wet_down = Max (wet_sum, one)
  green_down = Max (green_sum, one)
  soil_down = Max (soil_sum, one)
  burnt_down = Max (burnt_sum, one)
  water = Div (wet_up, wet_down)
  leaf = Div (green_up, green_down)
  soil = Div (soil_up, soil_down)
  burnt_index = Div (burnt_up, burnt_down)
  scale = Constant <value_float = 5000.0> ()
  bright = Div (mean, scale)
  half = Constant <value_float = 0.5> ()
  tree = Sub (leaf, bright)
  low = Mul (leaf, half)
  built = Mul (bright, half)
  burnt = Sub (burnt_index, bright)
  scores = Concat <axis = 1> (water, tree, low, soil, built, burnt)
  best = ArgMax <axis = 1, keepdims = 1> (scores)
  classes = Constant <value = int64[1,6,1,1] {0, 1, 2, 3, 4, 5}> ()
  chosen = Equal (best, classes)
  most = Constant <value = uint8[1] {204}> ()
  rest = Constant <value = uint8[1] {10}> ()
  seen = Where (chosen, most, rest)
  least = ReduceMin <axes = [1], keepdims = 1> (x)
  nodata = Equal (least, zero)
  none = Constant <value = uint8[1] {255}> ()
  probabilities = Where (nodata, none, seen)
}
"""

_CLASSIFIER: Final = """
change_classifier (
  uint16[N,6,H,W] before, uint16[N,6,H,W] after,
  uint8[N,6,H,W] before_probabilities, uint8[N,6,H,W] after_probabilities
) => (uint8[N,H,W] change) {
  b = Cast <to = 1> (before)
  a = Cast <to = 1> (after)
  pb = Cast <to = 1> (before_probabilities)
  pa = Cast <to = 1> (after_probabilities)
  zero = Constant <value_float = 0.0> ()
  gain = Constant <value_float = 0.0004> ()
  top = Constant <value_float = 1.0> ()
  levels = Constant <value_float = 254.0> ()
  unseen = Constant <value_float = 255.0> ()
  step = Sub (a, b)
  size = Abs (step)
  mean = ReduceMean <axes = [1], keepdims = 0> (size)
  steep = Mul (mean, gain)
  p = Min (steep, top)
  scaled = Mul (p, levels)
  rounded = Round (scaled)
  level = Cast <to = 2> (rounded)
  both = Min (a, b)
  least = ReduceMin <axes = [1], keepdims = 0> (both)
  nodata = Equal (least, zero)
  worst = Max (pa, pb)
  most = ReduceMax <axes = [1], keepdims = 0> (worst)
  unclassed = Equal (most, unseen)
  hidden = Or (nodata, unclassed)
  none = Constant <value = uint8[1] {255}> ()
  change = Where (hidden, none, level)
}
"""

_COVER: Final = [cover.label for cover in Cover]


def write_test_models(folder: Path) -> Path:
    """Write a model store of the three test models into `folder` and return it.

    The artifacts are the same bytes each time. Needs the `onnx` package.
    """
    image = _tensor("image", "UINT16", [-1, 4, -1, -1], bands=CLOUD_BANDS)
    mask = _tensor("mask", "UINT8", [-1, -1, -1], classes=[c.name.lower() for c in Cloud])
    _write(folder, "cloud-mask", _CLOUD_MASK, [image], [mask])

    image = _tensor("image", "UINT16", [-1, 6, -1, -1], bands=BANDS)
    probabilities = _tensor("probabilities", "UINT8", [-1, 6, -1, -1], classes=_COVER)
    _write(folder, "segmenter", _SEGMENTER, [image], [probabilities])

    inputs = [
        _tensor("before", "UINT16", [-1, 6, -1, -1], bands=BANDS),
        _tensor("after", "UINT16", [-1, 6, -1, -1], bands=BANDS),
        _tensor("before_probabilities", "UINT8", [-1, 6, -1, -1], classes=_COVER),
        _tensor("after_probabilities", "UINT8", [-1, 6, -1, -1], classes=_COVER),
    ]
    change = _tensor("change", "UINT8", [-1, -1, -1], classes=["change"])
    _write(folder, "change-classifier", _CLASSIFIER, inputs, [change], accepts_segmenters=["*"])
    return folder


def _tensor(name: str, dtype: str, shape: Sequence[int], **labels: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape), **labels}


def _write(
    store: Path,
    name: str,
    graph: str,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    **more: Any,
) -> None:
    import onnx

    model = onnx.parser.parse_model(_HEADER + graph)
    onnx.checker.check_model(model, full_check=True)
    artifact = model.SerializeToString(deterministic=True)
    record = {
        "name": name,
        "digest": artifact_digest(artifact),
        "inputs": inputs,
        "outputs": outputs,
        "tile": TILE_PX,
        "halo": HALO_PX,
        "influence_px": 0,
        "training": {"data": "none: rules", "licence": "Apache-2.0", "commit": "", "seeds": []},
        "metrics": {},
        "metamorphic": {},
        **more,
    }
    folder = store / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ARTIFACT).write_bytes(artifact)
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    (folder / CARD).write_text(
        f"# {name} (test)\n\nRules for tests; not a trained model.\n", "utf-8"
    )
