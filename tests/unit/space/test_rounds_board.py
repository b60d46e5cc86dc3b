"""A board: everybody is told the same, nobody waits for ever, and nothing is added but what an attempt holds."""

import itertools
import random

import pytest
from space_rounds import LARGE, Table, added, message, pieces, together, vector

from trustspace.errors import AlreadyExists, InvalidInput, InvalidTransition, PermissionDenied, Stale
from trustspace.space.rounds import MAX_ENVELOPE_BYTES, MAX_VECTOR_BYTES, Board, LocalRounds
from trustspace.transport.rounds import INLINE_BYTES, PHASES, Exchanged, Place


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path)


def place(spot):
    return spot.round, spot.attempt


# -- a whole round


def test_a_round_from_the_first_join_to_the_last_reveal(table):
    for phase in PHASES:
        for told in table.all_say(phase):
            assert told.status == "complete"
            assert place(told) == (0, 1)
            if phase != "check":
                assert told.envelopes == tuple(message(u, phase) for u in "abcd")
            assert told.data == (added("abcd") if phase == "contribution" else b"")
    table.round((1, 1))


@pytest.mark.parametrize("order", list(itertools.permutations("abcd"))[::5])
def test_whoever_comes_first_everybody_gets_the_same_sorted_set(table, order):
    for unit in order:
        table.say(unit, "join")
    answers = {table.ask(unit, "join").envelopes for unit in order}
    assert answers == {tuple(message(u, "join") for u in "abcd")}


def test_one_check_is_enough_and_the_first_one_stays(table):
    table.until("check")
    assert table.say("c", "check").envelopes == (message("c", "check"),)
    assert table.say("a", "check").envelopes == (message("c", "check"),)
    assert table.ask("b", "check").envelopes == (message("c", "check"),)


def test_the_completed_round_is_told_until_the_next_is_under_way(table):
    """Who was slow to hear of the last reveal must not lose the round for that."""
    table.round((0, 1))
    table.say("a", "join", (1, 1))
    assert table.ask("b", "reveal").envelopes == tuple(message(u, "reveal") for u in "abcd")
    assert table.ask("b", "contribution").data == added("abcd")
    table.until("agree", (1, 1))
    assert table.ask("b", "reveal").status == "complete"


# -- posting twice, posting what is wrong


@pytest.mark.parametrize("phase", [p for p in PHASES if p != "check"])
def test_the_same_again_is_harmless_and_anything_else_is_refused(table, phase):
    table.until(phase)
    data = vector("a") if phase == "contribution" else b""
    for _ in range(2):
        assert table.say("a", phase, data=data).status == "waiting"
    with pytest.raises(AlreadyExists):
        table.say("a", phase, data=data, envelope=b"another")
    if phase == "contribution":
        with pytest.raises(AlreadyExists):
            table.say("a", phase, data=vector("b"))
    table.all_say(phase)
    assert table.say("a", phase, data=data).status == "complete"
    with pytest.raises(AlreadyExists):
        table.say("a", phase, data=data, envelope=b"another")
    assert table.ask("b", phase).envelopes == tuple(message(u, phase) for u in "abcd")


@pytest.mark.parametrize("phase", PHASES[1:])
def test_no_phase_is_skipped(table, phase):
    before = PHASES[PHASES.index(phase) - 1]
    table.until(before)
    if before != "check":  # of which one is enough
        table.say("a", before, data=vector("a") if before == "contribution" else b"")
    with pytest.raises(InvalidTransition):
        table.say("a", phase, data=vector("a") if phase == "contribution" else b"")


def test_vectors_of_a_wrong_size(table):
    table.until("contribution")
    table.say("a", "contribution", data=vector("a"))
    for data in (vector("b")[:-4], vector("b") + b"1234", b"123", bytes(INLINE_BYTES + 4), b""):
        with pytest.raises(InvalidInput):
            table.say("b", "contribution", data=data)
    with pytest.raises(InvalidInput):
        table.board.contribute("b", (0, 1), b"m", 44, [bytes(44)])
    for total in (0, 3, MAX_VECTOR_BYTES + 4, 2**63):
        with pytest.raises(InvalidInput):
            table.board.contribute("b", (0, 1), b"m", total, [])
    assert table.say("b", "contribution", data=vector("b")).missing == ("c", "d")


def test_messages_that_are_none(table):
    with pytest.raises(InvalidInput):
        table.say("a", "join", envelope=bytes(MAX_ENVELOPE_BYTES + 1))
    with pytest.raises(InvalidInput):
        table.say("a", "join", (0, 0))
    with pytest.raises(InvalidInput):
        table.say("a", "join", data=bytes(4))
    with pytest.raises(InvalidInput):
        table.board.exchange("a", (0, 1), "contribution", b"", bytes(4))
    assert table.ask("a", "join").missing == ()


# -- somebody is late, or does not come


def test_the_gathering_waits_for_everybody_but_not_for_ever(table):
    for unit in "abc":
        assert table.say(unit, "join").status == "waiting"
    table.pass_time(table.wait - 1)
    assert table.ask("a", "join").missing == ("d",)
    table.pass_time(1)
    for unit in "abc":
        told = table.ask(unit, "join")
        assert (told.status, told.missing) == ("complete", ("d",))
        assert told.envelopes == tuple(message(u, "join") for u in "abc")


def test_a_closed_gathering_stays_closed(table):
    for unit in "abc":
        table.say(unit, "join")
    table.pass_time(table.wait)
    before = table.ask("a", "join")
    late = table.say("d", "join")
    assert (late.status, place(late)) == ("stale", (1, 1))
    assert table.say("a", "join") == table.ask("b", "join") == before
    for phase in PHASES[1:]:
        assert table.ask("d", phase).status == "stale"
        table.all_say(phase, units="abc")
    # It comes back in the next round; nobody waits for it there unless it is there.
    table.until("agree", (1, 1), "abc")


def test_who_was_late_is_in_the_next_round_if_it_waits_for_that(table):
    for unit in "abc":
        table.say(unit, "join")
    table.pass_time(table.wait)
    assert table.say("d", "join", (1, 1)).status == "waiting"
    for phase in PHASES[1:]:
        table.all_say(phase, units="abc")
    assert {t.status for t in table.all_say("join", (1, 1), "abc")} == {"complete"}
    assert len(table.ask("d", "join", (1, 1)).envelopes) == 4


def test_who_waits_for_the_next_round_is_sent_to_the_attempt_that_comes_instead(table):
    for unit in "abc":
        table.say(unit, "join")
    table.pass_time(table.wait)
    table.say("d", "join", (1, 1))
    table.say("a", "agree")
    table.say("b", "agree")
    table.pass_time(table.wait)
    told = table.ask("d", "join", (1, 1))
    assert (told.status, place(told)) == ("stale", (0, 2))
    assert table.say("d", "join", (0, 2)).status == "waiting"
    # Two are left who were not lost, fewer than agreed: now everybody is waited for, and not for ever.
    assert {t.missing for t in table.all_say("join", (0, 2), "abd")} == {("c",)}
    table.pass_time(table.wait)
    assert {len(table.ask(unit, "join", (0, 2)).envelopes) for unit in "abd"} == {3}


def test_too_few_members_are_the_end(table):
    table.say("a", "join")
    table.say("b", "join")
    table.pass_time(table.wait)
    for unit in "abcd":
        told = table.say(unit, "join")
        assert (told.status, told.missing) == ("failed", ("c", "d"))
    assert table.say("c", "join", (0, 2)).status == "failed"


@pytest.mark.parametrize("phase", ["agree", "contribution"])
def test_who_is_lost_before_a_reveal_costs_the_attempt_and_no_more(table, phase):
    table.until(phase)
    for unit in "abc":
        table.say(unit, phase, data=vector(unit) if phase == "contribution" else b"")
    table.pass_time(table.wait - 1)
    assert table.ask("a", phase).status == "waiting"
    table.pass_time(1)
    for unit in "abcd":
        told = table.ask(unit, phase)
        assert (told.status, told.missing, place(told)) == ("aborted", ("d",), (0, 2))
    # Nobody waits for the lost one any more.
    table.round((0, 2), "abc")
    assert table.say("d", "join", (0, 2)).status == "stale"


def test_nobody_checks(table):
    table.until("check")
    table.pass_time(table.wait)
    assert table.ask("a", "check").status == "aborted"
    table.round((0, 2))


def test_nobody_is_waited_for_while_everybody_trains(table):
    table.until("contribution")
    table.pass_time(100 * table.wait)
    assert table.ask("a", "contribution").status == "waiting"
    table.say("a", "contribution", data=vector("a"))
    table.pass_time(table.wait)
    told = table.ask("a", "contribution")
    assert (told.status, told.missing) == ("aborted", ("b", "c", "d"))


def test_who_is_lost_after_a_reveal_costs_the_run(table):
    table.until("reveal")
    table.say("a", "reveal")
    table.pass_time(table.wait)
    for unit in "abcd":
        told = table.ask(unit, "reveal")
        assert (told.status, told.missing) == ("failed", ("b", "c", "d"))
    assert table.say("b", "join", (0, 2)).status == "failed"
    # The promise: once a mask was handed out, no other sum of this round comes about.
    assert table.say("b", "reveal").status == "failed"


def test_nobody_reveals(table):
    table.until("reveal")
    table.pass_time(table.wait)
    assert table.ask("a", "reveal").status == "aborted"
    table.round((0, 2))


def test_a_member_that_has_given_up_is_not_waited_for(table):
    table.until("contribution")
    table.say("a", "contribution", data=vector("a"))
    assert table.say("b", "join", (0, 2)).status == "waiting"
    told = table.ask("a", "contribution")
    assert (told.status, told.missing, place(told)) == ("aborted", ("b",), (0, 2))
    table.round((0, 2))


def test_large_vectors_are_given_time_for_their_size(table):
    table.until("contribution")
    size = 64 << 20
    table.board.contribute("a", (0, 1), message("a", "contribution"), size, [bytes(1 << 20)] * 64)
    table.pass_time(table.wait + 15)
    assert table.ask("a", "contribution").status == "waiting"
    table.pass_time(2)
    assert table.ask("a", "contribution").status == "aborted"


# -- the run's own end, and members who leave it


def test_a_unit_whose_run_has_ended_is_not_waited_for(table):
    table.until("contribution")
    table.board.stand(dict.fromkeys("abc", "1"))
    told = table.ask("a", "contribution")
    assert (told.status, told.missing) == ("aborted", ("d",))
    table.round((0, 2), "abc")
    table.round((1, 1), "abc")


def test_leaving_during_the_gathering(table):
    for unit in "abd":
        table.say(unit, "join")
    table.board.stand(dict.fromkeys("abc", "1"))
    assert table.ask("a", "join").status == "waiting"
    assert table.say("c", "join").envelopes == tuple(message(u, "join") for u in "abc")


def test_an_enclave_that_comes_back_with_another_offer(table):
    """Its keys are new: what it said before counts no more, and its messages may differ."""
    table.say("d", "join")
    table.board.stand({**dict.fromkeys("abc", "1"), "d": "2"})
    table.say("d", "join", envelope=b"with a new key")
    for unit in "abc":
        table.say(unit, "join")
    assert table.ask("a", "join").envelopes[3] == b"with a new key"
    table.board.stand({**dict.fromkeys("abc", "1"), "d": "3"})
    assert table.ask("a", "agree").status == "aborted"
    assert table.say("d", "join", (0, 2)).status == "waiting"
    assert {len(t.envelopes) for t in table.all_say("join", (0, 2), "abcd")} == {4}


def test_an_enclave_that_is_restarted_is_waited_for(table):
    """Its offer has ended, and another comes: the others wait for it as for somebody slow, and no longer."""
    table.until("contribution")
    table.board.stand(dict.fromkeys("abc", "1"), frozenset("d"))
    assert table.ask("a", "contribution").status == "aborted"
    for unit in "abc":
        assert table.say(unit, "join", (0, 2)).status == "waiting"
    table.board.stand({**dict.fromkeys("abc", "1"), "d": "2"})
    assert len(table.say("d", "join", (0, 2)).envelopes) == 4


def test_an_enclave_that_does_not_come_back_is_not_waited_for_long(table):
    table.until("contribution")
    table.board.stand(dict.fromkeys("abc", "1"), frozenset("d"))
    for unit in "abc":
        assert table.say(unit, "join", (0, 2)).status == "waiting"
    table.pass_time(table.wait)
    assert len(table.ask("a", "join", (0, 2)).envelopes) == 3


def test_all_come_back_with_other_offers(table):
    table.until("contribution")
    table.board.stand(dict.fromkeys("abcd", "2"))
    assert table.ask("a", "contribution").status == "aborted"
    table.round((0, 2))


def test_leaving_after_ones_own_reveal_harms_nobody(table):
    table.until("reveal")
    table.say("d", "reveal")
    table.board.stand(dict.fromkeys("abc", "1"))
    table.all_say("reveal", units="abc")
    assert table.ask("a", "reveal").status == "complete"


def test_leaving_before_ones_reveal_is_the_end(table):
    table.until("reveal")
    table.say("a", "reveal")
    table.board.stand(dict.fromkeys("abc", "1"))
    assert table.ask("a", "reveal").status == "failed"


@pytest.mark.parametrize("phase", PHASES)
def test_the_end_of_the_job(table, phase):
    table.until(phase)
    table.board.end()
    assert table.say("a", phase, data=vector("a") if phase == "contribution" else b"").status == "ended"
    assert table.say("b", "join", (0, 2)).status == "ended"
    with pytest.raises(Stale):
        table.board.sum("a", (0, 1))


# -- places


@pytest.mark.parametrize("spot", [(0, 2), (1, 1), (1, 2), (2, 2), (3, 1), (7, 7)])
def test_places_that_are_not_the_next_one(table, spot):
    table.round((0, 1))
    table.round((1, 1))
    told = table.say("a", "join", spot)
    if spot == (1, 1):
        assert told.status == "complete"
    else:
        assert (told.status, place(told)) == ("stale", (2, 1))


@pytest.mark.parametrize("spot", [(0, 1), (1, 1), (0, 4), (2, 2)])
def test_after_an_abort_only_the_next_attempt_opens(table, spot):
    table.until("agree")
    table.say("a", "agree")
    table.pass_time(table.wait)
    table.until("agree", (0, 2), "abcd")
    table.say("a", "agree", (0, 2))
    table.pass_time(table.wait)
    told = table.say("a", "join", spot)
    assert (told.status, place(told)) == ("aborted" if spot == (0, 1) else "stale", (0, 3))
    table.round((0, 3))


def test_a_phase_of_another_place(table):
    table.until("agree")
    for spot in ((0, 2), (1, 1), (5, 5)):
        told = table.say("a", "agree", spot)
        assert (told.status, place(told)) == ("stale", (0, 1))


# -- a restart of the space


@pytest.mark.parametrize("phase", ["agree", "contribution", "check"])
def test_after_a_restart_everybody_meets_at_the_next_attempt(table, phase):
    table.round((0, 1))
    table.until(phase, (1, 1))
    table.restart()
    for unit in "abcd":
        told = table.say(unit, phase, (1, 1), vector(unit) if phase == "contribution" else b"")
        assert (told.status, place(told)) == ("aborted", (1, 2))
    table.round((1, 2))
    table.round((2, 1))


def test_a_restart_during_the_gathering_is_not_noticed(table):
    table.round((0, 1))
    table.say("a", "join", (1, 1))
    table.restart()
    table.round((1, 1))


def test_a_restart_during_the_reveals_is_the_end(table):
    table.until("reveal")
    table.say("a", "reveal")
    table.restart()
    assert table.say("b", "reveal").status == "failed"


def test_after_a_restart_those_behind_follow_those_ahead(table):
    """One was told of the set before the space fell, one was not: they must not wait at two places."""
    table.restart()
    assert table.say("a", "join", (4, 2)).status == "waiting"
    told = table.say("b", "agree", (4, 2))
    assert (told.status, place(told)) == ("aborted", (4, 3))
    assert table.say("b", "join", (4, 3)).status == "waiting"
    told = table.ask("a", "join", (4, 2))
    assert (told.status, place(told)) == ("aborted", (4, 3))
    table.round((4, 3))


def test_nobody_moves_a_gathering_once_the_board_knows_where_it_is(table):
    table.round((0, 1))
    table.say("a", "join", (1, 1))
    assert table.say("b", "join", (1, 2)).status == "waiting"
    assert table.ask("a", "join", (1, 1)).status == "waiting"
    assert table.say("b", "join", (1, 1)).status == "waiting"
    table.round((1, 1))


# -- waiting


def test_whoever_waits_is_told_at_once(tmp_path):
    table = Table(tmp_path, minimum=2)
    for phase in PHASES:
        answers = together([
            lambda u=u, p=phase: table.say(u, p, data=vector(u) if p == "contribution" else b"", wait=60)
            for u in random.Random(phase).sample("abcd", 4)
        ])  # fmt: skip
        assert {a.status for a in answers} == {"complete"}
        assert len({a.envelopes for a in answers}) == 1


@pytest.mark.parametrize(
    ("happens", "status"),
    [
        (lambda t: t.board.end(), "ended"), (lambda t: t.board.close(), "waiting"),
        (lambda t: t.board.stand(dict.fromkeys("abc", "1")), "aborted"), (lambda t: t.pass_time(t.wait), "aborted"),
    ],
)  # fmt: skip
def test_whoever_waits_hears_of_what_happens(table, happens, status):
    table.until("agree")
    calls = [lambda u=u: table.say(u, "agree", wait=60) for u in "abc"]

    def later():
        while sum(table.board._waiting.values()) < 3:
            pass
        happens(table)

    *answers, _ = together([*calls, later])
    assert [a.status for a in answers] == [status] * 3


def test_one_member_cannot_keep_every_waiter(table):
    table.say("a", "join")
    calls = [lambda: table.say("a", "join", wait=60) for _ in range(12)]

    def later():
        while table.board._waiting["a"] < 4:
            pass
        for unit in "bcd":
            table.say(unit, "join")

    *answers, _ = together([*calls, later])
    assert {a.status for a in answers} <= {"complete", "waiting"}
    assert [a.status for a in answers].count("waiting") <= 8


def test_thirty_two_members_at_once(tmp_path):
    units = "abcdefghijklmnopqrstuvwxyzABCDEF"
    table = Table(tmp_path, units, minimum=3)
    members = [LocalRounds(table.board, unit) for unit in units]

    def go(unit, member):
        found = []
        for number in range(3):
            at = Place("job", "run", number, 1)
            for phase in PHASES:
                data = vector(unit) if phase == "contribution" else b""
                found.append(member.exchange(at, phase, message(unit, phase, (number, 1)), data, 60))
        return found

    told = together([lambda u=u, m=m: go(u, m) for u, m in zip(units, members, strict=True)])
    assert all(answer == told[0] for answer in told)
    assert {a.status for a in told[0]} == {"complete"}
    assert [a.data for a in told[0] if a.data] == [added(units)] * 3
    assert told[0][0].envelopes == tuple(message(u, "join") for u in sorted(units))


def test_local_rounds_are_what_a_link_is(tmp_path):
    board = Board(Table(tmp_path).store, {"a": "", "b": ""}, 2, 30)
    at, data = Place("job", "run", 0, 1), vector("a", LARGE)
    members = {unit: LocalRounds(board, unit) for unit in "ab"}

    def go(unit):
        member, mine = members[unit], vector(unit, LARGE)
        member.exchange(at, "join", b"join " + unit.encode())
        member.exchange(at, "agree", b"agree " + unit.encode())
        member.contribute(at, b"", len(mine), pieces(mine))
        told = member.exchange(at, "contribution", b"contribution " + unit.encode())
        assert told == Exchanged("complete", (b"contribution a", b"contribution b"), (), b"", 0, 1)
        return b"".join(member.sum(at)), list(member.contributions(at))

    (sum_a, seen_a), (sum_b, seen_b) = together([lambda: go("a"), lambda: go("b")])
    assert sum_a == sum_b == added("ab", LARGE)
    assert seen_a == seen_b
    assert b"".join(piece for member, piece in seen_a if member == 0) == data
    with pytest.raises(PermissionDenied):
        board.sum("z", (0, 1))
