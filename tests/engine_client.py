"""Real engines as tests ask them directly, and what they are started with so that all of OpenAI's API can be asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2  # what the official client is built on
import openai
import requests

WITHIN_S = 120
ENGINE_ARGS = (
    "--enable-auto-tool-choice",
    "--tool-call-parser=xlam",
    '--structured-outputs-config={"backend":"xgrammar","disable_any_whitespace":true}',
)
"""A parser of calls in plain JSON, and grammars without blanks, of which the shipped model would write no end."""


def with_engine_args(spec: str) -> str:
    """A spec with these."""
    return spec.replace("[engine]\n", f"[engine]\nextra_args = {json.dumps(ENGINE_ARGS)}\n")


@contextmanager
def engine_client(home: Path, replica: str) -> Iterator[openai.OpenAI]:
    """A client of an engine below `home` (THUNDER_HOME), through neither router nor agent."""
    [socket] = home.glob(f"local/*/run/{replica}.sock")
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket)), timeout=WITHIN_S) as http:
        yield openai.OpenAI(base_url="http://engine/v1", api_key="none", max_retries=0, http_client=http)


def root_of(client: openai.OpenAI) -> str:
    return str(client.base_url).rstrip("/").removesuffix("/v1")


def others_requests(router: openai.OpenAI) -> float:
    """Requests that a router knows its engines to have from others, as its metrics say."""
    lines = requests.get(f"{root_of(router)}/metrics", timeout=WITHIN_S).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("thunder_requests_beyond{"))
