"""Warm starts, the teacher and fine-tuning; needs torch (`make test-training`)."""

from __future__ import annotations

import numpy as np
import pytest

from training import corpus
from training.realdata import Pair

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's older ONNX exporter
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")


@pytest.fixture(scope="module")
def pair():
    drawn = corpus.simulate(1, size=128)
    return Pair("here", drawn.before, drawn.after, drawn.change > 0, (0.0, 0.0))


def _grounds(pair):
    from training.samples import Background

    nothing = np.zeros_like(pair.valid)
    covers = np.zeros(pair.valid.shape, np.uint8)
    return [Background(pair, (covers, covers), nothing, nothing, nothing)]


@pytest.mark.parametrize("name", ["cloud-mask", "segmenter", "change-classifier"])
def test_weights_come_back_from_the_graph_they_were_exported_to(name, tmp_path):
    from training import export, nets, warm

    torch.manual_seed(1)
    net = nets.build(name).eval()
    if name == "change-classifier":
        net.bias.fill_(0.3)
        net.spread.fill_(2.0)
    export.export_onnx(name, net, tmp_path / "model.onnx")
    inputs = nets.dummy_inputs(name)
    again = warm.from_onnx(nets.build(name), tmp_path / "model.onnx", [tuple(inputs)])
    with torch.no_grad():
        difference = (net.logits(*inputs) - again.logits(*inputs)).abs().max()
        again.train()
        trained = (net.logits(*inputs) - again.logits(*inputs)).abs().mean()
    assert difference < 1e-3
    assert trained < 0.2, "the norms' statistics are those of what it sees"


def test_the_graph_of_another_network_is_refused(tmp_path):
    from training import export, nets, warm

    export.export_onnx("segmenter", nets.build("segmenter").eval(), tmp_path / "model.onnx")
    inputs = [tuple(nets.dummy_inputs("cloud-mask"))]
    with pytest.raises(ValueError, match="not as the network's"):
        warm.from_onnx(nets.build("cloud-mask"), tmp_path / "model.onnx", inputs)


def test_a_teacher_believes_in_as_much_as_its_prior_and_samples_carry_it(pair):
    from training import nets, samples, teacher

    torch.manual_seed(0)
    classifier, segmenter = (nets.build(n).eval() for n in ("change-classifier", "segmenter"))
    (taught,) = teacher.teach(classifier, segmenter, _grounds(pair), views=2)
    assert taught.belief.shape == pair.valid.shape
    assert (taught.belief[pair.valid] > 0.5).mean() <= 0.04  # fields are believed in less
    source = samples.Source([taught], [], size=64, real_share=1.0, paste_share=0.0)
    target = source.batch("change-classifier", np.random.default_rng(3), 4)["target"]
    assert 0 < target.max() < 1


def test_the_spread_keeps_apart_what_levels_would_mix(pair):
    from training import calibrate, nets

    torch.manual_seed(0)
    classifier, segmenter = (nets.build(n).eval() for n in ("change-classifier", "segmenter"))
    with torch.no_grad():
        classifier.net.segmentation_head[0].weight.mul_(1000)
    calibrate.set_bias(classifier, segmenter, [pair])
    logits = calibrate.logits_of(classifier, segmenter, pair)
    assert float(classifier.spread) > 1
    assert calibrate.ties(logits / float(classifier.spread)) < calibrate.ties(logits)


def test_fine_tuning_asks_for_the_licence_first():
    from groundshift.errors import Misconfigured
    from training import finetune

    with pytest.raises(Misconfigured, match="--accept-licence"):
        finetune.main(accept_licence=False)


def test_leaving_one_out_goes_on_where_it_stopped(pair, tmp_path):
    from importlib.resources import as_file, files

    from training import finetune, loop, realdata, samples

    cities = [realdata.Pair(n, pair.before, pair.after, pair.label, (0, 0)) for n in ("a", "b")]
    free = samples.Source(_grounds(pair), [], size=64, real_share=1.0)
    recipe = loop.Recipe(steps=2, batch=2)
    with as_file(files("groundshift") / "model_store") as store:
        start = finetune.start_from(store, [pair])
        found = finetune.leave_out(cities, start, free, recipe, tmp_path, folds=2)
        done = (tmp_path / "fold-a.npz").stat().st_mtime_ns
        again = finetune.leave_out(cities, start, free, recipe, tmp_path, folds=2)
    assert found == again
    assert (tmp_path / "fold-a.npz").stat().st_mtime_ns == done
    assert 0 <= found["all"]["auroc"] <= 1


def test_the_mean_of_networks_has_the_mean_of_their_weights():
    from training import lessons, nets

    three = [nets.build("segmenter") for _ in range(3)]
    expected = torch.stack([n.net.segmentation_head[0].weight for n in three]).mean(dim=0)
    one, two = (n.net.segmentation_head[0].weight.detach().clone() for n in three[:2])
    mixed = lessons.mean_of(three)
    assert torch.allclose(mixed.net.segmentation_head[0].weight, expected)
    uneven = lessons.mean_of(three[:2], shares=[0.75, 0.25])
    expected = 0.75 * one + 0.25 * two
    assert torch.allclose(uneven.net.segmentation_head[0].weight, expected)
    assert not mixed.training


def test_the_segmenter_has_no_teacher():
    from groundshift.errors import Misconfigured
    from training import selftrain
    from training.cli import ModelName

    with pytest.raises(Misconfigured, match="groundshift train segmenter"):
        selftrain.main(model=ModelName.SEGMENTER)


def test_over_its_own_segmenter_a_classifier_has_nothing_to_imitate():
    from training import imitate, loop, losses, nets, samples

    torch.manual_seed(2)
    teacher = imitate.Model(nets.ChangeClassifier().eval(), nets.Segmenter().eval())
    source = samples.Source([], [corpus.simulate(4, size=96)], size=64, real_share=0.0)
    draw = imitate.imitating(loop.drawer(imitate.NAME, source, teacher.segmenter), teacher)
    (sample,) = draw(np.random.default_rng(0), 1)
    seen = (sample["before"].min(0) > 0) & (sample["after"].min(0) > 0)
    np.testing.assert_array_equal(sample["weight"] > 0, seen)
    one = loop.tensors({key: array[None] for key, array in sample.items()})
    planes = one["before_probabilities"], one["after_probabilities"]
    with torch.no_grad():
        logits = teacher.net.logits(one["before"], one["after"], *planes)
    assert float(losses.imitation_loss(logits, one["teacher"], one["weight"])) < 1e-6
    assert float(losses.imitation_loss(logits + 1, one["teacher"], one["weight"])) > 0.4


def test_a_classifier_comes_nearer_to_what_it_was_over_another_segmenter(tmp_path):
    from importlib.resources import as_file, files

    from training import imitate, loop, nets, pipeline, samples

    torch.manual_seed(3)
    other = nets.Segmenter().eval()
    source = samples.Source([], [corpus.simulate(s, size=96) for s in (5, 6)], 64, 0.0)
    apart = []
    with as_file(files("groundshift") / "model_store") as old:
        teacher = imitate.Model.of(old)
        for steps in (0, 60):
            recipe = loop.Recipe(steps=steps, batch=4, rate=3e-3)
            job = pipeline.Job(imitate.NAME, tmp_path / str(steps), tmp_path, recipe)
            net, done = imitate.learn(job, old, other, source)
            assert done == steps
            (sample,) = loop.drawer(imitate.NAME, source, other)(np.random.default_rng(9), 1)
            wanted = teacher.teach(sample)["teacher"]
            got = imitate.Model(net, other).teach(sample)["teacher"]
            apart.append(float(np.abs(got - wanted).mean()))
    assert apart[1] < 0.8 * apart[0]
