"""Keys put in others' places, and ledgers that are withheld or forked, under the rounds of a joint run.

Each attack is shown to work once the defence that it meets is taken away.
"""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.cast import Cast
from support.forge import ShownSpace
from support.members import Circle, Given, added, failed

from trustspace.crypto.keys import MemoryKeyStore
from trustspace.domain import replay as replay_rules
from trustspace.domain.records import GrantRecord, JobRecord, OfferRecord
from trustspace.domain.rounds import (
    read_message,
)
from trustspace.domain.statements import make, parse
from trustspace.enclave import meeting as member
from trustspace.enclave.meeting import Roster
from trustspace.errors import VerificationFailed
from trustspace.transport.links import Subject
from trustspace.transport.session import Session

# -- keys put in another's place


class Impostors(Circle):
    """All but the first member are played by the space, with keys of its own and the names of the others."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.honest = self.roster
        for unit in self.units[1:]:
            self.keys[unit] = Ed25519PrivateKey.generate()

    def attack(self, **changes):
        """The sum; and what the space knows then of the first member's vector."""
        vectors = self.vectors()
        victim, *others = self.units
        acts = {victim: lambda: self.rounds(victim, **changes).sum(1, "", lambda: Given(vectors[victim]))}
        # The impostors believe one another.
        among = Roster({u: (self.offers[u], self.public(u)) for u in self.units})
        for unit in others:
            acts[unit] = lambda unit=unit: self.rounds(unit, roster=lambda fresh: among).sum(
                1, "", lambda: Given(vectors[unit])
            )
        found = self.play(acts)
        mine = [
            found[u].words - added([vectors[o] for o in others]) for u in others if u not in failed(found)
        ]
        return found, bool(mine) and bool((mine[0] == vectors[victim]).all())


def test_a_space_that_plays_the_other_members_itself(tmp_path):
    """With ephemeral keys of its own for everybody else it would be the sum's only other member."""
    circle = Impostors(tmp_path)
    found, knows = circle.attack()
    assert failed(found)[circle.units[0]] == "disagreement"
    assert not knows
    assert circle.space.said("agree", circle.units[0]) == []


def test_without_signatures_it_knows_the_update(tmp_path, monkeypatch):
    monkeypatch.setattr(
        member, "open_message", lambda envelope, kind, place, key: read_message(envelope, kind, place)
    )
    monkeypatch.setattr(member, "verify_same", lambda envelope, message, key: None)
    found, knows = Impostors(tmp_path).attack()
    assert not failed(found)
    assert knows


@pytest.mark.parametrize("how", ["another offer", "another unit"])
def test_a_run_offer_that_is_not_in_the_ledger(tmp_path, how):
    """The run key that a member's join stands for is the one that its source unit released its data key to."""
    circle = Impostors(tmp_path)
    if how == "another offer":
        circle.offers = {u: o if u == circle.units[0] else "f" * 64 for u, o in circle.offers.items()}
    else:
        known = circle.units[0]
        circle.honest = Roster({known: circle.honest.offers[known]})
    looked = []

    def roster(fresh):
        looked.append(fresh)
        return circle.honest

    found, knows = circle.attack(roster=roster)
    assert failed(found)[circle.units[0]] == "disagreement"
    assert "without a run offer" in found[circle.units[0]].log
    assert not knows
    # It looked again, in case the ledger had grown: then the offer counts.
    assert looked == [False, True]


def test_who_believes_offers_that_are_not_in_the_ledger_is_known(tmp_path):
    circle = Impostors(tmp_path)
    believed = Roster({u: (circle.offers[u], circle.public(u)) for u in circle.units})
    found, knows = circle.attack(roster=lambda fresh: believed)
    assert not failed(found)
    assert knows


def substituted(cast, what):
    """A statement of the cast's story with a key of the space's in it: (whose, the original, the changed body)."""
    unit, mine = cast.units[1], MemoryKeyStore()
    if what == "run key":
        body = cast.offer(unit).body.model_copy(update={"run_key": mine.create_opening_key("run").hex()})
        return cast.offer(unit).statement, body, mine.create_signing_key("space"), mine
    if what == "reviewer key":
        grant = cast.grant(unit)
        first = grant.body.reviewers[0].model_copy(update={"review_open": mine.create_opening_key("r").hex()})
        body = grant.body.model_copy(update={"reviewers": (first, *grant.body.reviewers[1:])})
        return grant.statement, body, mine.create_signing_key("space"), mine
    body = cast.job.body.model_copy(update={"buyer_key": mine.create_opening_key("b").hex()})
    return cast.job.statement, body, mine.create_signing_key("space"), mine


@pytest.mark.parametrize("signed", ["by the space", "by nobody"])
@pytest.mark.parametrize("what", ["run key", "reviewer key", "buyer key"])
def test_a_key_put_into_somebodys_statement(tmp_path, monkeypatch, what, signed):
    """What an enclave seals to, it takes from statements that it has replayed with every signature."""
    cast = Cast().until("offer_all")
    original, body, public, keys = substituted(cast, what)
    at = next(n for n, s in enumerate(cast.statements) if s.digest == original)
    genuine = cast.statements[at]
    forged = make(
        body, by=genuine.by, issued=genuine.issued, nonce=bytes(32), log=genuine.log, public=public,
        sign=lambda message: keys.sign("space", message),
    )  # fmt: skip
    if signed == "by nobody":
        # The hospital's own signature, over other bytes.
        envelope = dataclasses.replace(genuine.envelope, payload=forged.envelope.payload)
        forged = parse(envelope.to_bytes())
    # Nothing after it: whatever else refers to the statement's digest would give it away as well.
    shown = [*cast.statements[:at], forged]
    space = ShownSpace(cast, shown)
    session = Session(space, cast.trust, cast.units[0].fingerprint, tmp_path / "seen.json", lambda: cast.now)
    with pytest.raises(VerificationFailed):
        session.dossier(Subject("job", cast.job.statement))
    # Controls: the genuine statement in its place is believed; so is the forged one where nobody looks who signed.
    space.shown = [*cast.statements[:at], genuine]
    (tmp_path / "seen.json").unlink(missing_ok=True)
    assert session.dossier(Subject("job", cast.job.statement)).statements[-1].digest == original
    (tmp_path / "seen.json").unlink()
    space.shown, apply = shown, replay_rules.apply

    def believing(view, statement, now):
        if statement.digest != forged.digest:
            return apply(view, statement, now)
        found = apply(view, genuine, now)
        return tuple(
            r.model_copy(update={"body": body}) if getattr(r, "body", None) == genuine.body else r
            for r in found
        )

    monkeypatch.setattr(replay_rules, "apply", believing)
    seen = session.dossier(Subject("job", cast.job.statement)).view
    kind = {"run key": OfferRecord, "reviewer key": GrantRecord, "buyer key": JobRecord}[what]
    assert body in [record.body for record in seen.all(kind)]


# -- ledgers that are withheld or forked


def ledgers(tmp_path, cast, *shown):
    """A session for each member, and what the space shows it."""
    spaces = [ShownSpace(cast, list(statements)) for statements in shown]
    sessions = []
    for number, (unit, space) in enumerate(zip(cast.units, spaces, strict=True)):
        path = tmp_path / f"seen-{number}.json"
        sessions.append(Session(space, cast.trust, unit.fingerprint, path, lambda: cast.now))
        sessions[-1].sync()
    return spaces, sessions


def sum_with(circle, sessions, number=0, **changes):
    vectors = circle.vectors()
    acts = {}
    for unit, session in zip(circle.units, sessions, strict=True):
        told = {"log": session.accepted, "compare": session.compare, **changes}
        acts[unit] = lambda unit=unit, told=told: circle.rounds(unit, **told).sum(
            number, "", lambda: Given(vectors[unit])
        )
    return circle.play(acts)


def forked(cast, after):
    other = cast.sign(cast.other_developer, "act", cast.job_body(title="another story"))
    return [*cast.statements[:after], other, *cast.statements[after + 1 :]]


# Round 3: as one that has restarted joins, who was in no round 0 of this run.
@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("how", ["forked", "withheld"])
def test_enclaves_that_are_shown_different_ledgers_notice(tmp_path, how, number):
    cast = Cast().until("offer_all")
    whole, count = cast.statements, len(cast.statements)
    lie = forked(cast, count - 2) if how == "forked" else whole[: count - 2]
    _, sessions = ledgers(tmp_path, cast, whole, whole, lie)
    circle = Circle(tmp_path)
    found = sum_with(circle, sessions, number)
    assert "disagreement" in failed(found).values()
    assert circle.space.said("contribution") == []


def test_a_ledger_that_is_only_behind_catches_up(tmp_path):
    """No lie: the space shows more as soon as it is asked to prove that what the others saw is the same."""
    cast = Cast().until("offer_all")
    whole = cast.statements
    spaces, sessions = ledgers(tmp_path, cast, whole, whole, whole[:-2])
    spaces[2].shown = list(whole)
    assert not failed(sum_with(Circle(tmp_path), sessions))
    assert sessions[2].accepted() == sessions[0].accepted()


@pytest.mark.parametrize("how", ["forked", "withheld"])
def test_without_comparing_ledgers_nobody_notices(tmp_path, how):
    cast = Cast().until("offer_all")
    whole, count = cast.statements, len(cast.statements)
    lie = forked(cast, count - 2) if how == "forked" else whole[: count - 2]
    _, sessions = ledgers(tmp_path, cast, whole, whole, lie)
    assert not failed(sum_with(Circle(tmp_path), sessions, compare=lambda log: None))
