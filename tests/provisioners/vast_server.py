"""Vast.ai's REST API over real HTTP, on a `VastMarket`: the adapter and the SDK's own client both talk to it."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import requests

from tests.provisioners.vast_market import Contract, VastMarket

FREQUENT = "API requests too frequent"
LISTED_FILTERS = frozenset({"label", "id", "actual_status", "gpu_name"})
Reply = tuple[int, Any]


def no(status: int, word: str, **other: Any) -> Reply:
    return status, {"success": False, "error": word, "msg": word.replace("_", " "), **other}


class Dropped(Exception):
    """The connection ends without an answer."""


class VastApi:
    """Method and path → answer."""

    def __init__(self, market: VastMarket) -> None:
        self.market = market
        self._lock = threading.Lock()
        self._routes = (
            ("POST", r"/api/v0/bundles/", self._search),
            ("PUT", r"/api/v0/asks/(\d+)/", self._create),
            ("GET", r"/api/v1/instances/", self._list),
            ("GET", r"/api/v0/instances/", lambda *_: no(410, "endpoint_removed")),
            ("GET", r"/api/v0/instances/pending-price-increases/", self._pending),
            ("GET", r"/api/v0/instances/(\d+)/", self._show),
            ("DELETE", r"/api/v0/instances/(\d+)/", self._destroy),
            ("PUT", r"/api/v0/instances/bid_price/(\d+)/", self._bid),
            ("PUT", r"/api/v0/instances/(\d+)/", self._change),
            ("POST", r"/api/v0/instances/(\d+)/ssh/", self._ssh_key),
            ("GET", r"/api/v0/users/current/?", self._user),
        )

    def answer(self, method: str, url: str, key: str | None, body: Any) -> Reply:
        parts = urlsplit(url)
        with self._lock:
            self.market.asked.append((method, parts.path, body))
            for verb, pattern, handler in self._routes:
                if verb == method and (match := re.fullmatch(pattern, parts.path)):
                    if not self._allowed(method, parts.path, key):
                        return no(self.market.wrong_key_status, "auth_error")
                    numbers = [int(text) for text in match.groups()]
                    asked = dict(parse_qsl(parts.query)) if method == "GET" else body
                    return handler(*numbers, asked)
            return 404, "Not Found"

    def _allowed(self, method: str, path: str, key: str | None) -> bool:
        """The owner may all; nobody may search; a container's key is good for its own end."""
        if key == self.market.owner_key or (key is None and path == "/api/v0/bundles/"):
            return True
        own = next((one for one in self.market.contracts.values() if one.key == key), None)
        return own is not None and (method, path) == ("DELETE", f"/api/v0/instances/{own.contract_id}/")

    def _user(self, _query: dict[str, str]) -> Reply:
        return no(403, "no_user_read") if self.market.scoped else (200, {"id": self.market.account, "api_key": "..."})

    def _search(self, query: dict[str, Any]) -> Reply:
        if self.market.quota_used_up:
            return no(429, "search_quota_exceeded")
        match self.market.fault("search"):
            case "429":
                return 429, FREQUENT
            case "502":
                return 502, "<html>Bad Gateway</html>"
            case "schema":
                return 200, {"asks": []}
        if self.market.too_often("search", 10, 60.0):
            return 429, FREQUENT
        return 200, {"success": True, "offers": self.market.search(query)}

    def _create(self, ask_id: int, body: dict[str, Any]) -> Reply:
        fault = self.market.fault("create")
        if fault == "429" or self.market.too_often("create", 1, 4.5):
            return 429, FREQUENT
        if fault in ("504 before", "dropped before"):
            return self._lost(fault)
        right = body.get("client_id") == "me" and body.get("image") and body.get("disk", 0) >= 8
        if not right or len(body.get("label") or "") > 256 or len(body.get("onstart") or "") > 4096:
            return no(400, "invalid_args")
        free = self.market.free_gpus()
        asks = (one for one in self.market.bundles if one["id"] == ask_id)
        ask = next((one for one in asks if one["num_gpus"] <= free[one["machine_id"]]), None)
        if ask is None or fault == "taken":
            if ask is None or body.get("cancel_unavail"):
                return no(self.market.taken_status, "no_such_ask")
            return 200, {"success": True, "new_contract": self.market.rent(ask, body, stopped=True).contract_id}
        if body.get("price") is not None and body["price"] < ask["min_bid"]:
            return no(200, "bid_too_low", new_contract=self.market.rent(ask, body, stopped=True).contract_id)
        return self._made(self.market.rent(ask, body), fault)

    def _made(self, contract: Contract, fault: str) -> Reply:
        match fault:
            case "504 after" | "dropped after":
                return self._lost(fault)
            case "success:false with id":
                return no(200, "create_failed", new_contract=contract.contract_id)
            case "400 with id":
                return no(400, "create_failed", new_contract=contract.contract_id)
            case "no id":
                return 200, {"success": True}
            case "text":
                return 200, "ok"
            case "html":
                return 200, "<html>"
            case "broken":
                contract.broken = True
            case "stuck":
                contract.stuck = True
            case "ports late":
                contract.ports_after_s = 60.0
            case "ports never":
                contract.ports_after_s = inf
            case "only ssh":
                contract.unmapped = (8443,)
        return 200, {"success": True, "new_contract": contract.contract_id, "instance_api_key": contract.key}

    def _lost(self, fault: str) -> Reply:
        if fault.startswith("dropped"):
            raise Dropped
        return 504, "<html>Gateway Time-out</html>"

    def _list(self, query: dict[str, str]) -> Reply:
        fault = self.market.fault("list")
        asked = {name: _read(text) for name, text in query.items()}
        filters, limit = asked.get("select_filters") or {}, asked.get("limit", 25)
        if limit > 25 or filters.keys() - LISTED_FILTERS:
            return no(400, "invalid_args")
        match fault:
            case "410":
                return no(410, "endpoint_removed")
            case "429":
                return 429, FREQUENT
            case "empty":
                return 200, {"success": True, "instances": [], "next_token": None, "total_instances": 0}
            case "schema":
                return 200, {"success": True, "results": []}
            case "text":
                return 200, ""
        rows = [self.market.row(one) for _, one in sorted(self.market.contracts.items())]
        rows = [row for row in rows if all(row[name] == next(iter(test.values())) for name, test in filters.items())]
        page = [row for row in rows if row["id"] > int(asked.get("after_token") or 0)][:limit]
        more = bool(page) and page[-1]["id"] != rows[-1]["id"]
        if fault == "truncated" and page:
            page, more = page[:-1], False
        if fault == "null fields":
            page = [row | {"id": None, "dph_total": None} for row in page]
        token = str(page[-1]["id"]) if more else None
        labels: dict[str, int] = {}
        return 200, {"instances": page, "next_token": token, "total_instances": len(rows), "label_counts": labels}

    def _show(self, number: int, query: dict[str, str]) -> Reply:
        contract = self.market.contracts.get(number)
        return 200, {"instances": self.market.row(contract) if contract else None}

    def _destroy(self, number: int, body: Any) -> Reply:
        fault = self.market.fault("destroy")
        if fault == "429" or self.market.too_often("destroy", 1, 3.0):
            return 429, FREQUENT
        if fault == "500":
            return 500, "Internal Server Error"
        gone = not self.market.destroy(number)
        if fault == "500 after":
            return 500, "Internal Server Error"
        return no(404, "no_such_instance") if gone or fault == "404 after" else (200, {"success": True})

    def _bid(self, number: int, body: dict[str, Any]) -> Reply:
        contract = self.market.contracts[number]
        contract.gpus_usd_per_hour = body["price"]
        contract.stopped = body["price"] < contract.ask["min_bid"]
        return 200, {"success": True}

    def _change(self, number: int, body: dict[str, Any]) -> Reply:
        contract = self.market.contracts.get(number)
        if contract is None:
            return no(404, "no_such_instance")
        if "label" in body:
            contract.body["label"] = body["label"]
        if "state" in body:
            contract.stopped = body["state"] == "stopped"
        return 200, {"success": True}

    def _ssh_key(self, number: int, body: dict[str, Any]) -> Reply:
        self.market.contracts[number].ssh_keys.append(body["ssh_key"])
        return 200, {"success": True}

    def _pending(self, query: dict[str, str]) -> Reply:
        rows = self.market.pending()
        return 200, {"success": True, "count": len(rows), "truncated": False, "pending_price_increases": rows}


def said(api: Any, method: str, path: str, bearer: str | None, body: bytes | None) -> tuple[int, str, bytes]:
    """The answer as it goes over the wire: its status, its type, its bytes. Raises Dropped."""
    key = bearer and bearer.removeprefix("Bearer").strip()
    status, answer = api.answer(method, path, key, json.loads(body or b"null"))
    html = isinstance(answer, str)
    data = (answer if html else json.dumps(answer)).encode()
    return status, "text/plain" if html else "application/json", data


class Handler(BaseHTTPRequestHandler):
    api: VastApi

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, kind, data = said(self.api, self.command, self.path, self.headers.get("Authorization"), body)
        except Dropped:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        pass


def _read(text: str) -> Any:
    """The SDK sends JSON for all but texts."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextmanager
def serving(market: VastMarket, address: str = "127.0.0.1") -> Iterator[str]:
    """Its URL, for as long as the block lasts."""
    handler = type("BoundHandler", (Handler,), {"api": VastApi(market)})
    server = ThreadingHTTPServer((address, 0), handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f"http://{address}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def in_place(market: VastMarket) -> Iterator[str]:
    """Its URL; whoever asks there is answered within the call. For virtual time, in which a listing is read thousands
    of times: the SDK writes its requests and reads the answers as over the socket of `serving`."""
    api, url, sent = VastApi(market), "http://market.invalid", requests.Session.send

    def send(session: requests.Session, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        if not (request.url or "").startswith(url):
            return sent(session, request, **how)
        answer = requests.Response()
        answer.request, answer.url = request, request.url or ""
        bearer = request.headers.get("Authorization")
        try:
            answer.status_code, kind, answer._content = said(
                api, request.method or "", request.path_url, bearer, request.body
            )
        except Dropped as error:
            raise requests.ConnectionError("The connection ended without an answer.", request=request) from error
        answer.headers["Content-Type"] = kind
        return answer

    with patch.object(requests.Session, "send", send):
        yield url
