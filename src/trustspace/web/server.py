"""The desk's server: this machine's loopback interface, one reviewer, until it is closed or nobody uses it.

Python's own HTTP server, bounded: so many connections at a time, each read for so long and no longer. Nothing that it
is asked is logged, since addresses carry the token.
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from trustspace.client.acting import Acting
from trustspace.errors import Unavailable
from trustspace.evidence.words import Language
from trustspace.web.app import Desk
from trustspace.web.gate import HEADERS, Gate

HOST: Final = "127.0.0.1"
MOST_CONNECTIONS: Final = 32
READ_SECONDS: Final = 15.0
IDLE_MINUTES: Final = 60
_LAST_ANSWER_SECONDS: Final = 0.3
_LOG = logging.getLogger(__name__)


class _Handler(WSGIRequestHandler):
    """One request on one connection."""

    timeout = READ_SECONDS
    server_version, sys_version = "trustspace", ""

    def setup(self) -> None:
        super().setup()
        # However slowly bytes come: after a while none are taken any more, and what was begun ends.
        self._deadline = threading.Timer(READ_SECONDS, self._stop_reading)
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        self._deadline.cancel()
        super().finish()

    def _stop_reading(self) -> None:
        with contextlib.suppress(OSError):  # it may have ended
            self.connection.shutdown(socket.SHUT_RD)

    def get_stderr(self) -> Any:
        return io.StringIO()

    def address_string(self) -> str:
        return HOST

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name for it
        """Nothing: addresses carry the token."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no HTTP request gets a line of text, under the same headers as every page."""
        self.request_version = self.protocol_version  # what had none gets headers all the same
        self.send_response_only(code)
        for name, value in {**HEADERS, "Content-Type": "text/plain", "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each connection, and no more of them than a browser opens."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, port: int) -> None:
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        # The base class asks the resolver for this machine's name here, which can take long and tells nothing.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is nothing to report."""
        _LOG.debug("a connection broke off")


class DeskServer:
    """A desk that listens. ``address`` is to be opened once; ``serve`` returns when the desk is closed."""

    def __init__(
        self,
        home: Acting,
        reviewer: str,
        *,
        port: int = 0,
        idle_minutes: float = IDLE_MINUTES,
        language: Language = "en",
        chinese: Mapping[str, str] | None = None,
    ) -> None:
        """Listen.

        Raises:
            Unavailable: the port cannot be used.

        """
        try:
            self._server = _Server(port)
        except OSError:
            raise Unavailable(
                "The port {port} of this machine cannot be used.", fix="Give another one with --port, or none.",
                port=port,
            ) from None  # fmt: skip
        gate = Gate(f"{HOST}:{self._server.server_port}")
        self.address = gate.address
        self.desk = Desk(home, reviewer, gate, language=language, chinese=chinese, close=self.close)
        self._server.set_app(self.desk)
        self._idle_seconds = idle_minutes * 60
        self._closed = threading.Event()

    def serve(self, stop: threading.Event | None = None) -> None:
        """Answer until the desk is closed, unused for too long, or ``stop`` is set."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="desk", daemon=True)
        thread.start()
        try:
            while not self._closed.wait(0.2) and not (stop is not None and stop.is_set()):
                if time.monotonic() - self.desk.last_used > self._idle_seconds:
                    break
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def close(self) -> None:
        """End ``serve``; answers that are being given are still given."""
        self._closed.wait(_LAST_ANSWER_SECONDS)
        self._closed.set()
