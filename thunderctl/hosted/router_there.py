"""The router of a deployment on the host that it was sent to: what its link (`router_link.py`) has done there."""

from pathlib import Path
from typing import Any

from runtime.messages import Routes
from thunderctl.home import thunder_home
from thunderctl.processes.router_process import RouterProcess
from thunderctl.spec.places import HERE
from thunderctl.spec.sections import ServeSection

FOLDER, KEYS = "router", "keys/keys.json"


def router_there(home: Path | None = None) -> RouterProcess:
    """Its folder and client keys lie in the home; the link puts them there."""
    home = home or thunder_home()
    return RouterProcess(home / FOLDER, home / KEYS)


async def serve_there(document: dict[str, Any]) -> dict[str, Any]:
    """Start it with these routes, or have the one that runs take them; returns what it says of itself."""
    router = router_there()
    serving = ServeSection.model_validate({**document["serve"], "place": HERE})
    await router.serve(Routes.from_json(document["routes"]), serving)
    state = router.running() or {}
    certificate = Path(state["tls_cert"]).read_text() if state.get("tls_cert") else ""
    return {**state, "certificate": certificate}
