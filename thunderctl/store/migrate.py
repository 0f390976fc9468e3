"""Bring a store to the newest schema. Already there, it costs a query or two; Alembic is imported only when needed."""

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from planner.errors import SpecError

HEAD = "0005"
"""The newest file of `migrations/versions`; a test holds them alike."""


def migrate(reading: Engine, writing: Engine) -> None:
    """Do nothing, or migrate in one transaction; of two processes the second waits, and then finds nothing to do."""
    if _version(reading) == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with writing.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, HEAD)
        except CommandError as error:
            raise SpecError(
                f"The store is of a version this thunderctl does not know: {error}.",
                hint="It was written by a newer one: upgrade, or name another THUNDER_HOME.",
            ) from error


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
