"""What a client believes of a space that lies: nothing that contradicts what it saw before.

Every lie has a positive control: a client without a memory would have believed it.
"""

import json
import multiprocessing
import os
import threading

import pytest
from support.cast import Actor, Cast, digest
from support.forge import ShownSpace

from trustspace.domain.bodies import Refusal
from trustspace.errors import (
    InvalidInput,
    LogCorrupted,
    NotFound,
    PermissionDenied,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.ledger.cosign import add_cosignature, cosign
from trustspace.ledger.note import KeyKind, NoteKey
from trustspace.transport.links import Subject
from trustspace.transport.session import Session

STORY = Cast(units=1, reviewers=1, threshold=1).until("release")
JOB = Subject("job", STORY.job.statement)


def session(tmp_path, space: ShownSpace, name: str = "ledger", trust=None, clock=None) -> Session:
    pinned = trust or space.cast.trust()
    unit = space.cast.units[0]
    return Session(
        space, lambda: pinned, unit.fingerprint, tmp_path / f"{name}.json", clock or (lambda: space.cast.now)
    )


def forgetful(tmp_path, space: ShownSpace) -> Session:
    """The same client without what it remembers: the positive control."""
    return session(tmp_path, space, name=f"forgetful-{os.urandom(4).hex()}")


def fork_of(cast: Cast, after: int) -> list:
    """The same statements up to a point, and then another story, signed by the ledger as well."""
    count = len(cast.statements) - after + 3
    other = [cast.sign(cast.other_developer, "act", cast.job_body(title=f"other {n}")) for n in range(count)]
    return [*cast.statements[:after], *other]


def test_an_honest_space_is_believed_as_it_grows(tmp_path):
    cast = Cast(units=1, reviewers=1, threshold=1).until("describe")
    space = ShownSpace(cast)
    client = session(tmp_path, space)
    for step in Cast.STEPS[2:]:
        getattr(cast, step)()
        space.shown = list(cast.statements)
        assert client.sync().size == len(cast.statements)
        found = client.dossier(Subject("job", cast.job.statement))
        assert found.job(cast.job.statement) == cast.job
    # And by the same client after a restart.
    assert session(tmp_path, space).sync() == client.sync()


@pytest.mark.parametrize("shown", [0, 1, len(STORY.statements) - 1])
def test_a_ledger_that_shrinks_is_refused(tmp_path, shown):
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    client.sync()
    space.shown = STORY.statements[:shown]
    with pytest.raises(LogCorrupted, match="shorter"):
        client.sync()
    assert forgetful(tmp_path, space).sync().size == shown


@pytest.mark.parametrize("after", [1, 5, len(STORY.statements) - 1])
@pytest.mark.parametrize("how", ["sync", "prove", "submit"])
def test_a_ledger_that_forks_is_refused(tmp_path, after, how):
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    client.sync()
    space.shown = fork_of(STORY, after)

    def use(one: Session):
        if how == "sync":
            return one.sync()
        if how == "prove":
            space.selects = lambda shown: shown[:after]
            return one.dossier(JOB)
        unit = STORY.units[0]
        return one.submit(
            Refusal(job=digest("job")), public=unit.root, sign=lambda m: unit.keys.sign("root", m)
        )

    with pytest.raises(LogCorrupted, match="forked"):
        use(client)
    assert use(forgetful(tmp_path, space))


def test_two_ledgers_of_one_size_are_a_fork(tmp_path):
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    size = client.sync().size
    space.shown = fork_of(STORY, size - 9)[:size]
    with pytest.raises(LogCorrupted):
        client.sync()
    assert forgetful(tmp_path, space).sync().size == size


def test_a_ledger_that_equivocates_is_found_out_when_it_comes_back(tmp_path):
    """Fork A, then B, then A again: B is refused, and A still stands."""
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    log = client.sync()
    space.shown = fork_of(STORY, 4)
    with pytest.raises(LogCorrupted):
        client.sync()
    space.shown = list(STORY.statements)
    assert client.sync() == log


def test_a_space_that_answers_two_calls_with_two_ledgers(tmp_path):
    """The lie need not last: a statement proven in one ledger and a checkpoint of another."""
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    client.sync()
    other = ShownSpace(STORY, fork_of(STORY, 6))
    client.link = other
    with pytest.raises(LogCorrupted):
        client.dossier(JOB)
    client.link = space
    assert client.dossier(JOB)


def test_a_checkpoint_by_another_key_or_of_another_log(tmp_path):
    space, stranger = ShownSpace(STORY), ShownSpace(Cast(units=1))
    stranger.shown = space.shown
    client = session(tmp_path, space)
    client.link = stranger
    with pytest.raises(VerificationFailed):
        client.sync()


@pytest.mark.parametrize("damage", ["omitted", "alien", "moved"])
def test_a_statement_that_is_not_proven_is_not_believed(tmp_path, damage):
    space = ShownSpace(STORY)
    honest = space.prove

    def prove(what, known_size=0, **_):
        proof = honest(what, known_size)
        entries = list(proof.entries)
        alien = STORY.sign(STORY.developer, "act", STORY.job_body()).envelope.to_bytes()
        last = entries[-1]
        entries[-1] = {
            "omitted": type(last)(last.index, last.envelope, last.inclusion[:-1]),
            "alien": type(last)(last.index, alien, last.inclusion),
            "moved": type(last)(last.index - 1, last.envelope, last.inclusion),
        }[damage]
        return type(proof)(tuple(entries), proof.checkpoint, proof.consistency)

    client = session(tmp_path, space)
    assert client.dossier(JOB)
    space.prove = prove
    with pytest.raises((LogCorrupted, VerificationFailed)):
        client.dossier(JOB)


def test_statements_are_judged_in_the_ledgers_order(tmp_path):
    """A reviewer's key is revoked, then misused. Shown in another order, the decision would have come in time."""
    cast = Cast(units=1, reviewers=1, threshold=1).until("hand_in")
    unit = cast.units[0]
    fewer = tuple(k for k in unit.body.keys if k.use != "review")
    decision = cast.sign(unit, "review-1", cast.decision_body(unit, 1))
    revoked = cast.sign(unit, "root", unit.body.model_copy(update={"sequence": 2, "keys": fewer}))
    space = ShownSpace(cast, [*cast.statements, revoked, decision])
    with pytest.raises(VerificationFailed):
        session(tmp_path, space, "honest").dossier(JOB)
    space.selects = lambda shown: [*shown[:-2], shown[-1], shown[-2]]
    with pytest.raises((LogCorrupted, VerificationFailed), match="order"):
        session(tmp_path, space, "reordered").dossier(JOB)
    # The control: had the revocation come later in the ledger, the decision would stand.
    late = ShownSpace(cast, [*cast.statements, decision, revoked])
    view = session(tmp_path, late, "control").dossier(Subject("job", cast.job.statement)).view
    assert view.get(type(cast.job), cast.job.statement).state == "approved"


def test_a_statement_shown_twice_is_refused(tmp_path):
    space = ShownSpace(STORY)
    space.selects = lambda shown: [shown[0], *shown]
    with pytest.raises(TrustspaceError):
        session(tmp_path, space).dossier(JOB)


def test_an_older_description_of_a_party_is_refused(tmp_path):
    """Hiding a newer description would bring revoked keys back to life."""
    cast = Cast(units=1, reviewers=1, threshold=1).until("describe")
    buyer = cast.buyer
    cast.put(cast.sign(buyer, "root", buyer.body.model_copy(update={"sequence": 2})))
    space = ShownSpace(cast)
    client = session(tmp_path, space)
    assert client.party_body(buyer.fingerprint).sequence == 2
    space.selects = lambda shown: shown[:-1]
    with pytest.raises(LogCorrupted, match="older description"):
        client.party_body(buyer.fingerprint)
    assert forgetful(tmp_path, space).party_body(buyer.fingerprint).sequence == 1


def test_a_party_that_is_not_pinned_is_not_described(tmp_path):
    space = ShownSpace(STORY)
    with pytest.raises(VerificationFailed, match="trust file"):
        session(tmp_path, space).party_body(digest("nobody"))


def test_what_is_not_shown_is_not_there(tmp_path):
    space = ShownSpace(STORY)
    space.selects = lambda shown: shown[:3]
    client = session(tmp_path, space)
    with pytest.raises(NotFound):
        client.job(STORY.job.statement)
    with pytest.raises(NotFound):
        client.dataset(STORY.dataset(STORY.units[0]).statement)
    with pytest.raises(NotFound):
        client.dossier(JOB).statement(digest("none"))


def test_somebody_may_be_trusted_for_one_question_only(tmp_path):
    """What a caller's own widening adds is not remembered."""
    trust = STORY.trust()
    alone = trust.model_copy(update={"parties": tuple(p for p in trust.parties if p.name == "Hospital A")})
    space = ShownSpace(STORY)
    client = session(tmp_path, space, trust=alone)
    assert client.dossier(JOB, lambda _: trust).job(STORY.job.statement)
    with pytest.raises(VerificationFailed):
        client.dossier(JOB)


def test_what_one_signs_names_what_one_has_verified(tmp_path):
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    unit = STORY.units[0]
    signed = client.sign(Refusal(job=digest("j")), public=unit.root, sign=lambda m: unit.keys.sign("root", m))
    assert signed.log == client.sync()
    assert (signed.issued, signed.by) == (STORY.now, unit.fingerprint)
    assert space.asked == 2, "known already, it is not asked for again to sign"


def test_a_receipt_without_the_statement_is_not_one(tmp_path):
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    unit = STORY.units[0]
    space.submit = lambda envelope, known_size=0: ShownSpace.submit(
        space, STORY.sign(unit, "grant", STORY.refusal_body()).envelope.to_bytes(), known_size
    )
    with pytest.raises(LogCorrupted, match="does not prove"):
        client.submit(Refusal(job=digest("j")), public=unit.root, sign=lambda m: unit.keys.sign("root", m))


# -- what it remembers


def test_a_damaged_memory_is_said_and_not_replaced(tmp_path):
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    client.sync()
    (tmp_path / "ledger.json").write_text("{")
    with pytest.raises(LogCorrupted, match="damaged"):
        client.sync()
    assert (tmp_path / "ledger.json").read_text() == "{"


def test_a_refused_answer_is_not_remembered(tmp_path):
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    client.sync()
    before = (tmp_path / "ledger.json").read_bytes()
    space.shown = fork_of(STORY, 3)
    for _ in range(2):
        with pytest.raises(LogCorrupted):
            client.sync()
    assert (tmp_path / "ledger.json").read_bytes() == before
    assert json.loads(before)["size"] == len(STORY.statements)


def _look(tmp_path, numbers, go, results):
    space = ShownSpace(STORY)
    client = session(tmp_path, space)
    go.wait()
    for number in numbers:
        space.shown = STORY.statements[:number]
        try:
            client.sync()
            results.append(number)
        except LogCorrupted:
            results.append(-number)


def test_two_users_of_one_memory_never_go_back(tmp_path):
    """What one has seen, the other knows: in every order, the remembered ledger only grows."""
    go, results = threading.Barrier(2), [[], []]
    size = len(STORY.statements)
    threads = [
        threading.Thread(target=_look, args=(tmp_path, list(range(start, size, 2)), go, results[start]))
        for start in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    grown = json.loads((tmp_path / "ledger.json").read_bytes())["size"]
    assert grown == max(n for one in results for n in one if n >= 0) == size - 1


def _hold(path, ready, leave):
    space = ShownSpace(Cast(units=1).until("enrol"))
    client = session(path, space)
    with client._locked():
        ready.set()
        leave.wait(20)


def test_the_memory_is_locked_across_processes(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, leave))
    other.start()
    try:
        assert ready.wait(20)
        done = threading.Event()
        space = ShownSpace(STORY)
        waiting = threading.Thread(target=lambda: (session(tmp_path, space).sync(), done.set()), daemon=True)
        waiting.start()
        assert not done.wait(0.3), "the other process holds it"
        leave.set()
        assert done.wait(20)
    finally:
        leave.set()
        other.join(20)
        other.kill()


# -- witnesses


def witness_of(cast: Cast) -> tuple[Actor, str]:
    witness = Actor("Witness", "auditor")
    return witness, NoteKey("witness/w", witness.root, KeyKind.COSIGNATURE).encode()


def cosigned(note: str, witness: Actor) -> str:
    return add_cosignature(
        note, cosign(note, "witness/w", witness.root, lambda m: witness.keys.sign("root", m), 9)
    )


def test_a_job_as_its_witnesses_have_seen_it(tmp_path):
    witness, vkey = witness_of(STORY)
    space = ShownSpace(STORY)
    client = session(tmp_path, space, trust=STORY.trust().with_witness(vkey, 1))
    client.sync()
    space.cosigned_shown = STORY.statements
    space.cosigned_note = space.note(space.tree())
    with pytest.raises(VerificationFailed, match="cosigned by 0"):
        client.cosigned_job(STORY.job.statement)
    space.cosigned_note = cosigned(space.cosigned_note, witness)
    assert client.cosigned_job(STORY.job.statement).job(STORY.job.statement) == STORY.job
    # An older one, which the ledger has outgrown, does as well.
    space.cosigned_shown = STORY.statements[:-1]
    space.cosigned_note = cosigned(space.note(space.tree(STORY.statements[:-1])), witness)
    assert client.cosigned_job(STORY.job.statement).job(STORY.job.statement).state == "approved"


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_cosigned_ledger_that_is_not_ours_is_a_fork(tmp_path, ahead):
    """The witness was shown one ledger and this client another: the client must notice, not take either."""
    witness, vkey = witness_of(STORY)
    trust = STORY.trust().with_witness(vkey, 1)
    theirs = STORY.statements
    ours = fork_of(STORY, len(theirs) - 1)[: len(theirs) + ahead]
    space = ShownSpace(STORY, ours)
    client = session(tmp_path, space, trust=trust)
    client.sync()
    space.cosigned_shown, space.cosigned_note = theirs, cosigned(space.note(space.tree(theirs)), witness)
    honest = space.checkpoint

    def two_faced(known_size):
        if known_size == len(theirs):
            return space.note(space.tree(theirs)), ()
        return honest(known_size)

    space.checkpoint = two_faced
    # Of one size the fork is plain; otherwise the space never shows the proof that would join them.
    with pytest.raises(Unavailable if ahead else LogCorrupted):
        client.cosigned_job(STORY.job.statement)
    assert session(tmp_path, ShownSpace(STORY, theirs), name="control", trust=trust).sync().size == len(
        theirs
    )


def test_errors_of_the_space_come_through(tmp_path):
    space = ShownSpace(STORY)

    def refuse(*_, **__):
        raise PermissionDenied("There is no such job, or it is not yours to see.")

    space.prove = refuse
    with pytest.raises(PermissionDenied):
        session(tmp_path, space).job(digest("job"))
    with pytest.raises(InvalidInput):
        session(tmp_path, space).sign(
            Refusal(job=digest("j")),
            public=STORY.units[0].root,
            sign=lambda m: STORY.units[0].keys.sign("act", m),
        )
