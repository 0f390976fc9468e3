"""`thunderctl keys`: who may use the endpoint, how much of it, and what they have used."""

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption

if TYPE_CHECKING:
    from runtime.router.access.keys import ApiKey
    from runtime.router.watching.usage import KeyUsage

KEYS_SCHEMA = "thunder.keys/v1"
COLUMNS = ("key", "id", "made at, UTC", "expires, UTC", "requests/min", "tokens/min")
USED_COLUMNS = ("key", "requests", "refused", "prompt tokens", "of them cached", "output tokens", "last used, UTC")
CLOSED = "Nobody gets in until there is one: thunderctl keys create NAME"

app = typer.Typer(
    help="Client keys of the endpoint: with the first one made, every request but /health needs one.\n\n"
    "Example: thunderctl keys create alice --rpm 60",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key it is, as lists and metrics call it.")],
    rpm: Annotated[int | None, typer.Option(help="Requests a minute (default: unlimited).", min=1)] = None,
    tpm: Annotated[int | None, typer.Option(help="Prompt and output tokens a minute.", min=1)] = None,
    expires: Annotated[str | None, typer.Option(help="Such as 12h, 30d, 8w or 2027-01-31 (default: never).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once: only its digest is kept. It is good from the next request on.

    Example: thunderctl keys create alice --rpm 60 --tpm 100000 --expires 30d
    """
    from thunderctl.home import keys_file
    from thunderctl.keys.client_keys import create_key, expiry

    path = keys_file(context.obj)
    closes = not path.exists()
    expires_at = expiry(expires, time.time()) if expires else None
    key, secret = create_key(path, name, expires_at=expires_at, requests_per_minute=rpm, tokens_per_minute=tpm)
    if as_json:
        output.print_json({"schema": KEYS_SCHEMA, "key": secret.reveal(), "keys": [_entry(key, None)]})
        return
    output.print_text(secret.reveal())
    output.narrate(f"This is {key.name}'s key. It is not kept and can't be shown again.")
    if closes:
        output.narrate(f"It is the first: {context.obj} now asks every client for a key.")


@app.command("list")
def list_keys(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the keys, their limits and what they have used.

    Example: thunderctl keys list
    """
    from runtime.router.access.keys import read_keys
    from thunderctl.world import open_world

    with open_world(context.obj) as world:
        asks = world.router.keys.exists()
        keys = read_keys(world.router.keys)
        usage = asyncio.run(world.router.usage())
    entries = [_entry(key, usage.get(key.id)) for key in keys]
    if as_json:
        output.print_json({"schema": KEYS_SCHEMA, "keys": entries})
    elif entries:
        output.show(
            output.table("Keys", COLUMNS, map(_row, entries), right=COLUMNS[4:]),
            output.table("What they have used", USED_COLUMNS, map(_used_row, entries), right=USED_COLUMNS[1:6]),
        )
    elif asks:
        output.narrate(f"There are no keys any more, and {context.obj} goes on asking every client for one. {CLOSED}")
    else:
        output.narrate("There are no keys. Make one: thunderctl keys create NAME")


@app.command()
def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The key's name or id.")],
    as_json: JsonOption = False,
) -> None:
    """Revoke a key, at once and for good; streams that it began go on. The endpoint still asks for keys without any.

    Example: thunderctl keys revoke alice
    """
    from runtime.router.access.keys import read_keys
    from thunderctl.home import keys_file
    from thunderctl.keys.client_keys import revoke_key

    path = keys_file(context.obj)
    gone = revoke_key(path, name)
    if as_json:
        output.print_json({"schema": KEYS_SCHEMA, "keys": [{**_entry(gone, None), "state": "revoked"}]})
    else:
        output.narrate(f"{gone.name}'s key {gone.id} is revoked.")
        if not read_keys(path):
            output.narrate(f"It was the last one. {CLOSED}")


def _entry(key: "ApiKey", usage: "KeyUsage | None") -> dict[str, Any]:
    from dataclasses import asdict

    from runtime.router.watching.usage import KeyUsage

    used = asdict(usage or KeyUsage())
    return {
        "id": key.id,
        "name": key.name,
        "state": "expired" if key.is_over(time.time()) else "active",
        "created_at": _rfc3339(key.created_at),
        "expires_at": _rfc3339(key.expires_at),
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "usage": used | {"last_used_at": _rfc3339(used["last_used_at"])},
    }


def _row(entry: dict[str, Any]) -> list[str]:
    expires = "over" if entry["state"] == "expired" else _minute(entry["expires_at"])
    limits = [_count(entry["requests_per_minute"]), _count(entry["tokens_per_minute"])]
    return [entry["name"], entry["id"], _minute(entry["created_at"]), expires, *limits]


def _used_row(entry: dict[str, Any]) -> list[str]:
    usage = entry["usage"]
    kinds = ("requests", "refused", "prompt_tokens", "cached_tokens", "output_tokens")
    return [entry["name"], *(_count(usage[kind]) for kind in kinds), _minute(usage["last_used_at"])]


def _minute(stamp: str | None) -> str:
    """As people read it; UTC, as its column says."""
    return stamp[:16].replace("T", " ") if stamp else "never"


def _count(value: int | None) -> str:
    return "unlimited" if value is None else f"{value:,}"


def _rfc3339(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
