"""The mock engines of the shared tool, taught to state token ids and to take them back, as vLLM does when asked.

The tool starts its mocks as `FILE mock --port N`, where FILE is this one. Only who asks for ids gets them: the router
of this project does, to be able to go on with a stream elsewhere, and so its mocks write it larger chunks. Where the
environment names a folder (SOCKETS) they listen on Unix sockets there too, as engines do for their agents.
"""

import asyncio
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

TOOL = Path(__file__).parents[2] / "shared" / "tools" / "router_bench.py"
SOCKETS = "ROUTER_MOCK_SOCKETS"
BACKLOG = 2048
IDS = b',"prompt_token_ids":%b,"token_ids":[%d]}]}\n\n'


def load_tool() -> ModuleType:
    """The tool, with these mocks in place of its own. Raises FileNotFoundError where it is not beside the project."""
    spec = importlib.util.spec_from_file_location("router_bench", TOOL)
    if spec is None or spec.loader is None or not TOOL.exists():
        raise FileNotFoundError(TOOL)
    tool = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = tool
    spec.loader.exec_module(tool)
    tool.__file__ = __file__
    _teach_ids(tool)
    _teach_sockets(tool)
    return tool


def socket_of(folder: Path, port: int) -> Path:
    """Where the mock of that port listens besides."""
    return folder / f"{port}.sock"


def _teach_ids(tool: Any) -> None:
    plain_stream, plain_protocol = tool.Stream, tool.MockProtocol

    class StreamWithIds(plain_stream):  # type: ignore[misc, valid-type]
        """States the prompt's ids with the first token, and each token's own."""

        def emit(self) -> bool:
            prompt_ids = self.proto.prompt_ids
            if prompt_ids is None:
                return bool(plain_stream.emit(self))
            said = json.dumps(prompt_ids, separators=(",", ":")).encode() if prompt_ids else b"null"
            self.proto.prompt_ids = []
            reason = b'"length"' if self.next == self.last else b"null"
            data = self.head + b" %d" % self.next + self.tail + reason + IDS % (said, self.next)
            return self._write(data)

        def _write(self, data: bytes) -> bool:
            """Write one token's event, and behind the last one the end."""
            proto, engine = self.proto, self.proto.engine
            if proto.transport.is_closing():
                engine.active.discard(self)
                return True
            proto.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
            engine.stats["chunks"] += 1
            self.next += 1
            if self.next <= self.last:
                return False
            end = self.usage + b"data: [DONE]\n\n"
            proto.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))
            engine.active.discard(self)
            proto.finish("decoded")
            return True

    class ProtocolWithIds(plain_protocol):  # type: ignore[misc, valid-type]
        """Also takes a prompt as ids, among the transfer's words as a chat's replay brings it, and detokenizes."""

        prompt_ids: list[int] | None = None

        def handle(self, method: bytes, path: str, body: bytes) -> None:
            if path == "/detokenize":
                self.reply({"prompt": "".join(f" {token}" for token in json.loads(body)["tokens"])})
            else:
                plain_protocol.handle(self, method, path, body)

        def complete(self, request: dict[str, Any], chat: bool) -> None:
            ids = (request.get("kv_transfer_params") or {}).pop("prompt_token_ids", None)
            if ids:
                request["messages"] = [{"content": f" {ids[-1]}"}]
            prompt = request["messages"][-1]["content"] if chat else request["prompt"]
            wanted = request.get("return_token_ids")
            self.prompt_ids = (ids or tool.tokens_of(prompt)) if wanted else None
            plain_protocol.complete(self, request, chat)

    tool.Stream, tool.MockProtocol = StreamWithIds, ProtocolWithIds


def _teach_sockets(tool: Any) -> None:
    async def serve_mock(args: Any) -> None:
        engine = tool.Engine(args.port, args.role, args.interval_ms, args.prefill_ms)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: tool.MockProtocol(engine), tool.HOST, args.port, backlog=BACKLOG)
        if folder := os.environ.get(SOCKETS):
            path = str(socket_of(Path(folder), args.port))
            await loop.create_unix_server(lambda: tool.MockProtocol(engine), path, backlog=BACKLOG)
        stepping = loop.create_task(engine.stepper())
        async with server:
            await server.serve_forever()
        stepping.cancel()

    tool.serve_mock = serve_mock


if __name__ == "__main__":
    load_tool().main()
