"""``groundshift optimise``: lighter variants of a model set, what they lose, what they save.

Loaded by the entry point `groundshift.commands`. Needs onnx (the training extra), not torch.
"""

from __future__ import annotations

import importlib.util
import json as json_module
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from groundshift.errors import Misconfigured

if TYPE_CHECKING:
    from training.evaluation.run import Plan
    from training.gate import Verdict
    from training.variant_store import Calibration

app = typer.Typer(help="Make lighter variants of the models and measure them (needs onnx).")
REFUSED = 1
"""Exit code where the gate refuses the variant that was to be shipped."""
_DATES = {"cloud-mask": 2, "segmenter": 2, "change-classifier": 1}
"""How often a tile of a pair asks each model."""
_TILE_PX = 512
JSON = "variants.json"
PAGE = "variants.md"


# A callback, so that the `groundshift` command can mount it as `optimise` and not as a group.
@app.callback(invoke_without_command=True, context_settings={"allow_interspersed_args": True})
def optimise(
    models: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODELS",
            help="A model store: a folder with the three models. None: the models in the package.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the variants and the table.", file_okay=False)
    ] = Path("variants"),
    docs: Annotated[
        Path | None, typer.Option(help="Folder to put variants.md and variants.json into as well.")
    ] = None,
    edge: Annotated[
        Path | None,
        typer.Option(
            help="Model store to put int8-static into, if the gate lets it pass. Exit code 1: not."
        ),
    ] = None,
    triton: Annotated[
        Path | None, typer.Option(help="Folder for a Triton model repository of fp32-folded.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of real scenes; default: GROUNDSHIFT_DATA or ../shared/data."),
    ] = None,
    simulated_only: Annotated[
        bool, typer.Option("--simulated-only", help="No real scenes, even where they are there.")
    ] = False,
    sites: Annotated[int, typer.Option(help="Held-out simulated sites.", min=1)] = 16,
    failure_sites: Annotated[int, typer.Option(help="Sites per failure mode.", min=1)] = 8,
    rounds: Annotated[int, typer.Option(help="Paired runs of the speed.", min=1)] = 9,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Fold the graphs, quantise them to static int8, measure speed and loss, ask the gate.

    Example: groundshift optimise --docs docs/models --edge groundshift/model_store_edge
    """
    _require_onnx()
    from training import realdata, variant_store
    from training.evaluation.run import Plan

    root = None if simulated_only else data or realdata.data_root()
    plan = Plan(sites=sites, failure_sites=failure_sites, data=root)
    console = Console(quiet=json)
    drawn = variant_store.calibration(root)
    with as_file(files("groundshift") / "model_store") as package:
        found = run(models or package, out, plan, drawn, console=console, rounds=rounds)
    _show(console, found)
    shipped = _deliver(found, out, docs=docs, triton=triton, edge=edge)
    if json:
        typer.echo(json_module.dumps(found))
    if not shipped:
        raise typer.Exit(REFUSED)


def _require_onnx() -> None:
    if importlib.util.find_spec("onnx") is None:
        raise Misconfigured("optimising needs onnx: pip install 'groundshift[training]'")


def _deliver(
    found: dict[str, Any], out: Path, *, docs: Path | None, triton: Path | None, edge: Path | None
) -> bool:
    """Put what was asked for where it was asked for; False where the gate keeps int8 back."""
    from training import triton_store, variant_store

    if docs is not None:
        write(found, docs)
    if triton is not None:
        triton_store.write(out / variant_store.FOLDED, triton)
    if edge is None:
        return True
    ships = bool(found["variants"][variant_store.INT8]["gate"]["ships"])
    if ships:
        variant_store.ship(out / variant_store.INT8, edge)
    return ships


def run(
    store: Path, out: Path, plan: Plan, drawn: Calibration, *, console: Console, rounds: int
) -> dict[str, Any]:
    """Make the variants of `store` below `out`, measure and judge them; gives the table.

    Raises NotFound or Misconfigured where `store` holds no whole set.
    """
    from training import gate, variant_store, variants
    from training.evaluation import templates

    console.print("folding and quantising")
    made = variant_store.build(store, out, drawn)
    base, compared = _compared(store, made, plan, console)
    found: dict[str, Any] = {
        "base": base.models,
        "threshold": base.threshold,
        "plan": {
            "sites": plan.sites,
            "failure_sites": plan.failure_sites,
            "real": plan.data is not None,
        },
        "machine": _machine(),
        "calibration": list(drawn.sources),
        "variants": {},
    }
    known = [r for r in templates.run(store) if not r.passed]
    for name, variant in made.items():
        one = compared[name]
        # a folded graph answers as its base does, template tests included
        tested = templates.run(variant) if name == variant_store.INT8 else ()
        verdict = gate.decide(
            gate.Contestant(variant, one.evaluation), gate.Contestant(store, base), tested, plan,
            gate.Rules(),
        )  # fmt: skip
        every = variants.slices(base, one.evaluation)
        row = {
            **_speeds(store, variant, drawn, rounds),
            "sets": {
                s: {**every[s], **a.as_dict()} for s, a in one.agreement.items() if s in every
            },
            "slices": every,
            "gate": _ruling(verdict, {r.name for r in known}),
        }
        found["variants"][name] = row
        variant_store.describe(variant, row, templates.as_record(tested))
    write(found, out)
    return found


def _ruling(verdict: Verdict, known: set[str]) -> dict[str, Any]:
    """The gate's verdict, and whether the variant may ship.

    What the base fails too is no reason to keep its variant back: the base ships.
    """
    inherited = [f.subject for f in verdict.failed if f.rule == "template" and f.subject in known]
    return {
        "reason": verdict.reason,
        "accepted": verdict.accepted,
        "failed": [f.sentence for f in verdict.failed],
        "inherited": inherited,
        "ships": len(inherited) == len(verdict.failed),
    }


def write(found: dict[str, Any], folder: Path) -> None:
    """Write variants.md and variants.json into `folder`."""
    from training import variant_report

    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(variant_report.page(found), encoding="utf-8")
    (folder / JSON).write_text(json_module.dumps(found, indent=1) + "\n", encoding="utf-8")


def _compared(store: Path, made: dict[str, Path], plan: Plan, console: Console) -> Any:
    from training import variants

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("base and variants on the same samples", total=plan.total)
        return variants.compare(store, made, plan, watch=lambda: progress.advance(task))


def _speeds(store: Path, variant: Path, drawn: Calibration, rounds: int) -> dict[str, Any]:
    """Speed and size of each model, and of what a tile of a pair asks together."""
    from groundshift.models import read_model
    from training import variant_store, variants

    models: dict[str, Any] = {}
    for name, feed in variant_store.feeds(store, drawn.pairs[-1]).items():
        large = variants.tile(feed, edge=_TILE_PX)
        took = variants.speed(store / name, variant / name, large, rounds=rounds)
        record = read_model(variant / name)
        models[name] = {
            "digest": record.digest,
            "bytes": record.artifact.stat().st_size,
            "base_ms": round(took.base_s * 1e3, 2),
            "ms": round(took.variant_s * 1e3, 2),
            "ratio": round(took.ratio, 3),
        }
    one, two = (sum(times * models[n][key] for n, times in _DATES.items()) for key in _MS)
    pair = {"base_ms": round(one, 2), "ms": round(two, 2), "ratio": round(one / two, 3)}
    return {"models": models, "pair": pair}


_MS = ("base_ms", "ms")


def _machine() -> dict[str, str]:
    from groundshift.serving.session import compute_signature

    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {"cpu": next(named, "an unnamed CPU"), "signature": compute_signature("fp32")}


def _show(console: Console, found: dict[str, Any]) -> None:
    table = Table("variant", "set", "F1", "variant", "AUROC", "variant", "same pixels")
    for name, one in found["variants"].items():
        for chosen, row in one["sets"].items():
            numbers = [row[key][side] for key in ("f1", "auroc") for side in ("base", "variant")]
            shown = ["-" if n is None else f"{n:.3f}" for n in numbers]
            table.add_row(name, chosen, *shown, f"{row['same_share']:.4f}")
    console.print(table)
    for name, one in found["variants"].items():
        colour = "green" if one["gate"]["ships"] else "red"
        ratio = one["pair"]["ratio"]
        console.print(f"{name}: {ratio:.2f} times faster; [{colour}]{one['gate']['reason']}[/]")
