"""The red team as tests: every attack works without the defences, and none that is not explained works with them."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from redteam.arena import _descendants
from redteam.attacks import collect
from redteam.model import GROUPS, Attack, CannotShow, Seen, both, seen_in
from redteam.page import PAGES, about, redrawn
from redteam.report import WIDTHS, Outcome, as_json, carry_out, counts, fit, lines, try_out, width
from trustspace.domain.tiers import TIER_FULL, TIERS

ATTACKS = collect()
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.isolation
@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(attack, id=attack.name, marks=() if attack.quick else pytest.mark.slow)
        for attack in ATTACKS
    ],
)
def test_attack(arena, attack):
    outcome = carry_out(attack, arena)
    assert not outcome.problem, (outcome.problem, outcome.without, outcome.within)
    if not outcome.shown:
        pytest.skip(f"not shown here: {outcome.without['en']}")


@pytest.mark.parametrize("tier", TIERS)
def test_few_attacks_are_left_open(tier):
    left = [attack.name for attack in ATTACKS if attack.open_because or tier in attack.open_in]
    assert len(left) <= 8, left


def test_every_group_has_attacks_and_every_title_fits_its_column():
    assert {attack.group for attack in ATTACKS} == set(GROUPS)
    for attack in ATTACKS:
        for text in attack.title.values():
            assert width(text) <= WIDTHS[0] - 2, (attack.name, text)


class Ended:
    def __init__(self, finding):
        self.finding = finding
        self.status, self.reason = "killed", "forbidden-call"


def test_a_job_s_word_is_not_enough_where_a_secret_is_to_be_had():
    boast = Ended({"worked": True, "detail": "read it", "loot": "something"})
    assert seen_in(boast).worked
    assert not seen_in(boast, "canary-7").worked
    assert seen_in(Ended({"worked": True, "detail": "read it", "loot": "canary-7"}), "canary-7").worked
    assert seen_in(Ended(None)) == Seen(False, "forbidden-call")


def outcome(without, within, *, open_because=None):
    text = both("Connects", "连接")
    told = Attack("network/tcp", "network", text, text, text, None, None)
    return Outcome(told, without, Seen(within, "seen"), open_because)


@pytest.mark.parametrize(
    ("without", "within", "open_because", "problem"),
    [
        (True, False, None, ""),
        (True, True, None, "broke-out"),
        (False, True, None, "broke-out"),
        (False, False, None, "no-control"),
        (True, True, both("harmless", "无害"), ""),
        (True, False, both("harmless", "无害"), "stale"),
        (None, False, None, ""),
        (None, True, None, "broke-out"),
    ],
)
def test_what_is_wrong_is_said(without, within, open_because, problem):
    hidden = CannotShow("no such thing here", "这里没有").reason
    one = outcome(hidden if without is None else Seen(without, "seen"), within, open_because=open_because)
    assert one.problem == problem
    text = "\n".join(lines([one], {"kernel": "6"}, "en"))
    assert ("WRONG" in text) == bool(problem)
    shown = 0 if without is None else 1
    assert counts([one]) == {
        "attacks": shown, "without": int(without is True), "within": int(within and shown), "not_shown": 1 - shown,
    }  # fmt: skip


def test_an_attack_that_fails_by_itself_is_wrong_and_ends_no_table():
    text = both("Connects", "连接")

    def broken(_):
        raise AssertionError("no such folder\nand more")

    one = try_out(Attack("network/tcp", "network", text, text, text, broken, broken), None)
    assert one.problem == "broken"
    told = "\n".join(lines([one], {"kernel": "6"}, "en"))
    assert "WRONG" in told
    assert "AssertionError: no such folder)" in told


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_table_fits_a_terminal(lang):
    told = [
        outcome(Seen(True, "seen"), False),
        outcome(Seen(True, "seen"), True, open_because=both("a", "b")),
    ]
    text = list(lines(told, {"kernel": "6"}, lang))
    assert max(map(width, text)) <= 100
    last = "red team: 2 of 2 attacks work without the defences, 1 of 2 with them"
    assert (text[-1] == last) == (lang == "en")
    assert width(fit("连接连接", 6)) == 6


# -- the page


def written(text):
    """Rows of the page's table of a full run, without what was measured, and the attacks explained below it."""
    block = text.split(f"<!-- measured: {TIER_FULL} -->", 1)[1].split("<!-- /measured -->", 1)[0]
    rows = re.findall(r"^(\| `.* \|) [^|]+ \| [^|]+ \|$", block, re.MULTILINE)
    explained = next(part for part in block.split("\n### ") if "\n- `" in part)
    return rows, re.findall(r"^- `([^`]+)`", explained, re.MULTILINE)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_tells_of_these_attacks(lang):
    rows, explained = written((DOCS / PAGES[lang]).read_text(encoding="utf-8"))
    told = [about({"name": a.name, "title": a.title, "defence": a.defence}, lang) for a in ATTACKS]
    assert rows == told, "cd tests && ../.venv/bin/python -m redteam --write ../docs"
    assert explained == [attack.name for attack in ATTACKS if attack.open_because]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_run_is_written_into_its_own_place(lang):
    text = (DOCS / PAGES[lang]).read_text(encoding="utf-8")
    because = both("It is their own.", "是自己的。")
    one = outcome(Seen(True, "seen"), True, open_because=because)
    facts = {"kernel": "6.1.0-secret-name", "machine": "x86_64", "tier": TIER_FULL}
    anew = redrawn(text, as_json([one], facts), lang)
    assert written(anew)[1] == ["network/tcp"]
    assert len(written(anew)[0]) == 1
    assert "secret-name" not in anew
    assert anew.split("<!-- /measured -->", 1)[1] == text.split("<!-- /measured -->", 1)[1]
    with pytest.raises(ValueError, match="no place for another"):
        redrawn(text, as_json([one], {**facts, "tier": "another"}), lang)


# -- what is left behind

# In a background job of a shell, Ctrl-C would be ignored otherwise.
SUITE = (
    "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "sys.argv[1:] = ['--only', 'ipc/segment', '--only', 'resources/never-ending', '--only', 'resources/stopped']; "
    "runpy.run_module('redteam', run_name='__main__', alter_sys=True)"
)


def segments(pid):
    """The System V shared memory that a process made (proc(5)): key, number, permissions, size, maker."""
    lines = Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]
    return [line for line in lines if line.split()[4] == str(pid)]


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.isolation
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 128 + signal.SIGINT)]
)
def test_nothing_is_left_behind_when_it_is_ended(tmp_path, number, code):
    give_up = time.monotonic() + 120
    suite = subprocess.Popen(
        [sys.executable, "-c", SUITE], cwd=Path(__file__).parents[1], env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        # The job that never ends runs bare: launcher and job, a segment and a folder are there.
        while not (
            len(family := _descendants(suite.pid)) >= 2 and segments(suite.pid) and os.listdir(tmp_path)
        ):
            assert suite.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.05)
        suite.send_signal(number)
        assert suite.wait(60) == code
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(suite.pid, signal.SIGKILL)
        suite.wait()
    assert not any(alive(pid) for pid in family)
    assert not segments(suite.pid)
    assert os.listdir(tmp_path) == []
