"""The space's process: two doors, one ledger writer, no key that opens anything."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from trustspace.api.v1 import space_pb2_grpc
from trustspace.space.home import SpaceHome
from trustspace.space.servicers import ENROLMENT, SPACE, EnrolmentServicer, SpaceServicer
from trustspace.storage.files import write_atomic
from trustspace.transport.channel import serve

_LOG = logging.getLogger(__name__)


class SpaceServer:
    """A running space; ``listen`` and ``enrol_listen`` are the addresses it got."""

    def __init__(self, home: SpaceHome) -> None:
        self._home = home
        self.space, self._ledger = home.open()
        self.space.sweep()
        self.space.release_approved()
        identity = home.identity()
        self._door, self.listen = serve(
            home.settings.listen, identity, home.authority().certificate,
            lambda server: space_pb2_grpc.add_SpaceServicer_to_server(SpaceServicer(self.space), server),
            services=(SPACE,), threads=64,
        )  # fmt: skip
        self._enrolment, self.enrol_listen = serve(
            home.settings.enrol_listen, identity, None,
            lambda server: space_pb2_grpc.add_EnrolmentServicer_to_server(EnrolmentServicer(self.space), server),
            services=(ENROLMENT,), threads=4,
        )  # fmt: skip
        self._address = home.path / "address.json"
        content = {"listen": self.listen, "enrol_listen": self.enrol_listen}
        write_atomic(self._address, json.dumps(content).encode(), 0o644)

    def stop(self) -> None:
        """Answer what is under way, then close."""
        self._address.unlink(missing_ok=True)
        self._ledger.wake()
        for server in (self._door, self._enrolment):
            server.stop(grace=1.0).wait()
        self._ledger.close()
        self._home.store.close()


def run(path: Path, ready: Callable[[str, str], None]) -> None:
    """Serve until SIGTERM or SIGINT."""
    home = SpaceHome(path)
    with home.alone():
        server = SpaceServer(home)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        _LOG.info("space listens on %s, enrolment on %s", server.listen, server.enrol_listen)
        ready(server.listen, server.enrol_listen)
        stop.wait()
        server.stop()
