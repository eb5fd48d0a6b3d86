"""The training loop: plain PyTorch, resumable, seeded; alone or as one of a team of workers.

The same command twice gives the same weights bit for bit where the steps end the run and not the
minutes, on one machine, alone or with one worker. A run that was cut off goes on from its last
checkpoint with the same weights, optimiser and learning rate, and draws its pool of samples anew:
it ends as good, not bit-identical.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundshift.errors import Misconfigured
from training.losses import change_loss, class_loss, imitation_loss
from training.nets import ChangeClassifier, Segmenter
from training.replay import Replay
from training.samples import Arrays, Source

log = logging.getLogger(__name__)
Batch = dict[str, Tensor]
Judge = Callable[[nn.Module], Mapping[str, float]]
"""Scores of a network on held-out sites; ``score`` decides which weights are kept."""
Weights = Mapping[str, Tensor]
Facts = Mapping[str, float | str]
Draw = Callable[[np.random.Generator, int], list[Arrays]]

_POINT_STEPS: Final = 10
"""Steps between two points of the curves."""
_LEAD: Final = 0.02
"""How far the clock may be ahead of the steps before it rules the learning rate: below this a run
that its steps end does not depend on the clock at all."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    steps: int = 3000
    minutes: float = 60.0
    """Whichever ends first; the learning rate follows the one that is further along. They count
    over all starts of a run that was cut off."""
    batch: int = 12
    """Samples of a step, of all workers together."""
    rate: float = 2e-3
    seed: int = 0
    threads: int = 1
    every: int = 200
    """Steps between two checkpoints."""


@dataclass
class State:
    """How far a run is."""

    done: int = 0
    """Steps."""
    spent_s: float = 0.0
    loss: float = 0.0
    """Running mean."""
    best: float = -math.inf
    """Best ``score`` on held-out sites so far."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Points of the curves: ``step``, ``at_ms`` (Unix time) and what was measured there."""

    def add(self, measured: Mapping[str, float]) -> None:
        """A point at the last step."""
        at = {"step": self.done, "at_ms": round(time.time() * 1000)}
        self.history.append({**at, **measured})


class Keeper(Protocol):
    """Where checkpoints go to and come from."""

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint; None where there is none."""

    def save(self, checkpoint: Mapping[str, Any], state: State) -> None:
        """Keep one. Every worker of a team calls it, at the same step."""


@dataclass(frozen=True)
class FileKeeper:
    """One file, replaced in one atomic step."""

    path: Path

    def load(self) -> dict[str, Any] | None:
        """The file's content."""
        return read(self.path) if self.path.exists() else None

    def save(self, checkpoint: Mapping[str, Any], state: State) -> None:  # noqa: ARG002
        """Write it anew."""
        write(self.path, checkpoint)


class Nowhere:
    """Keeps nothing: for trials of a search."""

    def load(self) -> dict[str, Any] | None:
        """Nothing."""
        return None

    def save(self, checkpoint: Mapping[str, Any], state: State) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Team:
    """The workers that train one network together."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module
    """Makes the gradients those of all workers."""
    agree: Callable[[float], float] = lambda number: number
    """The first worker's number, for every worker: clocks differ."""

    def rng(self, recipe: Recipe, step: int) -> np.random.Generator:
        """Each worker draws its own samples; the first one's are those of a run alone."""
        return np.random.default_rng((recipe.seed, step, *([self.rank] if self.rank else [])))


def alone() -> Team:
    """One process, on the GPU where there is one."""
    return Team(device="cuda" if torch.cuda.is_available() else "cpu")


class Learner(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A network with its loss, so that one call of the module goes through the whole."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        return _loss_of(self.net, batch)


def tensors(batch: Mapping[str, NDArray[np.generic]], device: str = "cpu") -> Batch:
    """As torch tensors of the same dtype."""
    return {name: torch.from_numpy(array).to(device) for name, array in batch.items()}


@dataclass(frozen=True)
class Course:
    """Everything that one training is: `run` goes through it."""

    name: str
    net: nn.Module
    """Trained in place."""
    draw: Draw
    recipe: Recipe
    keeper: Keeper
    team: Team
    judge: Judge | None = None
    """The first worker asks it at each checkpoint."""
    watch: Callable[[State], None] | None = None
    """Told after each checkpoint."""
    facts: Facts = field(default_factory=dict)
    """Kept in the checkpoint; one that was made with others is of another training."""

    def run(self) -> State:
        """Train to the recipe's end, from the keeper's checkpoint where it has one.

        Raises Misconfigured where the checkpoint is of another training.
        """
        recipe, team = self.recipe, self.team
        torch.set_num_threads(recipe.threads)
        self.net.to(team.device, memory_format=torch.channels_last)  # a fifth faster
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=recipe.rate, weight_decay=1e-4)
        state, best = _resume(self.keeper, self.net, optimiser, self.facts)
        learner = team.wrap(Learner(self.net))
        share = math.ceil(recipe.batch / team.size)
        replay = Replay(self.draw, first=8 * share, fresh=max(1, share // 4))
        self.net.train()
        began, kept = time.monotonic() - state.spent_s, state.done
        while state.done < recipe.steps:
            state.spent_s = team.agree(time.monotonic() - began)
            if state.spent_s >= 60 * recipe.minutes:
                break
            rate = _set_rate(optimiser, recipe, state)
            batch = tensors(replay.batch(team.rng(recipe, state.done), share), team.device)
            self._note(state, _step(learner, optimiser, batch, team.device), rate)
            if state.done % recipe.every == 0 and state.done < recipe.steps:
                best, kept = self._keep(optimiser, state, best), state.done
        if kept < state.done or not state.done:
            self._keep(optimiser, state, best)
        self.net.eval()
        return state

    def _note(self, state: State, loss: float, rate: float) -> None:
        """Count a step."""
        state.done += 1
        state.loss = loss if state.done == 1 else 0.98 * state.loss + 0.02 * loss
        if state.done % _POINT_STEPS == 0:
            state.add({"loss": state.loss, "rate": rate})
        if state.done % 50 == 0:
            log.info("%s step %d loss %.4f", self.name, state.done, state.loss)

    def _keep(
        self, optimiser: torch.optim.Optimizer, state: State, best: Weights | None
    ) -> Weights | None:
        """Judge and keep the network; the best weights so far."""
        if self.judge is not None and self.team.rank == 0:
            self.net.eval()
            scores = dict(self.judge(self.net))
            self.net.train()
            state.add(scores)
            said = ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
            log.info("%s step %d %s", self.name, state.done, said)
            if scores["score"] > state.best:
                state.best = scores["score"]
                best = {k: v.detach().cpu().clone() for k, v in self.net.state_dict().items()}
        found = _checkpoint(self.net, optimiser, state, best)
        self.keeper.save({**found, "facts": dict(self.facts)}, state)
        if self.watch is not None:
            self.watch(state)
        return best


def train(
    name: str,
    net: nn.Module,
    source: Source,
    recipe: Recipe,
    *,
    checkpoint: Path,
    segmenter: Segmenter | None = None,
    facts: Facts | None = None,
) -> int:
    """Train in place; resumes from `checkpoint` where it exists. Gives the number of steps done.

    Raises Misconfigured where the checkpoint was made with other `facts`.
    """
    draw = drawer(name, source, segmenter)
    keeper = FileKeeper(checkpoint)
    state = Course(name, net, draw, recipe, keeper, alone(), facts=facts or {}).run()
    net.to("cpu")
    return state.done


def _step(learner: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, device: str) -> float:
    """One step of the optimiser; the loss before it."""
    # Half the bits where the hardware has them; a CPU is slower with them, not faster.
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        loss = learner(batch)
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(learner.parameters(), 2.0)
    optimiser.step()
    return float(loss.detach())


def _set_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, state: State) -> float:
    """The learning rate of the next step: warm-up over 50 steps, then half a cosine."""
    steps, clock = state.done / recipe.steps, state.spent_s / (60 * recipe.minutes)
    progress = clock if clock > steps + _LEAD else steps
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, progress))
    rate = recipe.rate * (min(1.0, (state.done + 1) / 50) * cosine + 0.01)
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def drawer(name: str, source: Source, segmenter: Segmenter | None) -> Draw:
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
    logits = net.logits(batch["before"], batch["after"], *planes)
    if "teacher" in batch:
        return imitation_loss(logits, batch["teacher"], weight)
    return change_loss(logits, target, weight)


def _checkpoint(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    state: State,
    best: Weights | None,
) -> dict[str, Any]:
    return {
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "done": state.done,
        "state": asdict(state),
        "best": best,
    }


def save(path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, done: int) -> None:
    """Write a checkpoint in one atomic step."""
    write(path, _checkpoint(net, optimiser, State(done=done), None))


def write(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint's file in one atomic step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(dict(checkpoint), partial)
    partial.replace(path)


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's content."""
    found: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return found


def _resume(
    keeper: Keeper, net: nn.Module, optimiser: torch.optim.Optimizer, facts: Facts
) -> tuple[State, Weights | None]:
    found = keeper.load()
    if found is None:
        return State(), None
    for key, wanted in facts.items():
        if (had := found.get("facts", {}).get(key, wanted)) != wanted:
            raise Misconfigured(
                f"the checkpoint is of a training with {key} {had!s:.20}, not {wanted!s:.20}: name"
                " another work folder (--work), or remove the checkpoint to begin anew"
            )
    _fill(net, found["net"])
    optimiser.load_state_dict(found["optimiser"])
    log.info("goes on at step %d", found["done"])
    state = State(**found["state"]) if "state" in found else State(done=int(found["done"]))
    return state, found.get("best")


def _fill(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise Misconfigured(
            "the checkpoint is of another network (another width?): train into another work"
            f" folder, or with the same options. {str(error).splitlines()[0]}"
        ) from error


def load_weights(path: Path, net: nn.Module) -> nn.Module:
    """The best weights of a checkpoint, in evaluation mode; the last where nothing judged them."""
    found = read(path)
    _fill(net, found.get("best") or found["net"])
    return net.eval()
