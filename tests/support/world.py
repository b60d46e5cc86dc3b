"""A real space over mutual TLS on port 0, and parties with homes of their own who have pinned each other."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import grpc

from support import processes
from trustspace.client.home import PartyHome
from trustspace.domain.records import JobRecord
from trustspace.space import home as space_home
from trustspace.space.server import SpaceServer
from trustspace.transport.channel import Identity, connect
from trustspace.transport.links import SpaceLink
from trustspace.transport.tls import new_key, new_request


class World:
    """A space in this process (or, with ``subprocess=True``, in one of its own) and its parties."""

    def __init__(self, path: Path | None = None, *, subprocess: bool = False) -> None:
        self.path = path or processes.folder()
        self.subprocess = subprocess
        space_home.initialise(self.path / "space", "Test space", "127.0.0.1:0", "127.0.0.1:0", ())
        self.parties: list[PartyHome] = []
        self.server: SpaceServer | None = None
        self.child: processes.Child | None = None
        self.listen = self.enrol_listen = ""
        self.start()

    # -- the space

    @property
    def home(self) -> Path:
        return self.path / "space"

    def start(self) -> None:
        if self.subprocess:
            self.child = processes.space(self.home)
            self.listen, self.enrol_listen = self.child.said
        else:
            self.server = SpaceServer(space_home.SpaceHome(self.home))
            self.listen, self.enrol_listen = self.server.listen, self.server.enrol_listen
        for party in self.parties:
            party.move_space(self.listen)

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None
        if self.child is not None:
            self.child.end()
            self.child = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        for party in self.parties:
            with contextlib.suppress(Exception):
                party.close()  # type: ignore[attr-defined]
        with contextlib.suppress(Exception):
            self.stop()
        shutil.rmtree(self.path, ignore_errors=True)
        processes.remove(self.path)

    @property
    def space(self) -> Any:
        """The use cases behind the doors; only in this process."""
        assert self.server is not None
        return self.server.space

    @property
    def ledger(self) -> Any:
        """The ledger's writer; only in this process."""
        return self.space._ledger

    def opened(self) -> space_home.SpaceHome:
        """The space's home, as the operator opens it; close its store after use."""
        return space_home.SpaceHome(self.home)

    # -- parties

    def invite(self, name: str, *roles: str) -> dict[str, Any]:
        opened = self.opened()
        try:
            return opened.invite(name, roles, self.listen, self.enrol_listen)
        finally:
            opened.store.close()

    def party(self, name: str, *roles: str, reviewers: tuple[str, ...] = (), enrol: bool = True) -> PartyHome:
        folder = name.lower().replace(" ", "-")
        home = PartyHome.create(self.path / folder, name, roles, reviewers=reviewers)  # type: ignore[arg-type]
        if enrol:
            home.enrol(self.invite(name, *roles))
            self.parties.append(home)
        return home

    def introduce(self) -> None:
        """Everybody compares fingerprints with everybody and pins them."""
        for one in self.parties:
            for other in self.parties:
                if one is not other:
                    one.pin(other.party.name, other.fingerprint)

    def again(self, party: PartyHome, **changes: Any) -> PartyHome:
        """The same party, opened anew, as another process would."""
        return PartyHome(party.path, **changes)

    # -- going around the clients

    def link(self, party: PartyHome, identity: Identity | None = None) -> SpaceLink:
        """A bare link as this party; nothing it answers is verified."""
        server = (party.path / "tls/space-server.pem").read_bytes()
        return SpaceLink(connect(self.listen, server, identity or party.identity(), "trustspace-space"))

    def channel(self, identity: Identity | None, address: str | None = None) -> grpc.Channel:
        certificate = (self.home / "tls/server.pem").read_bytes()
        return connect(address or self.listen, certificate, identity, "trustspace-space")

    def false_identity(self, party: str, kind: str = "client", unit: str = "") -> Identity:
        """What an operator can always make: a transport certificate in anybody's name."""
        import datetime

        from trustspace.transport.tls import Caller, issue

        tls = self.home / "tls"
        key = new_key()
        certificate = issue(
            new_request(key), Caller(party, kind, unit), (tls / "authority.pem").read_bytes(),
            (tls / "authority.key").read_bytes(), datetime.datetime.now(datetime.UTC),
        )  # fmt: skip
        return Identity(key, certificate)

    def state(self, job: str) -> str:
        """The job's state as the ledger has it; only in this process."""
        record = self.ledger.view.get(JobRecord, job)
        return "" if record is None else record.state


def trio(world: World, reviewers: tuple[str, ...] = ("Dr Li",)) -> tuple[PartyHome, PartyHome, PartyHome]:
    """One hospital, one developer, one buyer, who know each other."""
    three = (
        world.party("Hospital A", "source-unit", reviewers=reviewers),
        world.party("Dev GmbH", "developer"),
        world.party("City Clinic", "buyer"),
    )
    world.introduce()
    return three
