"""The table: every attack, what it got without the defences, what it got with them."""

from __future__ import annotations

import platform
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redteam.arena import Arena
from redteam.model import GROUPS, Attack, CannotShow, Seen, Text

WIDTHS = (60, 16, 16)
WORDS: dict[str, Text] = {
    "attack": {"en": "attack", "zh": "攻击"},
    "without": {"en": "without defences", "zh": "没有防御"},
    "within": {"en": "with defences", "zh": "有防御"},
    "works": {"en": "works", "zh": "得手"},
    "fails": {"en": "fails", "zh": "失败"},
    "hidden": {"en": "not shown here", "zh": "本机无法演示"},
    "open": {"en": "Open, and why that does no harm:", "zh": "仍然得手者，及其为何无害："},
    "wants": {"en": "wants", "zh": "企图"},
    "defence": {"en": "stopped by", "zh": "防御"},
    "detail": {"en": "seen", "zh": "所见"},
    "apart": {
        "en": "{count} could not be shown on this host and count in neither number:",
        "zh": "有 {count} 项无法在本机演示，不计入下面两个数：",
    },
    "wrong": {"en": "WRONG: {name}: {problem}", "zh": "有误：{name}：{problem}"},
    "broke-out": {
        "en": "it works in spite of the defences, and nobody has said why that is harmless",
        "zh": "有防御时仍然得手，而且没有说明为何无害",
    },
    "stale": {"en": "it is explained as open, and does not work any more", "zh": "标为仍可得手，实际已失败"},
    "broken": {"en": "the suite itself failed in it", "zh": "测试本身出错"},
    "no-control": {
        "en": "it does not work without the defences either, so it proves nothing",
        "zh": "没有防御时也不能得手，因此什么也证明不了",
    },
    "summary": {
        "en": "red team: {without} of {attacks} attacks work without the defences, {within} of {attacks} with them",
        "zh": "红队：{attacks} 项攻击中，没有防御时 {without} 项得手，有防御时 {within} 项得手",
    },
}


@dataclass(frozen=True)
class Outcome:
    """One attack, carried out both ways; ``without`` is a reason where the host cannot show it.

    ``broken`` is the error that ended the try, of either way, before it could be judged.
    """

    attack: Attack
    without: Seen | Text
    within: Seen
    open_because: Text | None = None
    broken: str = ""

    @property
    def shown(self) -> bool:
        return isinstance(self.without, Seen)

    @property
    def problem(self) -> str:
        """Which word says what is wrong, "" when all is well."""
        if self.broken:
            return "broken"
        if self.within.worked and self.open_because is None:
            return "broke-out"
        if isinstance(self.without, Seen) and not self.without.worked:
            return "no-control"
        if self.open_because is not None and not self.within.worked:
            return "stale"
        return ""


def carry_out(attack: Attack, arena: Arena) -> Outcome:
    """The attack without the defences, then with them."""
    without: Seen | Text
    try:
        without = attack.without(arena)
    except CannotShow as cannot:
        without = cannot.reason
    open_because = attack.open_in.get(arena.launcher.tier, attack.open_because)
    return Outcome(attack, without, attack.within(arena), open_because)


def try_out(attack: Attack, arena: Arena) -> Outcome:
    """The same for a whole table: an error is a line of it, and the other attacks go on."""
    try:
        return carry_out(attack, arena)
    except Exception as error:
        nothing = Seen(False, "")
        return Outcome(
            attack, nothing, nothing, broken=f"{type(error).__name__}: {error}".strip().split("\n")[0]
        )


def host(arena: Arena) -> dict[str, str]:
    """What the numbers hold for."""
    return {"kernel": platform.release(), "machine": platform.machine(), "tier": arena.launcher.tier} | {
        name: arena.launcher.details[name] for name in ("user", "memory", "landlock", "bubblewrap", "swap")
        if name in arena.launcher.details
    }  # fmt: skip


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    shown = [outcome for outcome in outcomes if outcome.shown]
    return {
        "attacks": len(shown),
        "without": sum(outcome.without.worked for outcome in shown),
        "within": sum(outcome.within.worked for outcome in shown),
        "not_shown": len(outcomes) - len(shown),
    }


def width(text: str) -> int:
    """Columns on a terminal: two for a wide character (Unicode Standard Annex 11)."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def fit(text: str, columns: int) -> str:
    """``text`` in exactly that many columns, cut with an ellipsis where it is longer."""
    if width(text) > columns:
        while width(text) > columns - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (columns - width(text))


def lines(outcomes: Sequence[Outcome], facts: dict[str, str], lang: str) -> Iterable[str]:
    """The whole report, one line after the other."""
    say = {name: text[lang] for name, text in WORDS.items()}

    def word(seen: Seen | Text) -> str:
        return (say["works"] if seen.worked else say["fails"]) if isinstance(seen, Seen) else say["hidden"]

    yield " · ".join(f"{name} {value}" for name, value in facts.items())
    yield ""
    yield "  ".join(map(fit, (say["attack"], say["without"], say["within"]), WIDTHS)).rstrip()
    for group, title in GROUPS.items():
        members = [outcome for outcome in outcomes if outcome.attack.group == group]
        if not members:
            continue
        yield f"\n{title[lang]}"
        for outcome in members:
            cells = (
                f"  {outcome.attack.title[lang]}",
                word(outcome.without),
                word(outcome.within) + (" *" if outcome.within.worked and outcome.open_because else ""),
            )
            yield "  ".join(map(fit, cells, WIDTHS)).rstrip()
    left = [outcome for outcome in outcomes if outcome.within.worked and outcome.open_because]
    if left:
        yield f"\n* {say['open']}"
        for outcome in left:
            assert outcome.open_because is not None
            yield f"  {outcome.attack.name}: {outcome.open_because[lang]}"
    hidden = [outcome for outcome in outcomes if not outcome.shown]
    if hidden:
        yield "\n" + say["apart"].format(count=len(hidden))
        for outcome in hidden:
            assert not isinstance(outcome.without, Seen)
            yield f"  {outcome.attack.name}: {outcome.without[lang]}"
    wrong = [outcome for outcome in outcomes if outcome.problem]
    if wrong:
        yield ""
        for outcome in wrong:
            seen = outcome.within if outcome.problem != "no-control" else outcome.without
            assert isinstance(seen, Seen)
            yield say["wrong"].format(
                name=outcome.attack.name, problem=f"{say[outcome.problem]} ({outcome.broken or seen.detail})"
            )
    yield ""
    yield say["summary"].format(**counts(outcomes))


def explained(attacks: Sequence[Attack], lang: str) -> Iterable[str]:
    """What each attack is about, without carrying it out."""
    say = {name: text[lang] for name, text in WORDS.items()}
    for group, title in GROUPS.items():
        members = [attack for attack in attacks if attack.group == group]
        if members:
            yield f"\n{title[lang]}"
        for attack in members:
            yield f"  {attack.name}: {attack.title[lang]}"
            yield f"    {say['wants']}: {attack.wants[lang]}"
            yield f"    {say['defence']}: {attack.defence[lang]}"


def as_json(outcomes: Sequence[Outcome], facts: dict[str, str]) -> dict[str, Any]:
    """The same, for programs."""

    def seen(value: Seen | Text) -> dict[str, Any]:
        if isinstance(value, Seen):
            return {"worked": value.worked, "detail": value.detail}
        return {"not_shown": value}

    return {
        "attacks": [
            {
                "name": outcome.attack.name,
                "group": outcome.attack.group,
                "title": outcome.attack.title,
                "wants": outcome.attack.wants,
                "defence": outcome.attack.defence,
                "without": seen(outcome.without),
                "within": seen(outcome.within),
                "open_because": outcome.open_because,
                **({"broken": outcome.broken} if outcome.broken else {}),
            }
            for outcome in outcomes
        ],
        "summary": counts(outcomes),
        "host": facts,
    }
