"""How a side answers: questions in as lines of JSON, answers out in the same order, each with the time it took.

Sides run in `.venv-peers` and know nothing of ours. A peer's own words go to stderr.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Any

Kinds = Mapping[str, Callable[[dict[str, Any]], Any]]


def serve(kinds: Kinds) -> None:
    """Answer until no more is asked. What a peer refuses is an answer too: its reason."""
    for line in sys.stdin:
        asked = json.loads(line)
        with redirect_stdout(sys.stderr):
            found = answered(kinds[asked["kind"]], asked)
        print(json.dumps(found), flush=True)


def answered(answer: Callable[[dict[str, Any]], Any], asked: dict[str, Any]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    found: dict[str, Any] = {}
    try:
        found["answer"] = answer(asked)
    except Exception as refused:  # a peer may raise anything: the page says what
        found["refused"] = f"{type(refused).__name__}: {refused}"[:300]
    return found | {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
