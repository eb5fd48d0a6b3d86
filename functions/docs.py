"""What the code says in the documentation: ``python -m functions.docs`` renews it.

A table stands between ``<!-- name -->`` and ``<!-- /name -->``; whatever was there is replaced.
`PICTURES` are files of their own.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import typer.main

from functions import architecture, cli, stream_tables
from functions.announcements import Defect, Shape
from functions.picture import picture
from functions.stages import stages_table
from functions.stream import Kind
from geodata_etl.errors import Refusal
from groundshift.api.doors import doors_table
from groundshift.baseline import Skip
from groundshift.events import events_table
from groundshift.settings import settings_table


def commands() -> Mapping[str, Any]:
    """Every command of ``groundshift`` by name, those of plug-ins included, as click commands."""
    own: Mapping[str, Any] = typer.main.get_group(cli.app).commands
    plugins = {
        plugin.name: typer.main.get_command(plugin.load())
        for plugin in entry_points(group="groundshift.commands")
    }
    return {**own, **plugins}


def commands_table() -> str:
    """The table of commands, in Markdown: how each is called and what it does."""
    rows = "".join(
        f"| `{_usage(name, command)}` | {_options(command)} | {_first(command.help)} |\n"
        for name, command in commands().items()
    )
    return "| command | more options | what it does |\n|---|---|---|\n" + rows


def _usage(name: str, command: Any) -> str:
    """The shortest call: arguments and the options that it cannot do without."""
    arguments = [_placeholder(p) for p in command.params if _is_argument(p)]
    needed = [
        f"{p.opts[0]} {p.name.upper()}"
        for p in command.params
        if p.required and not _is_argument(p)
    ]
    return " ".join(["groundshift", name, *arguments, *needed])


def _placeholder(argument: Any) -> str:
    many = "..." if argument.nargs == -1 else ""
    return str(argument.metavar or argument.name.upper() + many)


def _options(command: Any) -> str:
    shown = (
        p
        for p in command.params
        if p.expose_value and not p.required and not getattr(p, "hidden", False)
    )
    return " ".join(f"`{p.opts[0]}`" for p in shown if not _is_argument(p))


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _first(text: str | None) -> str:
    return (text or "").partition("\n\n")[0].replace("\n", " ").strip()


def reasons(kind: type[StrEnum]) -> dict[str, tuple[str, str]]:
    """(what was found, the cure) by value of an enumeration: the text below each member.

    A value without such a text is left out.
    """
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    found: dict[str, tuple[str, str]] = {}
    member: str | None = None
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]):
                member = name
            case ast.Expr(value=ast.Constant(value=str(text))) if member is not None:
                meaning, _, cure = " ".join(text.split()).partition(". ")
                found[str(kind[member].value)] = meaning, cure
    return found


def reasons_table(kind: type[StrEnum]) -> str:
    """A table of reasons with what was found and the cure, in Markdown."""
    rows = (f"| `{value}` | {found} | {cure} |" for value, (found, cure) in reasons(kind).items())
    return "| reason | what was found | cure |\n|---|---|---|\n" + "\n".join(rows) + "\n"


TABLES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "architecture": architecture.mermaid,
        "commands": commands_table,
        "doors": doors_table,
        "events": events_table,
        "parts": architecture.table,
        "refusals": lambda: reasons_table(Refusal),
        "settings": settings_table,
        "skips": lambda: reasons_table(Skip),
        "stages": stages_table,
        "stream": stream_tables.stream_table,
        "stream_defects": lambda: stream_tables.defects_table(reasons(Defect)),
        "stream_kinds": lambda: stream_tables.kinds_table(reasons(Kind)),
        "stream_shapes": lambda: stream_tables.shapes_table(reasons(Shape)),
    }
)
"""What stands between the markers of each name."""
PICTURES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {"docs/images/architecture.svg": picture}
)
"""What stands in each file."""
_MARKED: Final = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)


def renewed(text: str) -> str:
    """A Markdown text with every marked table made anew. Raises KeyError for an unknown name."""
    return _MARKED.sub(lambda m: f"<!-- {m[1]} -->\n{TABLES[m[1]]()}<!-- /{m[1]} -->", text)


def tables_in(text: str) -> list[str]:
    """The names of the tables that a Markdown text holds."""
    return [match[1] for match in _MARKED.finditer(text)]


def pages(root: Path) -> list[Path]:
    """The pages of a checkout that may hold tables."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def main(root: Path = Path()) -> None:
    """Renew every page below `root`, and say which ones changed."""
    made = {page: renewed(page.read_text()) for page in pages(root)}
    made |= {root / name: draw() for name, draw in PICTURES.items()}
    for path, new in made.items():
        if not path.exists() or path.read_text() != new:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(new)
            sys.stdout.write(f"renewed {path}\n")


if __name__ == "__main__":
    main()
