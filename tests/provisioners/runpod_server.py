"""RunPod's REST API, version 2, over real HTTP, on a `RunPodCloud`. It refuses what the reference does not have."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.provisioners.runpod_cloud import Pod, RunPodCloud
from tests.provisioners.vast_server import Dropped, Handler, Reply

TEXT, NUMBER, LIST, MAP = str, int, list, dict
BODY = {
    "name": TEXT,
    "image": TEXT,
    "args": TEXT,
    "disk": NUMBER,
    "ports": LIST,
    "env": MAP,
    "registry": TEXT,
    "mounts": MAP,
    "gpu": MAP,
    "cpu": MAP,
    "cloud": TEXT,
    "dataCenterIds": LIST,
    "globalNetworking": bool,
    "templateId": TEXT,
    "startSsh": bool,
    "startJupyter": bool,
}
GPU = {"id": TEXT, "count": NUMBER, "minCudaVersion": TEXT, "allowedCudaVersions": LIST}
NO_ROOM = "There are no instances currently available."
TITLES = {400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found"}


def problem(status: int, detail: str, *errors: str) -> Reply:
    """RFC 9457, as version 2 answers."""
    listed = {"errors": list(errors)} if errors else {}
    return status, {"title": TITLES.get(status, "Error"), "status": status, "detail": detail, **listed}


class RunPodApi:
    """Method and path → answer."""

    def __init__(self, cloud: RunPodCloud) -> None:
        self.cloud = cloud
        self._lock = threading.Lock()
        self._routes = (
            ("GET", r"/v2/catalog/gpus", self._search),
            ("POST", r"/v2/pods", self._create),
            ("GET", r"/v2/pods", self._list),
            ("DELETE", r"/v2/pods/([^/]+)", self._terminate),
        )

    def answer(self, method: str, url: str, key: str | None, body: Any) -> Reply:
        parts = urlsplit(url)
        with self._lock:
            self.cloud.asked.append((method, parts.path, body))
            for verb, pattern, handler in self._routes:
                if verb == method and (match := re.fullmatch(pattern, parts.path)):
                    if (refused := self._refused(method, parts.path, key)) is not None:
                        return refused
                    return handler(*match.groups(), dict(parse_qsl(parts.query)) if method == "GET" else body)
            return problem(404, "resource not found")

    def _refused(self, method: str, path: str, key: str | None) -> Reply | None:
        """The owner may all; a pod's own key is good for its own end, if for that."""
        own = next((pod for pod in self.cloud.pods.values() if pod.key == key), None)
        if own is not None:
            ends = (method, path) == ("DELETE", f"/v2/pods/{own.pod_id}") and self.cloud.pods_may_end_themselves
            return None if ends else problem(403, "access denied")
        if key != self.cloud.owner_key:
            return problem(401, "missing bearer token" if key is None else "invalid token")
        return problem(429, "rate limit exceeded for the minute window") if self.cloud.too_often() else None

    def _search(self, query: dict[str, str]) -> Reply:
        match self.cloud.fault("search"):
            case "429":
                return problem(429, "rate limit exceeded for the minute window")
            case "502":
                return 502, "<html>Bad Gateway</html>"
            case "schema":
                return 200, []
        if query.get("include") != "AVAILABILITY" or query.get("product") != "POD":
            return problem(400, "product is required with include")
        return 200, {"gpus": self.cloud.catalogue(int(query.get("count", 1)))}

    def _create(self, body: dict[str, Any]) -> Reply:
        fault = self.cloud.fault("create")
        match fault:
            case "429":
                return problem(429, "rate limit exceeded for the minute window")
            case "402":
                return problem(402, "not enough credit")
            case "no room":
                return problem(400, NO_ROOM)
            case "500 before":
                return problem(500, "internal error")
            case "504 before":
                return 504, "<html>Gateway Time-out</html>"
            case "dropped before":
                raise Dropped
        if errors := wrong(body):
            return problem(422, "Request validation failed.", *errors)
        pod = self.cloud.rent(body)
        return problem(400, NO_ROOM) if pod is None else self._made(pod, fault)

    def _made(self, pod: Pod, fault: str) -> Reply:
        match fault:
            case "500 after":
                return problem(500, "internal error")
            case "504 after":
                return 504, "<html>Gateway Time-out</html>"
            case "dropped after":
                raise Dropped
            case "no id":
                return 201, {}
            case "text":
                return 201, "created"
            case "other name":
                pod.body = pod.body | {"name": pod.name[:60]}
            case "error state":
                pod.state_word = "ERROR"
            case "stuck":
                pod.stuck = True
        return 201, self.cloud.row(pod)

    def _list(self, query: dict[str, str]) -> Reply:
        rows = [self.cloud.row(pod) for pod in self.cloud.pods.values()]
        match self.cloud.fault("list"):
            case "429":
                return problem(429, "rate limit exceeded for the minute window")
            case "500":
                return problem(500, "internal error")
            case "410":
                return problem(410, "version 2 is retired")
            case "empty":
                return 200, {"pods": []}
            case "schema":
                return 200, rows
            case "text":
                return 200, "<html>"
            case "cut":
                return 200, '{"pods": [{"id": "pod0'
            case "null fields":
                return 200, {"pods": [row | {"name": None, "cost": None} for row in rows]}
        return 200, {"pods": rows}

    def _terminate(self, pod_id: str, body: Any) -> Reply:
        fault = self.cloud.fault("destroy")
        if fault == "429":
            return problem(429, "rate limit exceeded for the minute window")
        if fault == "500":
            return problem(500, "internal error")
        gone = self.cloud.pods.pop(pod_id, None) is None
        if fault == "500 after":
            return problem(500, "internal error")
        return problem(404, "pod not found") if gone or fault == "404 after" else (204, "")


def wrong(body: Any) -> list[str]:
    """What the schema of a create would say against it; nothing where it is right."""
    if not isinstance(body, dict):
        return ["$: not an object"]
    errors = [f"$: missing property '{name}'" for name in ("name", "image") if not body.get(name)]
    for where, found, known in (("$", body, BODY), ("$.gpu", body.get("gpu") or {}, GPU)):
        errors += [f"{where}: additional properties '{name}' not allowed" for name in found.keys() - known.keys()]
        errors += [
            f"{where}.{name}: wrong type" for name in found if name in known and type(found[name]) is not known[name]
        ]
    if ("gpu" in body) == ("cpu" in body):
        errors.append("$: exactly one of gpu or cpu")
    if not all(re.fullmatch(r"\d+/(tcp|http)", port) for port in body.get("ports", [])):
        errors.append("$.ports: not port/protocol")
    if not all(isinstance(value, str) for value in body.get("env", {}).values()):
        errors.append("$.env: values must be strings")
    return errors


@contextmanager
def serving(cloud: RunPodCloud) -> Iterator[str]:
    """Its URL, for as long as the block lasts."""
    handler = type("BoundHandler", (Handler,), {"api": RunPodApi(cloud)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
