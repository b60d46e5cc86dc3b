"""The space's process: two doors, one ledger writer, no key that opens anything."""

from __future__ import annotations

import json
import logging
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import grpc

from trustspace.api.v1 import rounds_pb2_grpc, space_pb2_grpc
from trustspace.space.home import SpaceHome
from trustspace.space.relay import Relay
from trustspace.space.servicers import (
    ENROLMENT,
    ROUNDS,
    SPACE,
    EnrolmentServicer,
    RoundsServicer,
    SpaceServicer,
)
from trustspace.storage.files import write_atomic
from trustspace.transport.channel import serve
from trustspace.transport.stopping import stop_on_signals, wait_until

_LOG = logging.getLogger(__name__)
# Everybody who may wait, for statements (service.py) and in rounds (relay.py), and room for those who do not.
THREADS = 448


class SpaceServer:
    """A running space; ``listen`` and ``enrol_listen`` are the addresses it got."""

    def __init__(self, home: SpaceHome) -> None:
        self._home = home
        self.space, self._ledger = home.open()
        self.space.sweep()
        self.space.release_approved()
        self.relay = Relay(self._ledger, home.path / "rounds")
        identity = home.identity()
        self._door, self.listen = serve(
            home.settings.listen, identity, home.authority().certificate, self._register,
            services=(SPACE, ROUNDS), threads=THREADS,
        )  # fmt: skip
        self._enrolment, self.enrol_listen = serve(
            home.settings.enrol_listen, identity, None,
            lambda server: space_pb2_grpc.add_EnrolmentServicer_to_server(EnrolmentServicer(self.space), server),
            services=(ENROLMENT,), threads=4,
        )  # fmt: skip
        self._address = home.path / "address.json"
        content = {"listen": self.listen, "enrol_listen": self.enrol_listen}
        write_atomic(self._address, json.dumps(content).encode(), 0o644)

    def _register(self, server: grpc.Server) -> None:
        space_pb2_grpc.add_SpaceServicer_to_server(SpaceServicer(self.space), server)
        rounds_pb2_grpc.add_RoundsServicer_to_server(RoundsServicer(self.relay), server)

    def stop(self) -> None:
        """Answer what is under way, then close."""
        self._address.unlink(missing_ok=True)
        self._ledger.wake()
        self.relay.close()
        for server in (self._door, self._enrolment):
            server.stop(grace=1.0).wait()
        self._ledger.close()
        self._home.store.close()


def run(path: Path, ready: Callable[[str, str], None]) -> None:
    """Serve until SIGTERM or SIGINT."""
    home = SpaceHome(path)
    _allow_files()
    with home.alone():
        server = SpaceServer(home)
        stop = threading.Event()
        stop_on_signals(stop)
        _LOG.info("space listens on %s, enrolment on %s", server.listen, server.enrol_listen)
        ready(server.listen, server.enrol_listen)
        wait_until(stop)
        server.stop()


def _allow_files() -> None:
    """As many open files as the system allows: every thread has its database, every vector under way its file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
