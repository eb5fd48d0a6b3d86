"""A trained network as the platform takes it: model.onnx, model.json and card.md.

Nothing in the JSON and the card is written by hand: they come from the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import nn

from geodata_etl.bands import BANDS, CLOUD_BANDS, Cloud, Cover
from geodata_etl.grid import HALO_PX, TILE_PX
from groundshift.influence import Influence
from training.nets import dummy_inputs, parameters

OPSET: Final = 17
LICENCE: Final = "Apache-2.0"
ATTRIBUTION: Final = "contains modified Copernicus Sentinel data 2015-2018"
MAX_BYTES: Final = 4 * 2**20
_CLOUDS = [c.name.lower() for c in Cloud]
_COVERS = [c.label for c in Cover]


def _tensor(name: str, dtype: str, planes: int | None, **more: Any) -> dict[str, Any]:
    shape = [-1, -1, -1] if planes is None else [-1, planes, -1, -1]
    return {"name": name, "dtype": dtype, "shape": shape, **more}


def _image(name: str, bands: tuple[str, ...]) -> dict[str, Any]:
    return _tensor(name, "UINT16", len(bands), bands=list(bands))


def _probabilities(name: str) -> dict[str, Any]:
    return _tensor(name, "UINT8", len(Cover), classes=_COVERS)


CONTRACT: Final[Mapping[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]] = {
    "cloud-mask": (
        [_image("image", CLOUD_BANDS)],
        [_tensor("mask", "UINT8", None, classes=_CLOUDS)],
    ),
    "segmenter": ([_image("image", BANDS)], [_probabilities("probabilities")]),
    "change-classifier": (
        [
            _image("before", BANDS),
            _image("after", BANDS),
            _probabilities("before_probabilities"),
            _probabilities("after_probabilities"),
        ],
        [_tensor("change", "UINT8", None, classes=["change"])],
    ),
}
"""Inputs and outputs of each model, as model.json lists them."""


@dataclass(frozen=True)
class Story:
    """What is known about a trained model."""

    data: list[str]
    """One sentence per source of training data."""
    seeds: list[int]
    steps: int
    metrics: Mapping[str, Any]
    limits: list[str]
    metamorphic: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More keys for model.json: ``threshold``, ``accepts_segmenters``."""
    dataset: str = ""
    """Version of the dataset: its manifest lies under it in the object store."""
    restricted: list[str] = field(default_factory=list)
    """Licences of training data that forbid commercial use of the weights."""

    @property
    def licence(self) -> str:
        """Of the weights."""
        if not self.restricted:
            return LICENCE
        return f"non-commercial use only, as of its training data: {'; '.join(self.restricted)}"


def export_onnx(name: str, net: nn.Module, path: Path) -> None:
    """Write the graph and check it against the module.

    The exporter knows no uint16: it is given int32, and the inputs' type is set afterwards (what
    follows them is a Cast, which takes either). Raises ValueError where the graph and the module
    differ by more than one level, or where the file is too large.
    """
    net.eval()
    inputs = dummy_inputs(name)
    given = tuple(x.to(torch.int32) if x.dtype == torch.uint16 else x for x in inputs)
    takes, gives = ([t["name"] for t in tensors] for tensors in CONTRACT[name])
    planes = {t["name"]: len(t["shape"]) for side in CONTRACT[name] for t in side}
    axes = {n: {0: "N", planes[n] - 2: "H", planes[n] - 1: "W"} for n in (*takes, *gives)}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net,
        given,
        str(path),
        input_names=takes,
        output_names=gives,
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )
    _retype(path)
    _check(net, path, takes, inputs)


def _retype(path: Path) -> None:
    model = onnx.load(path)
    for entry in model.graph.input:
        if entry.type.tensor_type.elem_type == onnx.TensorProto.INT32:
            entry.type.tensor_type.elem_type = onnx.TensorProto.UINT16
    model.producer_name, model.producer_version = "groundshift", ""
    model.doc_string = ATTRIBUTION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _check(net: nn.Module, path: Path, takes: list[str], inputs: Any) -> None:
    from training.evaluate import OnnxModel

    with torch.no_grad():
        expected = net(*inputs).numpy().astype(int)
    got = OnnxModel(path)(dict(zip(takes, (x.numpy() for x in inputs), strict=True)))
    worst = int(np.abs(expected - got).max())
    if worst > 1:
        raise ValueError(f"the exported graph differs from the network by {worst} levels")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes: over {MAX_BYTES}; use a smaller network")


def digest_of(path: Path) -> str:
    """``sha256:...`` of a file."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def write_model(
    folder: Path, name: str, net: nn.Module, story: Story, influence: Influence
) -> dict[str, Any]:
    """model.json and card.md beside the model.onnx that `export_onnx` wrote; gives the record."""
    takes, gives = CONTRACT[name]
    record: dict[str, Any] = {
        "name": name,
        "digest": digest_of(folder / "model.onnx"),
        "inputs": takes,
        "outputs": gives,
        "tile": TILE_PX,
        "halo": HALO_PX,
        "influence_px": influence.px,
        "parameters": parameters(net),
        "training": {
            "data": story.data,
            "attribution": ATTRIBUTION,
            "licence": story.licence,
            "dataset": story.dataset,
            "commit": commit_of_code(),
            "seeds": story.seeds,
            "steps": story.steps,
        },
        "metrics": dict(story.metrics),
        "metamorphic": dict(story.metamorphic),
        **story.extra,
    }
    (folder / "model.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(_card(record, story), encoding="utf-8")
    return record


def commit_of_code() -> str:
    """The commit that trained it: git's, else ``GIT_COMMIT`` (an image); ``unknown`` otherwise."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # an image without git
        return os.environ.get("GIT_COMMIT", "unknown")
    return done.stdout.strip() or os.environ.get("GIT_COMMIT", "unknown")


def _card(record: Mapping[str, Any], story: Story) -> str:
    def bullets(lines: list[str]) -> str:
        return "\n".join(f"- {line}" for line in lines)

    numbers = [f"{key}: {_shown(value)}" for key, value in record["metrics"].items()]
    return f"""# {record["name"]}

Small U-Net, {record["parameters"]} parameters, trained from random weights in {story.steps}
steps (seeds {story.seeds}). Digest `{record["digest"]}`. It looks {record["influence_px"]} px
around a pixel (measured; the lattice's halo is {record["halo"]} px).

## Trained on

{bullets(story.data)}

Nothing else. {ATTRIBUTION[0].upper()}{ATTRIBUTION[1:]}. {_cities(story)}
Licence of the weights: {story.licence}.{_dataset(story)}

## Measured

{bullets(numbers)}

## Limits

{bullets(story.limits)}
"""


def _cities(story: Story) -> str:
    if story.restricted:
        return "Labels that are not free to use trained it, as listed above."
    return (
        "The eight labelled cities of OSCD trained\nnothing: neither their labels nor their pixels."
    )


def _dataset(story: Story) -> str:
    return f" Dataset `{story.dataset}`." if story.dataset else ""


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return str(value)
