"""When the pool starts a sandbox, which one a task gets, and what happens to those that never get ready."""

from dataclasses import dataclass

import pytest

from trustspace.sandbox.pool import (
    FIRST_PAUSE_SECONDS,
    GIVE_WAY_SECONDS,
    LEAST_BYTES,
    LONGEST_PAUSE_SECONDS,
    READY_SECONDS,
    Pool,
)

ENOUGH = {"memory_bytes": LEAST_BYTES}
FOR_EVER = float("inf")


@dataclass(eq=False)
class Waiting:
    """As much of a sandbox as the pool looks at."""

    started: float = 0.0
    warm: bool = True
    verdict: str = ""
    exit_code: int | None = None


def pool(wanted=1, threads=1, cores=2, waiting=()):
    made = Pool(wanted, threads, cores)
    for one in waiting:
        made.add(one)
    return made


def due(made, now=100.0, running=0, *, arriving=False):
    """Whether one is to be started now; what the pool says about its next moment must agree."""
    answer = made.due(now, running, arriving=arriving)
    assert answer == (made.next_moment(running, arriving=arriving) <= now)
    return answer


def test_it_fills_up_one_after_the_other():
    made = pool(wanted=2)
    assert due(made)
    first = Waiting(warm=False, started=100.0)
    made.add(first)
    assert not due(made), "the first is still importing"
    first.warm = True
    assert due(made)
    made.add(Waiting())
    assert not due(made)
    assert made.next_moment(0, arriving=False) == FOR_EVER


def test_none_are_kept_where_none_are_wanted():
    assert not due(pool(wanted=0))


@pytest.mark.parametrize(
    ("threads", "running", "free"), [(1, 1, True), (1, 2, False), (2, 1, False), (2, 0, True)]
)
def test_it_gives_way_to_tasks_that_have_every_core(threads, running, free):
    made = pool(threads=threads)
    made.began(99.0)
    assert due(made, 99.0, running) == free
    assert due(made, 99.0 + GIVE_WAY_SECONDS, running), "but not for ever"


def test_nothing_is_started_while_a_task_is_on_its_way_to_its_first_row():
    made = pool()
    assert not due(made, running=1, arriving=True)
    assert due(made, running=1)


def test_a_task_gets_the_oldest_that_is_ready_and_nobody_gets_it_again():
    old, young = Waiting(), Waiting()
    made = pool(wanted=2, waiting=(old, young))
    assert made.take("compute", ENOUGH) is old
    assert made.take("compute", ENOUGH) is young
    assert made.take("compute", ENOUGH) is made.take_ready() is None
    assert made.all() == []


def test_one_that_is_still_importing_serves_who_would_import_the_same():
    importing = Waiting(warm=False)
    made = pool(waiting=(importing,))
    assert made.take_ready() is None
    assert made.take("compute", ENOUGH) is None, "a new one is there sooner"
    assert made.take("evaluate", ENOUGH) is importing


def test_one_that_is_ready_comes_before_one_that_is_not():
    importing, ready = Waiting(warm=False), Waiting()
    made = pool(wanted=2, waiting=(importing, ready))
    assert made.take("train", ENOUGH) is ready


def test_a_task_that_may_have_little_memory_gets_none():
    made = pool(waiting=(Waiting(),))
    assert made.take("train", {"memory_bytes": LEAST_BYTES - 1}) is None
    assert made.take_ready() is not None


@pytest.mark.parametrize("gone", [Waiting(verdict="cancelled"), Waiting(exit_code=1)])
def test_nobody_gets_one_that_has_died_and_another_takes_its_place(gone):
    made = pool(waiting=(gone,))
    assert made.take("train", ENOUGH) is made.take_ready() is None
    assert due(made)
    assert made.all() == [gone], "until its whole tree is dead"
    made.remove(gone)
    assert made.all() == []


def test_one_that_hangs_is_overdue():
    hanging = Waiting(warm=False, started=50.0)
    made = pool(waiting=(hanging, Waiting(started=0.0)))
    assert made.overdue(49.9 + READY_SECONDS) == []
    assert made.next_moment(0, arriving=True) == 50.0 + READY_SECONDS
    assert made.overdue(50.0 + READY_SECONDS) == [hanging]


def test_losses_are_made_good_ever_more_slowly_until_one_is_used():
    made = pool()
    now, pauses = 0.0, []
    for _ in range(14):
        made.lost(now)
        pauses.append(made.next_moment(0, arriving=False) - now)
        now += pauses[-1]
        assert due(made, now)
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    made.add(Waiting())
    assert made.take("train", ENOUGH)
    made.lost(now)
    assert made.next_moment(0, arriving=False) - now == FIRST_PAUSE_SECONDS
