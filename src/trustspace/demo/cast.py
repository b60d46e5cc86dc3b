"""Who plays: each party in a home of its own, each process of its own, everybody pinned by everybody."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from trustspace.client.audit import Witness
from trustspace.client.enclaves import adopt, enclave_link, move, own_enclave
from trustspace.client.home import PartyHome
from trustspace.demo.attempts import Cheat
from trustspace.demo.data import Cohort, Rows, write_csv
from trustspace.demo.powers import Operator
from trustspace.demo.processes import Child, Processes
from trustspace.demo.stage import Stage
from trustspace.domain.bodies import Role
from trustspace.domain.statements import read
from trustspace.enclave import home as enclave_home
from trustspace.enclave import settings
from trustspace.errors import Unavailable
from trustspace.space import home as space_home
from trustspace.storage.files import write_atomic
from trustspace.transport.links import EnclaveLink

DATASET = "cytology"
ANY_PORT = "127.0.0.1:0"
WAIT_SECONDS = 120.0
T = TypeVar("T")


@dataclass
class Hospital:
    """A source unit with its own machine room: officer, reviewer, broker, enclave."""

    number: int
    home: PartyHome
    reviewer: str
    rows: Rows
    table: pa.Table
    file: Path
    enclave: Path
    enclave_process: Child
    dataset: str = ""

    @property
    def name(self) -> str:
        """What everybody calls it."""
        return self.home.party.name

    @property
    def folder(self) -> str:
        """Its home, as somebody in the story's directory would type it."""
        return self.home.path.name

    def door(self) -> EnclaveLink:
        """A connection to its own enclave."""
        return enclave_link(self.home, own_enclave(self.home, None))


@dataclass
class Play:
    """Everything on stage. ``job`` and what follows are filled in as the story goes on."""

    root: Path
    stage: Stage
    cohort: Cohort
    operator: Operator
    hospitals: list[Hospital]
    developer: PartyHome
    buyer: PartyHome
    auditor: PartyHome
    job_file: Path
    job: str = ""
    delivery: Path = Path()
    cheats: list[Cheat] = field(default_factory=list)

    def parties(self) -> list[PartyHome]:
        """Everybody who pins everybody."""
        return [*(h.home for h in self.hospitals), self.developer, self.buyer, self.auditor]

    def tried(self, cheat: Cheat) -> None:
        """Show a cheat and keep it for the report."""
        self.cheats.append(cheat)
        self.stage.cheat(cheat)

    def shown(self, path: Path) -> str:
        """A path as somebody in the story's directory would type it."""
        return str(path.relative_to(self.root))


def wait_until(found: Callable[[], T | None], what: str, seconds: float = WAIT_SECONDS) -> T:
    """Look again and again until there is something.

    Raises:
        Unavailable: there was nothing in all that time.

    """
    deadline = time.monotonic() + seconds
    while (value := found()) is None:
        if time.monotonic() > deadline:
            raise Unavailable("Nothing came of waiting for {what}.", fix="See the logs (--keep).", what=what)
        time.sleep(0.05)
    return value


def move_in(root: Path, stage: Stage, cohort: Cohort, processes: Processes) -> Play:
    """Make the space, the parties and the enclaves, and start every process."""
    say = stage.say
    home = root / "space"
    space_home.initialise(home, say("name.space"), ANY_PORT, ANY_PORT, ())
    space = processes.start("space", home, "space", "serve")
    stage.does(
        "operator", "space.made",
        command=(
            (f'trustspace --home space space init --name "{say("name.space")}" --listen {ANY_PORT}'
            f" --enrol-listen {ANY_PORT}"),
            "trustspace --home space space serve",
        ),
    )  # fmt: skip
    listen = str(space.wait_ready()["listen"])
    operator = Operator(home, listen)
    addresses = operator.space.addresses()

    def party(folder: str, name: str, role: Role, reviewers: tuple[str, ...] = ()) -> PartyHome:
        made = PartyHome.create(root / folder, name, (role,), reviewers=reviewers)
        made.enrol(operator.space.invite(name, (role,), *addresses))
        return made

    hospitals = []
    for number, (site, rows) in enumerate(zip(cohort.sites, cohort.hospitals, strict=True), 1):
        name, reviewer = say(f"name.{site.key}"), say(f"reviewer.{site.key}")
        hospital = party(f"hospital-{number}", name, "source-unit", (reviewer,))
        enclave = _adopted(hospital, root / f"enclave-{number}", say("name.enclave", name=name))
        process = processes.start(f"enclave-{number}", enclave, "enclave", "serve")
        table = cohort.table(rows, f"H{number}")
        file = root / f"cytology-{number}.csv"
        write_csv(table, file)
        hospitals.append(Hospital(number, hospital, reviewer, rows, table, file, enclave, process))
    play = Play(
        root=root, stage=stage, cohort=cohort, operator=operator, hospitals=hospitals,
        developer=party("developer", say("name.developer"), "developer"),
        buyer=party("buyer", say("name.buyer"), "buyer"),
        auditor=party("auditor", say("name.auditor"), "auditor"),
        job_file=root / "malignancy.toml",
    )  # fmt: skip
    _pin_everybody(play)
    _start_the_rest(play, processes)
    _introduce(play, processes)
    return play


def _adopted(hospital: PartyHome, path: Path, name: str) -> Path:
    enclave_home.initialise(path, name, ANY_PORT, ())
    # Four hospitals share one computer here: sandboxes that wait would take its processors from those that run.
    write_atomic(path / settings.FILE, b"warm = 0\n", 0o644)
    adoption = adopt(hospital, json.loads((path / "card.json").read_bytes()), ANY_PORT)
    enclave_home.accept(path, read(enclave_home.Adoption, adoption, "adoption"))
    return path


def _pin_everybody(play: Play) -> None:
    witness = Witness(play.auditor).verifier
    for one in play.parties():
        for other in play.parties():
            if one is not other:
                one.pin(other.party.name, other.fingerprint)
        one.save_trust(one.trust().with_witness(witness, 1))


def _start_the_rest(play: Play, processes: Processes) -> None:
    # Brokers and the witness read their trust files once, so they start when everybody is pinned.
    waiting = [
        processes.start("witness", play.auditor.path, "witness", "serve"),
        *(processes.start(f"broker-{h.number}", h.home.path, "broker", "serve") for h in play.hospitals),
    ]
    for hospital in play.hospitals:
        address = str(hospital.enclave_process.wait_ready()["listen"])
        move(hospital.home, own_enclave(hospital.home, None), address)
    for child in waiting:
        child.wait_ready()


def _introduce(play: Play, processes: Processes) -> None:
    stage, hospital = play.stage, play.hospitals[0]
    roles: list[tuple[PartyHome, str]] = [(h.home, "hospital") for h in play.hospitals]
    roles += [(play.developer, "developer"), (play.buyer, "buyer"), (play.auditor, "auditor")]
    rows = [(home.party.name, stage.say(f"who.{role}"), _grouped(home.fingerprint)) for home, role in roles]
    name, reviewer = hospital.name, hospital.reviewer
    stage.does(
        "hospital", "parties.made",
        stage.table([stage.say("col.party"), stage.say("col.role"), stage.say("col.fingerprint")], rows),
        command=(
            f'trustspace --home hospital-1 party new --name "{name}" --role source-unit --reviewer "{reviewer}"',
            f'trustspace --home space space invite --name "{name}" --role source-unit --out invitation.json',
            "trustspace --home hospital-1 party enrol invitation.json",
            f'trustspace --home hospital-1 trust add "{play.buyer.party.name}" {play.buyer.fingerprint[:8]}…',
        ),
    )  # fmt: skip
    tier = str(hospital.enclave_process.ready.get("sandbox_tier", ""))
    told, kinds = [], set()
    for child in processes.running:
        kind = child.name.split("-")[0]
        what = "" if kind in kinds else stage.say(f"process.{kind}")
        kinds.add(kind)
        told.append((child.name, str(child.pid), str(child.ready.get("listen") or "-"), what))
    columns = [stage.say("col.process"), "pid", stage.say("col.address"), ""]
    stage.does(
        "enclave", "enclave.made", stage.table(columns, told, right=(1,)), tier=tier,
        command=(
            f'trustspace --home enclave-1 enclave init --name "{stage.say("name.enclave", name=name)}"',
            "trustspace --home hospital-1 enclave adopt enclave-1/card.json --address 127.0.0.1:… --out adoption.json",
            "trustspace --home enclave-1 enclave accept adoption.json",
            "trustspace --home enclave-1 enclave serve",
        ),
    )  # fmt: skip


def _grouped(fingerprint: str) -> str:
    return " ".join(fingerprint[i : i + 4] for i in range(0, 20, 4)) + " …"
