"""Bringing a database's schema up to date (alembic), quick where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, inspect, text

from groundshift.errors import Misconfigured

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0004"
"""The newest revision in `migrations/versions`; a test holds the two together."""
_LOCK: Final = 0x6772_6F75
"""Key of PostgreSQL's advisory lock around a migration ("grou")."""


def alembic_config() -> Config:
    """Alembic's configuration of the packaged migrations, without a database."""
    from alembic.config import Config  # takes 0.1 s, and most starts need no migration

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def upgrade(engine: Engine) -> None:
    """Migrate to `HEAD`, one process at a time, all or nothing.

    Raises Misconfigured where a newer groundshift wrote the database.
    """
    with engine.connect() as connection:
        if _version(connection) == HEAD:
            return
    with engine.connect() as connection:
        writer = connection.execution_options(groundshift_write=True)
        with writer.begin():
            if writer.dialect.name == "postgresql":
                writer.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if _version(writer) != HEAD:  # nobody was faster
                _run(writer)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _run(connection: Connection) -> None:
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Misconfigured(
            f"the ledger {connection.engine.url.render_as_string()!r} is at revision "
            f"{_version(connection)!r}, this groundshift knows up to {HEAD!r}: "
            "use the groundshift that wrote it, or a newer one"
        ) from error
