"""/api/models: which model sets found what, how reviewers took it, and the model cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from groundshift.api.access import Given, Reader, reader
from groundshift.api.answers import json_answer
from groundshift.errors import NotFound
from groundshift.ledger import catalogue
from groundshift.models import ModelRecord, list_models
from groundshift.settings import Settings

router: Final = APIRouter(prefix="/api/models", tags=["models"])


@router.get("", summary="Model sets, newest first, and the models at hand")
def list_model_sets(request: Request, given: Given, caller: Reader) -> Response:
    """A set counts the runs it made for the caller's tenant and the reviews of their alerts."""
    with given.ledger.read() as connection:
        sets = catalogue.model_sets(connection, caller.tenant)
    body = {"model_sets": sets, "models": [_record(model) for model in at_hand(given.settings)]}
    return json_answer(request, body)


@router.get("/{name}/card", summary="The card of a model, Markdown", dependencies=[Depends(reader)])
def read_card(
    given: Given,
    name: str,
    digest: Annotated[str | None, Query(max_length=80)] = None,
) -> Response:
    """404 where no model of that name, or not that digest, is at hand."""
    card = card_of(given.settings, name, digest)
    if not card:
        raise NotFound(f"there is no card of {name!r:.80} {digest or ''}: see GET /api/models")
    return Response(card, media_type="text/markdown")


def at_hand(settings: Settings) -> Sequence[ModelRecord]:
    """The models of the model store; none where it is elsewhere."""
    try:
        return list_models(settings.models)
    except NotFound:
        return ()


def card_of(settings: Settings, name: str, digest: str | None) -> str:
    """A model's card; empty where it is not at hand."""
    for model in at_hand(settings):
        if model.name == name and digest in (None, model.digest):
            return model.card
    return ""


def _record(model: ModelRecord) -> dict[str, Any]:
    kept = ("version", "metrics", "training_data", "licence", "created")
    return {
        "name": model.name,
        "digest": model.digest,
        "variant": model.variant,
        "card": f"/api/models/{model.name}/card?digest={model.digest}",
        **{key: model.raw[key] for key in kept if key in model.raw},
    }
