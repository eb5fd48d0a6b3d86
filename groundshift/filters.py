"""Trigger filters: Knative's subscription dialects exact, prefix, suffix, all, any and not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from groundshift.errors import Misconfigured

Attributes = Mapping[str, str]
Filter = Callable[[Attributes], bool]
"""Whether an event's context attributes pass."""

_LEAVES: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
}


def filter_of(spec: Mapping[str, Any]) -> Filter:
    """The filter of a Trigger's ``spec``: ``filters`` (all of them), else ``filter.attributes``.

    A Trigger without either takes every event. Raises Misconfigured for what Knative would not
    take and for ``cesql``, which is not evaluated here.
    """
    if filters := spec.get("filters"):
        return _all([_one(item) for item in _listed("filters", filters)])
    return _attributes((spec.get("filter") or {}).get("attributes") or {})


def _all(filters: Sequence[Filter]) -> Filter:
    return lambda attributes: all(passes(attributes) for passes in filters)


def _any(filters: Sequence[Filter]) -> Filter:
    return lambda attributes: any(passes(attributes) for passes in filters)


def _attributes(wanted: Mapping[str, str]) -> Filter:
    """The older form: equality, where an empty value means that the attribute is there."""
    return lambda attributes: all(
        name in attributes and value in ("", attributes[name]) for name, value in wanted.items()
    )


def _one(item: object) -> Filter:
    if not isinstance(item, Mapping) or len(item) != 1:
        raise Misconfigured(f"Trigger filter {item!r}: one dialect per entry, e.g. exact: {{...}}")
    ((dialect, value),) = item.items()
    if dialect in _LEAVES:
        return _leaf(dialect, value)
    if dialect in ("all", "any"):
        nested = [_one(inner) for inner in _listed(dialect, value)]
        return _all(nested) if dialect == "all" else _any(nested)
    if dialect == "not":
        inner = _one(value)
        return lambda attributes: not inner(attributes)
    raise Misconfigured(
        f"Trigger filter dialect {dialect!r} is not evaluated here: "
        "use exact, prefix, suffix, all, any, not"
    )


def _leaf(dialect: str, value: object) -> Filter:
    if not isinstance(value, Mapping) or not value or not all(value.values()):
        raise Misconfigured(f"Trigger filter {dialect}: {value!r}: attributes with values it needs")
    matches = _LEAVES[dialect]
    return lambda attributes: all(
        name in attributes and matches(attributes[name], str(part)) for name, part in value.items()
    )


def _listed(name: str, value: object) -> Sequence[object]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise Misconfigured(f"Trigger filter {name}: {value!r}: a list with an entry it needs")
    return value
