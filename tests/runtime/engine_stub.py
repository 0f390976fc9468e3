"""Stands in for vLLM below an agent: `python engine_stub.py BEHAVIOUR SOCKET NAME`. Standard library only.

Like vLLM it leaves a rendezvous file in the temporary folder and a segment of that NAME in shared memory.

Answers /health and streams completions on a Unix socket. Behaviours: `good`; `slow` (never ready); `crash` (an
exception of vLLM's kind at start); `deaf` (ignores SIGTERM, and has a child that does too); `loud` (100
lines, numbered, for each `run/more`, which it removes).
"""

import http.server
import os
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

behaviour, socket_path, name = sys.argv[1:]

(Path(tempfile.gettempdir()) / f"vllm_dist_{name}").touch()
Path(f"/dev/shm/vllm_dist_{name}-tp:0-[0-1]-cpushm_0").touch()

if behaviour == "crash":
    print("(APIServer pid=1) INFO 11-21 10:00:00 [api.py:1] starting", flush=True)
    print(
        "(EngineCore pid=2) ERROR 11-21 10:00:01 [core.py:9] ValueError: 9 heads don't split over 2 ranks", flush=True
    )
    print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
    sys.exit(1)
if behaviour == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if behaviour == "slow":
    time.sleep(600)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"vllm:num_requests_running 2.0\nvllm:kv_cache_usage_perc 0.5\n" if self.path == "/metrics" else b""
        status = 503 if Path("run/core-dead").exists() else 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.path == "/endless":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.endless()
            return
        if self.path.startswith("/mute"):
            self.mute()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Path", self.path)
        self.end_headers()
        self.wfile.write(body)

    def endless(self) -> None:
        """Write until the caller is gone, then leave a mark."""
        try:
            while True:
                self.wfile.write(b"5\r\ntick\n\r\n")
                self.wfile.flush()
                time.sleep(0.01)
        except OSError:
            Path("run/caller-gone").touch()
            self.close_connection = True

    def mute(self) -> None:
        """Say nothing, or the head of a stream alone, until the caller is gone, then leave a mark."""
        if self.path == "/mute-stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        with Path("run/asked").open("a") as asked:
            asked.write("x")
        self.connection.recv(1)
        Path("run/caller-gone").touch()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet, as vLLM is told to be."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def loud() -> None:
    for first in range(0, 10**6, 100):
        while not Path("run/more").exists():
            time.sleep(0.001)
        os.write(1, "".join(f"line {number:06}\n" for number in range(first, first + 100)).encode())
        Path("run/more").unlink()


print("serving", flush=True)
if behaviour == "loud":
    threading.Thread(target=loud, daemon=True).start()
Server(socket_path, Handler).serve_forever()
