"""Witnesses, auditors and loops: a space that forks, withholds, or answers with nonsense."""

import json
import threading
import time
from types import SimpleNamespace

import grpc
import pytest
from support.cast import Cast
from support.forge import ShownSpace
from support.world import World

from regressions.helpers import Impatient
from trustspace.api.v1 import space_pb2
from trustspace.client import audit
from trustspace.client.audit import Witness
from trustspace.client.broker import Broker
from trustspace.client.home import PartyHome
from trustspace.crypto.keys import MemoryKeyStore
from trustspace.domain.replay import replay
from trustspace.domain.statements import LogReference, make
from trustspace.errors import LogCorrupted, TrustspaceError, Unavailable, VerificationFailed
from trustspace.ledger.checkpoint import Checkpoint, sign_checkpoint
from trustspace.ledger.cosign import add_cosignature, cosign
from trustspace.ledger.merkle import MerkleTree
from trustspace.ledger.note import KeyKind, NoteKey
from trustspace.transport import links
from trustspace.transport.errors import to_error
from trustspace.transport.links import SpaceLink
from trustspace.transport.session import Session, watch

# -- the witness


class Forked:
    """The link of a space that signs one tree for this witness and another for that."""

    def __init__(self, world: World, seed: int, size: int = 5, slow: float = 0.0) -> None:
        opened = world.opened()
        self.key = opened.ledger_key()
        opened.store.close()
        self.tree = MerkleTree()
        for number in range(size):
            self.tree.append(bytes([seed, number]) + bytes(30))
        self.slow = slow
        self.cosigned: list[str] = []

    def checkpoint(self, known: int):
        shown = Checkpoint(self.key.origin, self.tree.size, self.tree.root())
        time.sleep(self.slow)  # long enough for the other witness to look as well
        note = sign_checkpoint(shown, self.key.origin, self.key.public, self.key.sign)
        return note, tuple(self.tree.consistency_proof(known)) if 0 < known <= self.tree.size else ()

    def add_cosignature(self, size: int, line: str) -> None:
        self.cosigned.append(line)


def witness(home: PartyHome, link: Forked) -> Witness:
    """As another process of the same auditor."""
    again = PartyHome(home.path)
    again.session.link = link  # type: ignore[assignment]
    return Witness(again)


def test_two_processes_of_one_witness_cosign_no_fork(world: World):
    """Otherwise each would start from the same state, and the witness would have cosigned two ledgers."""
    auditor = world.party("Auditor", "auditor")
    assert Witness(auditor).verifier
    links = [Forked(world, 1, slow=0.2), Forked(world, 2, slow=0.2)]
    refused = []

    def look(link: Forked) -> None:
        try:
            witness(auditor, link).cosign_newest()
        except LogCorrupted as error:
            refused.append(error)

    threads = [threading.Thread(target=look, args=(link,)) for link in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert sorted(len(link.cosigned) for link in links) == [0, 1]


def test_a_witness_that_saw_a_fork_signs_no_more_after_a_restart(world: World):
    """Otherwise the space would only have to wait for a restart, and go on with one of its two ledgers."""
    auditor = world.party("Auditor", "auditor")
    honest = Forked(world, 1)
    assert witness(auditor, honest).cosign_newest() == 5
    with pytest.raises(LogCorrupted, match="forked"):
        witness(auditor, Forked(world, 2, size=7)).cosign_newest()
    grown = Forked(world, 1, size=8)
    with pytest.raises(LogCorrupted, match="signs no more"):
        witness(auditor, grown).cosign_newest()
    assert not grown.cosigned


def test_a_witness_that_saw_the_ledger_shrink_signs_no_more(world: World):
    """Otherwise a space could take entries back, and grow anew from there."""
    auditor = world.party("Auditor", "auditor")
    witness(auditor, Forked(world, 1)).cosign_newest()
    for shown in (Forked(world, 1, size=3), Forked(world, 1, size=8)):
        with pytest.raises(LogCorrupted):
            witness(auditor, shown).cosign_newest()
        assert not shown.cosigned


def test_nonsense_at_the_first_look_does_not_end_a_witness(world: World):
    """Otherwise a proof where none belongs would end a fresh witness with an error about a missing file."""
    auditor = world.party("Auditor", "auditor")
    link = Forked(world, 1)
    note, _ = link.checkpoint(0)
    odd = Forked(world, 1)
    odd.checkpoint = lambda known: (note, (bytes(32),))  # type: ignore[method-assign]
    with pytest.raises(LogCorrupted):
        witness(auditor, odd).cosign_newest()
    assert witness(auditor, link).cosign_newest() == 5


# -- a client and the witnesses of its certificates


def forks() -> tuple[Cast, Cast]:
    """Two continuations of one ledger, one statement apart."""
    cast = Cast(1, 1, 1).until("countersign")
    other = cast.fork()
    cast.grant_all()
    other.now += 1
    other.grant_all()
    return cast, other


class Witnessed:
    """A client that relies on one witness, and the space that it deals with."""

    def __init__(self, cast: Cast, path) -> None:
        self.keys = MemoryKeyStore()
        public = self.keys.create_signing_key("witness")
        verifier = NoteKey("witness/one", public, KeyKind.COSIGNATURE).encode()
        self.space = ShownSpace(cast)
        trust = cast.trust().with_witness(verifier, 1)
        self.session = Session(self.space, lambda: trust, cast.buyer.fingerprint, path, lambda: cast.now)

    def saw(self, statements) -> None:
        """The witness cosigned this ledger; certificates are made from it."""
        note = self.space.note(self.space.tree(statements))
        line = cosign(
            note,
            "witness/one",
            self.keys.public("witness"),
            lambda m: self.keys.sign("witness", m),
            1_800_000_000,
        )
        self.space.cosigned_note = add_cosignature(note, line)
        self.space.cosigned_shown = list(statements)


def test_a_client_notices_that_its_witness_saw_another_ledger(tmp_path):
    """Otherwise the space could show its witnesses one ledger and its clients another, and certify from either."""
    cast, other = forks()
    client = Witnessed(cast, tmp_path / "ledger.json")
    client.session.sync()
    client.saw(other.statements)
    first = []

    def flipping(known):
        # One answer of the witness's ledger, so that each of two questions looks right by itself.
        tree = client.space.tree(cast.statements if first else other.statements)
        first.append(known)
        return client.space.note(tree), ()

    client.space.checkpoint = flipping  # type: ignore[method-assign]
    with pytest.raises(LogCorrupted):
        client.session.cosigned_job(cast.job.statement)


def test_a_client_that_is_ahead_of_the_fork_takes_no_certificate_from_it(tmp_path):
    """Otherwise the same, with ledgers of different length: each question is answered from the fork it names."""
    cast, other = forks()
    cast.challenge()
    client = Witnessed(cast, tmp_path / "ledger.json")
    client.session.sync()
    client.saw(other.statements)
    kept = (tmp_path / "ledger.json").read_bytes()

    def two_faced(known):
        tree = client.space.tree(other.statements if known == len(other.statements) else cast.statements)
        return client.space.note(tree), client.space._consistency(tree, known)

    client.space.checkpoint = two_faced  # type: ignore[method-assign]
    with pytest.raises((LogCorrupted, Unavailable)):
        client.session.cosigned_job(cast.job.statement)
    assert (tmp_path / "ledger.json").read_bytes() == kept


def test_a_client_takes_what_its_witness_saw_of_the_same_ledger(tmp_path):
    """The other half: cosigned checkpoints older and newer than the client's own are of one ledger."""
    cast = Cast(1, 1, 1).until("grant_all")
    client = Witnessed(cast, tmp_path / "ledger.json")
    client.session.sync()
    job = cast.job.statement
    for seen in (cast.statements[:-1], cast.statements):
        client.saw(seen)
        assert client.session.cosigned_job(job).job(job).statement == job
    cast.challenge()
    client.space.shown = list(cast.statements)
    client.saw(cast.statements)
    assert client.session.cosigned_job(job).job(job).state == "granted"


# -- the auditor


@pytest.fixture
def audited(world: World):
    parties = [
        world.party(name, role) for name, role in (("Dev GmbH", "developer"), ("City Clinic", "buyer"))
    ]
    return world, parties[0], world.party("Auditor", "auditor")


@pytest.mark.parametrize("hidden", [0, 1, 3])
def test_an_auditor_notices_a_withheld_statement(audited, monkeypatch, hidden):
    """Otherwise the space could keep a rejection from its auditor, and fill the count with later statements."""
    _, developer, auditor = audited
    assert audit.verify_ledger(auditor).replayed
    link = auditor.session.link
    read = link.read

    def withholding(position, limit, wait):
        entries, following = read(position, limit, wait)
        if position == 0:
            developer.publish(developer.party.keys)  # the ledger grows beyond what is being audited
            later, _ = read(following, limit, 0)
            entries = [entry for entry in entries if entry.index != hidden] + later
        return entries, following

    monkeypatch.setattr(link, "read", withholding)
    with pytest.raises(LogCorrupted, match="withholds"):
        audit.verify_ledger(auditor)


def misled(home: PartyHome, log: LogReference):
    """A statement of somebody who was shown this state of this ledger."""
    body = home.party.model_copy(update={"sequence": home.party.sequence + 1})
    return make(
        body, by=home.fingerprint, issued=int(time.time()), nonce=b"n" * 32, log=log, public=home.keys.public("root"),
        sign=lambda message: home.keys.sign("root", message),
    )  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [{"root": "00" * 32}, {"size": 1_000}, {"origin": "another/ledger"}],
    ids=["root", "size", "origin"],
)
def test_an_auditor_notices_that_a_signer_was_shown_another_ledger(audited, monkeypatch, other):
    """Otherwise the one trace that a fork leaves in the ledger itself would go unread."""
    world, developer, auditor = audited
    statement = misled(developer, developer.session.sync().model_copy(update=other))
    with pytest.raises(VerificationFailed):
        world.link(developer).submit(statement.envelope.to_bytes())
    monkeypatch.setattr(world.space, "_check_log", lambda log: None)  # the space takes it all the same
    world.link(developer).submit(statement.envelope.to_bytes())
    with pytest.raises(LogCorrupted, match="another ledger"):
        audit.verify_ledger(auditor)


def test_a_statement_for_another_ledger_counts_nowhere(audited):
    """Otherwise what a party signed for one space could be shown to people in another."""
    _, developer, auditor = audited
    log = LogReference(origin="another/ledger", size=0, root="00" * 32)
    auditor.pin("Dev GmbH", developer.fingerprint)
    with pytest.raises(VerificationFailed, match="another ledger"):
        replay([misled(developer, log)], auditor.trust())


# -- nonsense


class Told(grpc.RpcError):
    """What a server sends beside a failed call."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def trailing_metadata(self):
        return (("trustspace-error-bin", self._content),)

    def code(self):
        return grpc.StatusCode.INTERNAL


def told(**changes) -> bytes:
    return json.dumps({"code": "unavailable", "message": "m", "fix": "", "details": {}, **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        told(message="{x:>400000000}", details={"x": "a"}),
        told(message="{x.__class__}", details={"x": "a"}),
        told(message="{x[0]}", details={"x": "a"}),
        told(message="{0}"),
        told(message="{missing}"),
        told(message="{", details={}),
        told(code="nobody-knows"),
        told(code=["unavailable"]),
        told(details={"message": "x"}),
        told(details={"self": "x"}),
        told(details={"x": ["a"]}),
        told(details=7),
        told(message=7),
        b"[]",
        b"[" * 16_000,
        b"\xff",
        b"9" * 10_000,
    ],
)
def test_a_servers_error_is_never_more_than_a_short_sentence(content):
    """Otherwise a server could fill its clients' memory, read it, or end their loops with another exception."""
    error = to_error(Told(content))
    assert isinstance(error, TrustspaceError)
    assert len(str(error)) < 1000


def test_a_servers_error_cannot_repaint_a_terminal():
    """Otherwise an error could overwrite what a person reads before they decide."""
    error = to_error(Told(told(message="\x1b[2J{x}\u202e", details={"x": "\r\x1b]0;"})))
    assert isinstance(error, Unavailable)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "failure", [KeyError("state"), TypeError("int"), VerificationFailed("no"), RecursionError()]
)
def test_no_failure_ends_a_loop(failure):
    """Otherwise one odd answer would end a broker, an enclave or a witness until somebody looks."""
    stop, calls = Impatient(3), []

    def attend() -> None:
        calls.append(1)
        raise failure

    link = SimpleNamespace(read=lambda *_: ([], 1))
    watch(SimpleNamespace(sync=lambda: SimpleNamespace(size=1), link=link), stop, attend)  # type: ignore[arg-type]
    assert len(calls) == 3


@pytest.mark.parametrize(
    "odd", [[{"statement": "x"}], [7], [None], [{"state": "granted", "statement": ["x"]}]]
)
def test_odd_list_entries_do_not_end_a_broker(world: World, monkeypatch, odd):
    """Otherwise one line in a list would stop every later release of this hospital."""
    hospital = world.party("Hospital A", "source-unit", reviewers=("Dr Li",))
    asked = []

    def view(*_):
        asked.append(1)
        return odd

    monkeypatch.setattr(hospital.session.link, "view", view)
    monkeypatch.setattr(hospital.session.link, "read", lambda *_: ([], 2))
    Broker(hospital).serve(Impatient(3))
    assert len(asked) == 3


def test_a_list_without_end_is_given_up(monkeypatch):
    """Otherwise a space could fill a client's memory page by page."""
    methods = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
    link = SpaceLink(SimpleNamespace(**dict.fromkeys(methods, lambda *_, **__: None)))  # type: ignore[arg-type]
    monkeypatch.setattr(links, "MAX_VIEW_BYTES", 1 << 20)
    pages = []

    def endless(request, timeout):
        pages.append(request.after)
        assert len(pages) < 100
        return space_pb2.ViewReply(json=b'["' + b"y" * (1 << 16) + b'"]', next=request.after + 1)

    link._stub.View = endless
    with pytest.raises(TrustspaceError):
        link.view("jobs")
    link._stub.View = lambda request, timeout: space_pb2.ViewReply(json=b"[]", next=request.after + 1)
    assert link.view("jobs") == []  # nor with pages that hold nothing
