"""The enclave's process: launcher first, then keys, threads and sockets; a door for its own source unit only."""

from __future__ import annotations

import json
import logging
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trustspace.enclave.settings import read_settings
from trustspace.sandbox.launcher import Launcher
from trustspace.transport.stopping import stop_on_signals, wait_until

if TYPE_CHECKING:
    from trustspace.enclave.service import EnclaveService

_LOG = logging.getLogger(__name__)
# More than one, since hospitals may begin two joint jobs in different order and would wait for each other; each
# holds one sandbox while it lasts and one more at its end, of the launcher's eight.
CONCURRENT_RUNS = 4


class EnclaveServer:
    """A running enclave; ``listen`` is the address it got. Make it before the process has any thread."""

    def __init__(self, path: Path, listen: str = "", runtime: Path | None = None) -> None:
        # Forked before gRPC or any key is in this process: the launcher never knew one.
        self.launcher = Launcher.start(read_settings(path).config(path, runtime))
        try:
            self._start(path, listen)
        except BaseException:
            self.launcher.close()
            raise

    def _start(self, path: Path, listen: str) -> None:
        from trustspace.api.v1 import enclave_pb2_grpc
        from trustspace.domain.bodies import Evidence
        from trustspace.enclave.datasets import DatasetStore
        from trustspace.enclave.home import EnclaveHome
        from trustspace.enclave.runner import Runner
        from trustspace.enclave.service import EnclaveService
        from trustspace.enclave.servicers import ENCLAVE, EnclaveServicer
        from trustspace.storage.files import write_atomic
        from trustspace.transport.channel import serve
        from trustspace.transport.rounds import RoundsLink

        home = EnclaveHome(path)
        adoption = home.adoption()
        channel = home.channel()
        session = home.session(channel)
        store = DatasetStore(path, adoption.owner)
        store.sweep()
        evidence = Evidence(
            kind="software",
            measurement=self.launcher.measurement,
            sandbox_tier=self.launcher.tier,
            platform=f"{platform.system()} {platform.machine()} Python {platform.python_version()}",
            custody=adoption.custody,
        )
        self.runner = Runner(
            home, session, RoundsLink(channel), store, self.launcher, evidence, CONCURRENT_RUNS
        )
        self.service: EnclaveService = EnclaveService(
            home, session, store, self.runner, evidence, self.launcher.details
        )
        self._door, self.listen = serve(
            listen or home.card.listen, home.door(), adoption.owner_certificate.encode(),
            lambda server: enclave_pb2_grpc.add_EnclaveServicer_to_server(EnclaveServicer(self.service), server),
            services=(ENCLAVE,), threads=16,
        )  # fmt: skip
        self._address = path / "address.json"
        write_atomic(self._address, json.dumps({"listen": self.listen}).encode(), 0o644)
        self.runner.start()

    def stop(self) -> None:
        """Kill what runs, answer what is under way, close."""
        self._address.unlink(missing_ok=True)
        self.runner.stop()
        self.launcher.close()
        self._door.stop(grace=1.0).wait()


def run(path: Path, listen: str, runtime: Path | None, ready: Callable[[str, str], None]) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = EnclaveServer(path, listen, runtime)
    stop = threading.Event()
    stop_on_signals(stop)
    _LOG.info("enclave listens on %s, sandbox tier %s", server.listen, server.launcher.tier)
    ready(server.listen, server.launcher.tier)
    wait_until(stop)
    server.stop()
