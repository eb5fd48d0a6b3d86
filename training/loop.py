"""The training loop: plain PyTorch, resumable, seeded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.losses import change_loss, class_loss
from training.nets import ChangeClassifier, Segmenter
from training.replay import Replay
from training.samples import Arrays, Source

log = logging.getLogger(__name__)
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    steps: int = 3000
    minutes: float = 60.0
    """Whichever ends first; the learning rate follows the one that is further along."""
    batch: int = 12
    rate: float = 2e-3
    seed: int = 0
    threads: int = 1


def tensors(batch: Mapping[str, NDArray[np.generic]]) -> Batch:
    """As torch tensors of the same dtype."""
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def train(
    name: str,
    net: nn.Module,
    source: Source,
    recipe: Recipe,
    *,
    checkpoint: Path,
    segmenter: Segmenter | None = None,
) -> int:
    """Train in place; resumes from `checkpoint` where it exists. Gives the number of steps done."""
    torch.set_num_threads(recipe.threads)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=1e-4)
    done = _resume(checkpoint, net, optimiser)
    draw = _drawer(name, source, segmenter)
    replay = Replay(draw, first=8 * recipe.batch, fresh=max(1, recipe.batch // 4))
    started, first, running = time.monotonic(), done, 0.0
    net.to(memory_format=torch.channels_last)  # a fifth faster
    net.train()
    while done < recipe.steps:
        spent = (time.monotonic() - started) / (60 * recipe.minutes)
        if spent >= 1:
            break
        progress = max(spent, (done - first) / (recipe.steps - first))
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * _schedule(progress, done)
        rng = np.random.default_rng((recipe.seed, done))
        loss = _loss_of(net, tensors(replay.batch(rng, recipe.batch)))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        done += 1
        running = 0.98 * running + 0.02 * float(loss.detach())
        if done % 50 == 0:
            log.info("%s step %d loss %.4f", name, done, running)
        if done % 200 == 0:
            save(checkpoint, net, optimiser, done)
    save(checkpoint, net, optimiser, done)
    net.eval()
    return done


def _schedule(progress: float, done: int) -> float:
    """Warm-up over 50 steps, then half a cosine."""
    return min(1.0, (done + 1) / 50) * (0.5 + 0.5 * float(np.cos(np.pi * progress))) + 0.01


def _drawer(
    name: str, source: Source, segmenter: Segmenter | None
) -> Callable[[np.random.Generator, int], list[Arrays]]:
    """Samples of a model; the classifier's come with the segmenter's class probabilities."""
    if name != "change-classifier":
        return lambda rng, count: [source.draw(name, rng) for _ in range(count)]
    if segmenter is None:
        raise ValueError("the change classifier is trained on a segmenter's output: give one")
    frozen = segmenter.eval()

    def draw(rng: np.random.Generator, count: int) -> list[Arrays]:
        samples = []
        for _ in range(count):
            sample = source.draw(name, rng)
            dates = torch.from_numpy(np.stack([sample["before"], sample["after"]]))
            with torch.no_grad():
                planes = frozen(dates).numpy()
            sample |= {"before_probabilities": planes[0], "after_probabilities": planes[1]}
            samples.append(sample)
        return samples

    return draw


def _loss_of(net: nn.Module, batch: Batch) -> Tensor:
    target, weight = batch["target"], batch["weight"]
    if not isinstance(net, ChangeClassifier):
        return class_loss(net.logits(batch["image"]), target, weight)
    planes = batch["before_probabilities"], batch["after_probabilities"]
    return change_loss(net.logits(batch["before"], batch["after"], *planes), target, weight)


def save(path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, done: int) -> None:
    """Write a checkpoint in one atomic step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "done": done}
    torch.save(state, partial)
    partial.replace(path)


def _resume(path: Path, net: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    net.load_state_dict(state["net"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["done"])


def load_weights(path: Path, net: nn.Module) -> nn.Module:
    """The weights of a checkpoint, in evaluation mode."""
    net.load_state_dict(torch.load(path, weights_only=True)["net"])
    return net.eval()
