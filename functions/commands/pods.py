"""What a cluster's pods run: one stage, the relay, the consumer, the sweep, the API."""

from __future__ import annotations

from typing import Annotated

import typer

from functions import show

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def serve(
    stage: Annotated[
        str, typer.Argument(help="ingest, plan, detect, assemble, track or dead-letter.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 a pod's only door
    port: Annotated[int, typer.Option(help="Port of the CloudEvents.")] = 8080,
) -> None:
    """Serve one stage: what each Knative Service of knative/base runs."""
    from functions.commands import serve as command

    command.serve(stage, host=host, port=port)


def relay() -> None:
    """Take events from the outbox to the Knative Broker, until SIGTERM; replicas share the work.

    Its address comes from GROUNDSHIFT_SINK_URL or K_SINK.
    """
    from functions.commands import relay as command

    command.relay()


def consume() -> None:
    """Take scene notifications from Kafka into the outbox, until SIGTERM; replicas share the work.

    CloudEvents (scene.arrived) and S3 bucket notifications; GROUNDSHIFT_KAFKA_SERVERS names Kafka.
    """
    from functions.commands import consume as command

    command.consume()


def sweep(json: Json = False) -> None:
    """Say again what is overdue, with the next attempt number; one pass, a clock calls it."""
    from functions.commands import sweep as command

    show.swept(command.sweep(), as_json=json)


def api(
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback only with a login.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any free one.", min=0, max=65535)] = 8080,
) -> None:
    """Serve the API alone, over the ledger and the objects that the settings name.

    What `groundshift up` answers below /api, /ogc and /stac; the stages run elsewhere.
    """
    from functions.commands import api as command

    command.api(host=host, port=port)
