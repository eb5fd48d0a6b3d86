"""The contract of `groundshift.ports.ModelClient`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from groundshift.errors import ModelMismatch, ModelRefused
from groundshift.ports import ModelClient

NAMES = ("cloud-mask", "segmenter", "change-classifier")


def image(bands: int, *, seed: int = 0, size: int = 64) -> NDArray[np.uint16]:
    """Random reflectance ``[1, bands, size, size]`` whose first rows are nodata."""
    pixels = np.random.default_rng(seed).integers(1, 6000, (1, bands, size, size), np.uint16)
    pixels[:, :, :5] = 0
    return pixels


class ModelClientContract:
    """Subclass and give the fixture `client`: a ModelClient of the test models.

    The models are those that `groundshift.serving.testing.write_test_models` writes.
    """

    def test_resolve_names_what_serves(self, client: ModelClient) -> None:
        """Digest and signature, the same each time."""
        for name in NAMES:
            revision = client.resolve(name)
            assert revision == client.resolve(name)
            assert revision.name == name
            assert revision.digest.startswith("sha256:")
            assert len(revision.digest) == 71
            assert revision.revision
            assert revision.signature.count("/") >= 4
            assert revision.url.startswith("http")

    def test_cloud_mask(self, client: ModelClient) -> None:
        """Pixel for pixel what the rule says; nodata is 255."""
        x = image(4)
        mask = client.infer(client.resolve("cloud-mask"), {"image": x})["mask"]
        expected = np.where((x == 0).all(axis=1), 255, x.astype("f4").mean(axis=1) > 3000)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, expected)

    def test_segmenter(self, client: ModelClient) -> None:
        """Probabilities of 254 levels that add up to one; nodata is 255 in every plane."""
        x = image(6)
        p = client.infer(client.resolve("segmenter"), {"image": x})["probabilities"]
        assert p.shape == x.shape
        assert p.dtype == np.uint8
        assert (p[:, :, :5] == 255).all()
        assert (p[:, :, 5:].astype(int).sum(axis=1) == 254).all()

    def test_change_classifier(self, client: ModelClient) -> None:
        """Nothing where nothing changed; 255 where either date saw nothing."""
        before, after = image(6), image(6)
        after[:, :, 20:30] += 4000
        after[:, :, 60:] = 0
        segmenter = client.resolve("segmenter")
        inputs: dict[str, NDArray[np.generic]] = {"before": before, "after": after}
        for key in ("before", "after"):
            p = client.infer(segmenter, {"image": inputs[key]})["probabilities"]
            inputs[f"{key}_probabilities"] = p
        change = client.infer(client.resolve("change-classifier"), inputs)["change"]
        expected = np.zeros((1, 64, 64), np.uint8)
        expected[:, 20:30] = 254
        expected[:, :5] = expected[:, 60:] = 255
        np.testing.assert_array_equal(change, expected)

    def test_batches_and_strides_do_not_matter(self, client: ModelClient) -> None:
        """Two images at once, not contiguous, give what each gives alone."""
        revision = client.resolve("segmenter")
        x = np.concatenate([image(6, seed=1), image(6, seed=2)])
        both = client.infer(revision, {"image": x[:, :, :, ::-1]})["probabilities"]
        for n in range(2):
            alone = client.infer(
                revision, {"image": np.ascontiguousarray(x[n : n + 1, :, :, ::-1])}
            )
            np.testing.assert_array_equal(both[n : n + 1], alone["probabilities"])

    def test_threads_get_their_own_answers(self, client: ModelClient) -> None:
        """More callers than the client lets through at once."""
        revision = client.resolve("cloud-mask")
        images = [image(4, seed=seed) for seed in range(24)]
        with ThreadPoolExecutor(12) as pool:
            masks = list(pool.map(lambda x: client.infer(revision, {"image": x})["mask"], images))
        for x, mask in zip(images, masks, strict=True):
            np.testing.assert_array_equal(mask, client.infer(revision, {"image": x})["mask"])

    @pytest.mark.parametrize("field", ["digest", "signature"])
    def test_another_model_is_a_mismatch(self, client: ModelClient, field: str) -> None:
        """The run was planned with something else than what answers."""
        planned = replace(client.resolve("cloud-mask"), **{field: "sha256:" + "0" * 64})
        with pytest.raises(ModelMismatch, match=field):
            client.infer(planned, {"image": image(4)})

    def test_what_can_never_work_is_refused(self, client: ModelClient) -> None:
        """With the server's reason, and the next request is unharmed."""
        revision = client.resolve("cloud-mask")
        for bad, reason in (
            ({"image": image(6)}, "shape"),
            ({"image": image(4).astype(np.uint8)}, "UINT16"),
            ({"image": image(4, size=40)}, "multiple"),
            ({"picture": image(4)}, "picture"),
        ):
            with pytest.raises(ModelRefused, match=reason):
                client.infer(revision, bad)
        client.infer(revision, {"image": image(4)})

    def test_an_unknown_model_is_refused(self, client: ModelClient) -> None:
        """It will not appear by asking again."""
        with pytest.raises(ModelRefused, match="no-such-model"):
            client.resolve("no-such-model")
