"""The page docs/red-team: what a full run said, between two comments of it. The rest of the page is written by people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redteam.attacks import collect
from redteam.model import GROUPS, Text, both
from redteam.report import WORDS

PAGES = {"en": "red-team.md", "zh": "red-team.zh-CN.md"}
_BLOCK = re.compile(
    r"(?P<open><!-- (?P<how>measured|measured in short): (?P<tier>[a-z+]+) -->\n).*?(?P<close><!-- /measured -->)",
    re.DOTALL,
)
_SAY: dict[str, Text] = {
    "name": both("name", "名称"),
    "host": both("Linux {kernel} on {machine}, tier `{tier}`.", "Linux {kernel}，{machine}，等级 `{tier}`。"),
    "why": both("why", "原因"),
    "open": both("Works with the defences too", "有防御时仍得手的攻击"),
    "hidden": both("Not shown on this host", "未能在该主机演示的攻击"),
}
_STOP, _COLON = {"en": ".", "zh": "。"}, {"en": ": ", "zh": "："}


def rewrite(folder: Path, result: dict[str, Any]) -> None:
    """Put a run's result (``report.as_json``) into both pages. Raises ValueError where a page has no place for it."""
    for lang, name in PAGES.items():
        page = folder / name
        page.write_text(redrawn(page.read_text(encoding="utf-8"), result, lang), encoding="utf-8")


def redrawn(text: str, result: dict[str, Any], lang: str) -> str:
    """A page with the block of the result's tier written anew."""
    tier = result["host"]["tier"]
    if tier not in {found["tier"] for found in _BLOCK.finditer(text)}:
        raise ValueError(f"the page has no place for {tier}")

    def block(found: re.Match[str]) -> str:
        if found["tier"] != tier:
            return found[0]
        drawn = summary(result, lang)
        if found["how"] == "measured":
            drawn = [*drawn, "", *tables(result, lang), *left_open(result, lang), *hidden(result, lang)]
        else:
            everywhere = {attack.name for attack in collect() if attack.open_because}
            here = [attack for attack in result["attacks"] if attack["name"] not in everywhere]
            drawn = [*drawn, "", *reasons(here, lang)]
        return found["open"] + "\n".join(drawn).strip() + "\n" + found["close"]

    return _BLOCK.sub(block, text)


def summary(result: dict[str, Any], lang: str) -> list[str]:
    """What it was measured on, and the last line. Of the kernel's version, what says anything elsewhere."""
    kernel = re.match(r"[0-9]+\.[0-9]+", result["host"]["kernel"])
    facts = {**result["host"], "kernel": kernel[0] if kernel else "?"}
    said = WORDS["summary"][lang].format(**result["summary"])
    return [f"{_SAY['host'][lang].format(**facts)} {said[0].upper()}{said[1:]}{_STOP[lang]}"]


def tables(result: dict[str, Any], lang: str) -> Iterable[str]:
    """Every attack, group by group."""
    heads = [_SAY["name"], *(WORDS[word] for word in ("attack", "defence", "without", "within"))]
    for group, title in GROUPS.items():
        members = [attack for attack in result["attacks"] if attack["group"] == group]
        if members:
            yield from (
                f"### {title[lang]}",
                "",
                f"| {' | '.join(head[lang] for head in heads)} |",
                "| --- " * 5 + "|",
            )
            yield from (row(attack, lang) for attack in members)
            yield ""


def about(attack: dict[str, Any], lang: str) -> str:
    """The part of an attack's row that is not measured."""
    cells = (f"`{attack['name']}`", attack["title"][lang], attack["defence"][lang])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def row(attack: dict[str, Any], lang: str) -> str:
    """One attack, with how it went both ways."""

    def word(seen: dict[str, Any]) -> str:
        return WORDS["hidden" if "not_shown" in seen else "works" if seen["worked"] else "fails"][lang]

    went = [word(attack["without"]), word(attack["within"])]
    if attack["within"]["worked"]:
        went[1] = f"**{went[1]}** ([{_SAY['why'][lang]}](#{_SAY['open'][lang].lower().replace(' ', '-')}))"
    return f"{about(attack, lang)} {' | '.join(went)} |"


def left_open(result: dict[str, Any], lang: str) -> Iterable[str]:
    """Those that work all the same."""
    yield from (f"### {_SAY['open'][lang]}", "", *reasons(result["attacks"], lang), "")


def reasons(attacks: Iterable[dict[str, Any]], lang: str) -> Iterable[str]:
    """Why it does no harm, of each that works with the defences."""
    for attack in attacks:
        if attack["within"]["worked"]:
            yield f"- `{attack['name']}`{_COLON[lang]}{attack['open_because'][lang]}"


def hidden(result: dict[str, Any], lang: str) -> Iterable[str]:
    """Those that the host could not show even without defences: they count in neither number."""
    yield from (f"### {_SAY['hidden'][lang]}", "")
    for attack in result["attacks"]:
        if "not_shown" in attack["without"]:
            yield f"- `{attack['name']}`{_COLON[lang]}{attack['without']['not_shown'][lang]}"
