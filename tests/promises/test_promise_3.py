"""Promise 3: no one sees one hospital's contribution.

Only protected updates leave an enclave; their sum is opened by the enclaves, never by the space, never over fewer
than the agreed minimum, and never over two different sets for the same round. Each attack is shown to work once the
defence that it meets is taken away. What else a space or a member may try in a round is in
tests/integration/test_round_attacks.py.
"""

import base64

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.enclaves import JOB, make_enclave, publish, write_job
from support.members import (
    Circle,
    Given,
    Space,
    WithoutMasks,
    WithoutPrivateMasks,
    added,
    failed,
    words_of,
)  # fmt: skip
from support.units import Consortium
from support.world import World, trio

from trustspace.aggregation.fixedpoint import FixedPoint
from trustspace.aggregation.masks import PairwiseMasks
from trustspace.client import jobs, releases, review
from trustspace.client.broker import Broker
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.shares import combine, decode_share, encode_share, split
from trustspace.domain.binding import artifact_context
from trustspace.domain.rounds import Reveal, read_message
from trustspace.enclave import rounds as member
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.journal import Journal
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.vectors import Update
from trustspace.errors import InvalidInput, InvalidTransition, PolicyRefused, VerificationFailed
from trustspace.transport.rounds import Exchanged

# -- what the space sees of a round

SIZE, CLIP = 120_000, 10.0
FIXED = FixedPoint(3, CLIP)
# A correlation of independent vectors of this length is above six standard errors once in half a billion times.
CHANCE = 6 / SIZE**0.5


def played(tmp_path, scheme):
    """One round over three updates: (what each encoded, what the space was sent of each, the sum as it has it)."""
    circle = Circle(tmp_path)
    made = {
        unit: Update(
            np.random.default_rng(n).normal(0, 0.01, SIZE).astype(np.float32),
            1,
            FIXED,
            CLIP,
            1.0,
            (1.0, 100.0),
        )
        for n, unit in enumerate(circle.units)
    }
    found = circle.play({
        unit: lambda unit=unit: circle.rounds(unit, scheme=scheme()).sum(1, "", lambda: made[unit])
        for unit in circle.units
    })  # fmt: skip
    assert not failed(found)
    encoded = [np.concatenate(list(made[unit].pieces())) for unit in circle.units]
    # Whatever the space shows and adds: that the enclaves opened the right sum is what everything rests on.
    assert all((one.words == added(encoded)).all() for one in found.values())
    sent = [words_of(circle.space.said("contribution", unit)[0].data) for unit in circle.units]
    return circle, encoded, sent, words_of(circle.space.sums[1, 1])


def correlation(one, other):
    return abs(float(np.corrcoef(one[:SIZE].view(np.int32), other[:SIZE].view(np.int32))[0, 1]))


def unevenness(words):
    """How far the words' bytes are from being evenly spread: chi-square of 255 degrees, in standard deviations."""
    counts = np.bincount(np.ascontiguousarray(words[:SIZE]).view(np.uint8), minlength=256)
    even = 4 * SIZE / 256
    return abs(float(((counts - even) ** 2 / even).sum()) - 255) / (2 * 255) ** 0.5


def test_what_the_space_is_sent_says_nothing_of_an_update(tmp_path):
    _, encoded, sent, total = played(tmp_path, PairwiseMasks)
    for words in (*sent, total):
        assert unevenness(words) < 8
        for update in (*encoded, added(encoded)):
            assert correlation(words, update) < CHANCE
            # Nor the sign of its numbers, nor their lowest bits.
            assert abs(np.mean((words ^ update)[:SIZE] >> 31) - 0.5) < 3 / SIZE**0.5
            assert abs(np.mean((words ^ update)[:SIZE] & 1) - 0.5) < 3 / SIZE**0.5
    # Two by two, what it was sent has nothing in common either.
    for one in range(3):
        for other in range(one):
            assert correlation(sent[one], sent[other]) < CHANCE
            assert correlation(sent[one] + sent[other], encoded[one] + encoded[other]) < CHANCE


def test_without_masks_it_is_the_update(tmp_path):
    _, encoded, sent, total = played(tmp_path, WithoutMasks)
    for words, update in zip(sent, encoded, strict=True):
        assert (words == update).all()
        assert unevenness(words) > 1000
        assert correlation(words, update) > 0.99
    assert (total == added(encoded)).all()


def test_without_private_masks_the_space_has_the_sum(tmp_path):
    """Pairwise masks alone hide each one's part and leave the sum bare before its members have agreed to it."""
    _, encoded, sent, total = played(tmp_path, WithoutPrivateMasks)
    assert (total == added(encoded)).all()
    for words, update in zip(sent, encoded, strict=True):
        assert correlation(words, update) < CHANCE


def test_no_seed_and_no_sum_is_in_what_the_space_relays(tmp_path, monkeypatch):
    """The seeds of private masks pass through the space, sealed to the members."""
    seeds = []
    reveal = Rounds._reveal

    def noted(rounds, group, *args):
        found = reveal(rounds, group, *args)
        seeds.extend(found[0].values())
        return found

    monkeypatch.setattr(Rounds, "_reveal", noted)
    circle, encoded, _, _ = played(tmp_path / "sealed", PairwiseMasks)
    everything = relayed(circle)
    assert len(set(seeds)) == 3
    for seed in seeds:
        assert seed not in everything
        assert seed.hex().encode() not in everything
    for words in (*encoded, added(encoded)):
        # Any few words of it in a row.
        assert not any(words[at : at + 4].tobytes() in everything for at in range(0, 2000, 4))
    # Control: were the seeds not sealed, they would be found, and with them the space would open the sum.
    monkeypatch.setattr(member, "seal", lambda shared, use, sender, receiver, content: content)
    monkeypatch.setattr(member, "unseal", lambda shared, use, sender, receiver, sealed: sealed)
    seeds.clear()
    circle, encoded, _, _ = played(tmp_path / "bare", PairwiseMasks)
    told = b"|".join(
        AESGCM(bytes.fromhex(key)).decrypt(bytes(12), base64.b64decode(reveal.content), None)
        for reveal in (said(heard, Reveal) for heard in circle.space.said("reveal"))
        for key in reveal.sealed.values()
    )
    assert seeds
    assert all(seed in told for seed in seeds)


def said(heard, kind):
    place = member.Place(
        job=heard.place.job, run=heard.place.run, round=heard.place.round, attempt=heard.place.attempt
    )
    return read_message(heard.envelope, kind, place)


def relayed(circle):
    """All bytes that members gave the space, envelopes also as what is in them."""
    from trustspace.crypto.statement import Envelope

    payloads = [Envelope.parse(h.envelope, 1 << 20).payload for h in circle.space.heard if h.envelope]
    return b"|".join([*payloads, *(h.envelope + h.data for h in circle.space.heard)])


def opened_with(protection, reveals, total):
    protection.unlock(range(3), reveals, total)
    return protection.open(0, total)


def test_the_sum_is_opened_with_every_members_seed(tmp_path):
    """All of them but one, and what stands there is noise: a member that does not reveal is not opened for."""
    circle = Circle(tmp_path)
    vectors = circle.vectors()
    opened = {}

    class Noting(Rounds):
        def _reveal(self, group, *args):
            found = super()._reveal(group, *args)
            opened.setdefault("seeds", found[0])
            opened.setdefault("group", group)
            opened["protect"] = group.protection
            seeds = dict(found[0])
            if group.own == 0:
                total = words_of(circle.space.sums[1, 1])
                opened["all"] = opened_with(group.protection, seeds, total)
                for missing in (1, 2):
                    with pytest.raises(VerificationFailed, match="all 3 members"):
                        opened_with(group.protection, {i: s for i, s in seeds.items() if i != missing}, total)
                    opened[missing] = opened_with(group.protection, {**seeds, missing: bytes(32)}, total)
            return found

    assert not failed(circle.sum(vectors, kind=Noting))
    right = added(list(vectors.values()))
    assert (opened["all"] == right).all()
    assert (opened[1] != right).mean() > 0.99
    assert (opened[2] != right).mean() > 0.99


# -- over how many


class Few(Space):
    """Closes the gathering with a victim and a hospital that is on the space's side, and calls that a set."""

    def __init__(self, path, offers, minimum):
        super().__init__(path, offers, minimum)
        self.main = self.make_board(dict(list(offers.items())[:2]), minimum=2)

    def gone(self, unit):
        self.main.end()


def alone_with(tmp_path, agreed):
    """(what became of the victim, whether its companion knows its vector)."""
    circle = Circle(tmp_path, 3, space=Few)
    victim, companion = circle.units[:2]
    vectors = circle.vectors()
    found = circle.play({
        victim: lambda: circle.rounds(victim, minimum=agreed).sum(1, "", lambda: Given(vectors[victim])),
        # The companion would agree to anything that the victim signs.
        companion: lambda: circle.rounds(companion, minimum=min(agreed, 2)).sum(
            1, "", lambda: Given(vectors[companion])
        ),
    })  # fmt: skip
    got = found[companion]
    knows = not isinstance(got, RoundFailed) and bool(
        (got.words - vectors[companion] == vectors[victim]).all()
    )
    return circle, found[victim], knows


def test_no_sum_over_fewer_than_agreed(tmp_path):
    circle, victim, knows = alone_with(tmp_path, agreed=3)
    assert isinstance(victim, RoundFailed)
    assert "fewer than agreed" in victim.log
    assert circle.space.said("agree", circle.units[0]) == []
    assert not knows


def test_with_a_minimum_of_two_the_other_one_knows(tmp_path):
    """The control, and the reason why grants must say so in words."""
    _, victim, knows = alone_with(tmp_path, agreed=2)
    assert not isinstance(victim, RoundFailed)
    assert knows


# -- over which sets


class Dropout(Space):
    """Claims, after all were heard in ``phase``, that the last member was lost; the first is on its side.

    What follows goes to a second board, of those that are left. The first board stays: its sum is there.
    """

    phase = ""

    def __init__(self, path, offers, minimum):
        super().__init__(path, offers, minimum)
        self.helper, *_, self.victim = sorted(offers)
        self.second = self.make_board({u: o for u, o in offers.items() if u != self.victim})

    def board(self, unit, place):
        return self.main if place.attempt == 1 else self.second

    def answered(self, unit, place, phase, found):
        if place.attempt > 1 or phase != self.phase or found.status != "complete":
            return found
        if unit == self.helper and phase == "reveal":
            return found
        if unit == self.victim:
            return Exchanged("ended", round=place.round, attempt=place.attempt)
        return Exchanged("aborted", missing=(self.victim,), round=place.round, attempt=place.attempt + 1)

    def gone(self, unit):
        # Only when an honest member refuses the second attempt does it come to nothing.
        if unit not in (self.victim, self.helper):
            self.second.end()


def four(tmp_path, phase):
    circle = Circle(tmp_path, 4, space=Dropout)
    circle.space.phase = phase
    return circle, circle.vectors()


@pytest.mark.parametrize("scheme", [PairwiseMasks, WithoutPrivateMasks])
def test_two_sums_of_one_round_by_a_claimed_dropout(tmp_path, scheme):
    """The space holds every contribution, then says that one came too late, and gets a sum without it."""
    circle, vectors = four(tmp_path, "contribution")
    found = circle.sum(vectors, scheme=scheme())
    helper, *others, victim = circle.units
    assert failed(found) == {victim: "stopped"}
    # Without the victim, the others' sum is a sum like any other.
    assert all(
        (found[u].words == added([vectors[v] for v in (helper, *others)])).all() for u in (helper, *others)
    )
    with_it, without = (words_of(circle.space.sums[1, attempt]) for attempt in (1, 2))
    # The helper gives the space all that it knows: the second attempt is opened.
    difference = with_it - (without if scheme is WithoutPrivateMasks else found[helper].words)
    if scheme is WithoutPrivateMasks:
        assert (difference == vectors[victim]).all()
    else:
        assert (difference != vectors[victim]).mean() > 0.99
        assert (with_it - without != vectors[victim]).mean() > 0.99
        # No mask of the first attempt was ever revealed.
        assert [h for h in circle.space.said("reveal") if h.place.attempt == 1] == []


class Careless(Rounds):
    """Goes on to another attempt after it has revealed, as if the first had never been."""

    def _reveal(self, *args):
        try:
            return super()._reveal(*args)
        except RoundFailed as failure:
            raise failure.__cause__ or failure from None


class Forgetful(Journal):
    """Remembers nothing that it revealed."""

    def check(self, place, units, **how):
        pass


def twice(tmp_path, kind, journal):
    """The attack with reveals: the helper opens the first sum honestly, and asks the others for a second one."""
    circle, vectors = four(tmp_path, "reveal")
    helper, *others, victim = circle.units
    acts = {
        unit: lambda unit=unit: circle.rounds(unit, kind, journal=journal(circle, unit)).sum(
            1, "", lambda: Given(vectors[unit])
        )
        for unit in (*others, victim)
    }

    def help_out():
        cheating = circle.rounds(helper, journal=Forgetful(circle.path / "none", "x"))
        first = cheating.sum(1, "", lambda: Given(vectors[helper])).words
        try:
            group = cheating._agree(1, 2, "")
            second = cheating._add(group, Given(vectors[helper]), 2, bytes(16)).words
        except RoundFailed:
            return first, None
        return first, second

    return circle, vectors, circle.play({**acts, helper: help_out})


def test_nobody_helps_to_a_second_sum_after_a_reveal(tmp_path):
    circle, vectors, found = twice(tmp_path, Rounds, Circle.journal)
    helper, *others, victim = circle.units
    assert [found[u].reason for u in others] == ["left-behind", "left-behind"]
    first, second = found[helper]
    # The helper is a member: the one sum is its to open. There is no other.
    assert (first == added(list(vectors.values()))).all()
    assert second is None


def test_the_journal_alone_stops_it_also_after_a_restart(tmp_path):
    """An enclave that comes back with an empty memory is asked for the second sum."""
    circle, vectors, found = twice(tmp_path, Careless, Circle.journal)
    assert found[circle.units[0]][1] is None
    others = circle.units[1:-1]
    # Whoever refuses first ends it for the other.
    assert any("revealed in round 1 already" in found[unit].log for unit in others)
    for unit in others:
        # Another process, and a space with another board: the file is what remembers.
        again = circle.rounds(unit)
        place = member.Place(job="a" * 64, run="c" * 64, round=1, attempt=1)
        with pytest.raises(RoundFailed, match="already"):
            again._journal.check(place, circle.units[:-1])


def test_with_both_defences_gone_two_sums_give_the_update_away(tmp_path):
    circle, vectors, found = twice(
        tmp_path, Careless, lambda circle, unit: Forgetful(circle.path / f"notes-{unit[-4:]}", "x")
    )
    first, second = found[circle.units[0]]
    assert second is not None
    assert (first - second == vectors[circle.units[-1]]).all()


# -- the frame that it rests on: the set of source units never shrinks


@pytest.fixture
def consortium():
    world = World()
    yield Consortium(world)
    world.close()


@pytest.fixture
def running(consortium):
    consortium.grant()
    consortium.offer()
    assert consortium.release_keys() == [1, 1, 1]
    return consortium


def test_no_source_unit_is_left_without_its_share(running):
    """None of them, and nothing opens with fewer of them than there are."""
    honest = running.pack()
    first = honest.artifacts[0]
    for left_out in range(3):
        fewer = tuple(u for n, u in enumerate(first.units) if n != left_out)
        forged = first.model_copy(update={"units": fewer, "unit_threshold": 2})
        with pytest.raises(PolicyRefused, match="without its share"):
            running.units[0].act(honest.model_copy(update={"artifacts": (forged, *honest.artifacts[1:])}))
    for threshold in (1, 2):
        forged = first.model_copy(update={"unit_threshold": threshold})
        with pytest.raises(PolicyRefused, match="fewer source units"):
            running.units[0].act(honest.model_copy(update={"artifacts": (forged, *honest.artifacts[1:])}))
    running.units[0].act(honest)
    running.hand_in(1, 2)
    assert running.world.state(running.job) == "in-review"


def test_the_threshold_of_units_is_in_the_key_itself(running):
    """Not a number that somebody reads: two units' shares are no key."""
    from support.cast import Cast

    from trustspace.enclave.packing import Content, pack_artifact

    cast = Cast().until("offer_all")
    run = cast.run()
    everybody = tuple(u.fingerprint for u in cast.units)
    artifact, blob = pack_artifact(
        b"s" * 32, run, Content("sum.json", "application/json", "result", b"{}", everybody)
    )
    assert artifact.unit_threshold == 3
    shares = []
    for unit, held in zip(cast.units, artifact.units, strict=True):
        opened = []
        for number, share in enumerate(held.shares[:2], 1):
            from trustspace.domain.binding import share_binding

            info = share_binding(job=run.job, run=run.run, artifact="sum.json", source_unit=unit.fingerprint,
                                 reviewer=share.reviewer)  # fmt: skip
            opened.append(
                decode_share(unit.keys.open(f"review-open-{number}", bytes.fromhex(share.sealed), info)[32:])
            )
        shares.append(decode_share(combine(opened, 2)))
    context = artifact_context(run.job, run.run, "sum.json")
    assert open_bytes(combine(shares, 3), context, blob.data)
    for pair in ((0, 1), (0, 2), (1, 2)):
        with pytest.raises(InvalidInput):
            combine([shares[n] for n in pair], 3)
        with pytest.raises(VerificationFailed):
            open_bytes(combine([shares[n] for n in pair], 2), context, blob.data)


def test_a_lone_share_says_nothing():
    """Every secret fits it equally well: for any other key there is a share that completes it."""
    secret, other = b"k" * 32, b"q" * 32
    one, two = split(secret, 2, 2)
    completing = bytes(a ^ b ^ c for a, b, c in zip(two.value, secret, other, strict=True))
    forged = decode_share(encode_share(type(two)(two.index, completing)))
    assert combine([one, two], 2) == secret
    assert combine([one, forged], 2) != secret


def test_it_waits_for_every_source_unit(consortium):
    """Two of three have granted, and even given keys of their own: nothing runs, no state says so."""
    for unit in consortium.units[:2]:
        jobs.grant(unit.home, consortium.job, threshold=2)
    assert [Broker(u.home).attend() for u in consortium.units] == [0, 0, 0]
    assert consortium.world.state(consortium.job) == "submitted"
    jobs.grant(consortium.units[2].home, consortium.job, threshold=2)
    consortium.offer()
    for unit in consortium.units[:2]:
        assert Broker(unit.home).attend() == 1
    with pytest.raises(Exception, match="granted"):
        consortium.units[0].act(consortium.pack())
    assert Broker(consortium.units[2].home).attend() == 1
    assert consortium.world.state(consortium.job) == "running"


def test_the_set_of_source_units_never_shrinks(running):
    """One withdraws its data after its key was opened: its consent is needed all the same."""
    from trustspace.domain.bodies import DatasetWithdrawn

    unit = running.units[2]
    unit.home.submit(DatasetWithdrawn(dataset=unit.dataset), "act")
    honest = running.pack()
    first = honest.artifacts[0]
    without = first.model_copy(update={"units": first.units[:2], "unit_threshold": 2})
    with pytest.raises(PolicyRefused, match="without its share"):
        running.units[0].act(honest.model_copy(update={"artifacts": (without, *honest.artifacts[1:])}))
    running.units[0].act(honest)
    running.hand_in(1, 2)
    for one in running.units[:2]:
        approve(running, one)
    assert running.world.state(running.job) == "in-review"


def approve(consortium, unit):
    """Two of a unit's people approve everything."""
    for person in unit.people[:2]:
        case = review.open_case(unit.home, consortium.job, person)
        review.approve(unit.home, case, comment="x", accept_red=True)


def test_who_is_dropped_on_purpose_keeps_its_veto():
    """A run goes on without one of four: what the others made is nobody's before the fourth has approved it, too."""
    world = World()
    try:
        four = Consortium(world, units=4, minimum=3)
        four.grant()
        four.offer()
        four.release_keys()
        four.fail(3)
        four.hand_in(0, 1, 2)
        for unit in four.units[:3]:
            approve(four, unit)
        assert world.state(four.job) == "in-review"
        with pytest.raises(InvalidTransition):
            releases.fetch(four.buyer, four.job)
        # Control: its approval was all that was missing.
        approve(four, four.units[3])
        assert world.state(four.job) == "released"
        assert releases.fetch(four.buyer, four.job)[0]
    finally:
        world.close()


def test_no_sum_is_made_of_two_without_the_words():
    """Two source units can compute each other's part; each of them must have said that it knows."""
    world = World()
    try:
        two = Consortium(world, units=2)
        for unit in two.units:
            with pytest.raises(PolicyRefused, match="two source units alone"):
                jobs.grant(unit.home, two.job, threshold=2)
        jobs.grant(two.units[0].home, two.job, threshold=2, small_sums=True)
        # One unit's words are not the other's.
        with pytest.raises(PolicyRefused, match="two source units alone"):
            jobs.grant(two.units[1].home, two.job, threshold=2)
        jobs.grant(two.units[1].home, two.job, threshold=2, small_sums=True)
        assert world.state(two.job) == "granted"
    finally:
        world.close()


def test_a_minimum_that_cannot_be_met_is_refused():
    world = World()
    try:
        hospital, developer, _ = trio(world)
        enclave = make_enclave(world, hospital)
        publish(hospital, world)
        with pytest.raises(InvalidInput, match="minimum_participants"):
            jobs.submit(developer, write_job(world, JOB + "\n[terms]\nminimum_participants = 3\n"))
        assert jobs.submit(developer, write_job(world, JOB))
        enclave.stop()
    finally:
        world.close()
