"""/api/docs: the OpenAPI document as one page, drawn here: no script is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router: Final = APIRouter(include_in_schema=False)

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;
color:#1a1a1a;background:#fff}
code{font-size:.95em}h2{margin-top:2.5rem;border-bottom:1px solid #999}
details{margin:.4rem 0;padding:.4rem .8rem;border:1px solid #ccc;border-radius:4px}
summary{cursor:pointer}summary:focus-visible{outline:3px solid #0a58ca}
b.m{display:inline-block;width:4.5rem}table{border-collapse:collapse}
td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}}
"""


@router.get("/api/docs", response_class=HTMLResponse)
def docs(request: Request) -> str:
    """Every operation with its parameters and what it answers."""
    document = request.app.openapi()
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(document['info']['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{escape(document['info']['title'])} API {escape(document['info']['version'])}</h1>",
        f"<p>{escape(document['info'].get('description', ''))}</p>",
        '<p>For programs: <a href="openapi.json">openapi.json</a>. Errors are problem details '
        "(RFC 9457). Pages have a link <code>next</code>.</p>",
        *_sections(document),
    ]
    return "".join(parts)


def _sections(document: Mapping[str, Any]) -> Iterator[str]:
    tags: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = (operation.get("tags") or ["other"])[0]
            tags.setdefault(name, []).append(_operation(path, method, operation))
    for name, operations in tags.items():
        yield f"<h2>{escape(name)}</h2>" + "".join(operations)


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(_parameter(one) for one in operation.get("parameters", ()))
    table = f"<table><tr><th>parameter<th>in<th>meaning</tr>{rows}</table>" if rows else ""
    body = "<p>Takes a JSON body: see openapi.json.</p>" if "requestBody" in operation else ""
    return (
        f'<details><summary><b class="m">{method.upper()}</b> <code>{escape(path)}</code> '
        f"{escape(operation.get('summary', ''))}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p>{table}{body}</details>"
    )


def _parameter(one: Mapping[str, Any]) -> str:
    must = " (required)" if one.get("required") else ""
    meaning = one.get("description") or ""
    return (
        f"<tr><td><code>{escape(one['name'])}</code>{must}<td>{escape(one['in'])}"
        f"<td>{escape(meaning)}</tr>"
    )
