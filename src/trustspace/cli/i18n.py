"""English and Chinese: one catalogue, looked up by the English text or template.

A template is looked up first and filled in afterwards, so that details (names, sizes, identifiers) never
take part in the lookup. What the catalogue lacks is shown in English.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Final

from trustspace.errors import TrustspaceError

LANGUAGES: Final = ("en", "zh")
_LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
_FIELD = re.compile(r"\{(\w+)\}")
# Details of errors that are words of ours, not names of somebody's: those the catalogue has are translated.
_WORDS = frozenset({"what", "kind", "record", "state", "event", "role", "use", "type"})


class _Chosen:
    """The language of this process; a command line speaks one."""

    language = "en"


def from_locale(environment: Mapping[str, str] = os.environ) -> str:
    """The language that the environment asks for: Chinese for ``zh*``, English for everything else."""
    for variable in _LOCALE_VARIABLES:
        if value := environment.get(variable):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def use(language: str) -> None:
    """Speak this language from now on."""
    _Chosen.language = language


def language() -> str:
    """The language spoken now."""
    return _Chosen.language


@functools.cache
def catalogue() -> dict[str, str]:
    """The Chinese texts by their English ones; ``detail:word`` for words that fill a place in a template."""
    text = resources.files("trustspace.cli").joinpath("zh.json").read_text(encoding="utf-8")
    content: dict[str, str] = json.loads(text)
    return content


def translate(template: str) -> str:
    """The template in the language spoken now."""
    return catalogue().get(template, template) if _Chosen.language == "zh" else template


def mark(template: str) -> str:
    """The template itself: says that it stands in a table here and is translated where it is shown."""
    return template


def fill(template: str, details: Mapping[str, object]) -> str:
    """Put details in their places. Only plain names are places: a template may have come over the network."""
    return _FIELD.sub(lambda place: str(details.get(place[1], place[0])), template)


def clean(text: str) -> str:
    """Text from somebody else on one line, without anything that a terminal would act on."""
    from trustspace.evidence.render import neutralise

    return text if text.isascii() and text.isprintable() and "\\" not in text else neutralise(text)


def clean_lines(text: str) -> str:
    """The same line by line, with tabs as spaces and nothing cut away."""
    size = 1000
    lines = []
    for line in text.replace("\r\n", "\n").expandtabs(4).split("\n"):
        pieces = [line[start : start + size] for start in range(0, len(line), size)]
        lines.append("".join(clean(piece) for piece in pieces))
    return "\n".join(lines)


def _(template: str, **details: str | int) -> str:
    """A text in the language spoken now, its details made harmless and filled in."""
    text = translate(template)
    if not details:
        return text
    return fill(text, {name: clean(str(value)) for name, value in details.items()})


def compose(template: str, **details: str | int) -> str:
    """The same for a part of a text that is made harmless as a whole, where it is shown."""
    return fill(translate(template), details)


def explain(error: TrustspaceError) -> tuple[str, str]:
    """What is wrong and what to do about it ("" if nothing is known), in the language spoken now."""
    problems: Sequence[TrustspaceError] = getattr(error, "problems", ())
    if len(problems) == 1:
        message, fix = explain(problems[0])
        return fill(translate(error.message), {"problem": message}), fix
    if problems:
        space = "" if _Chosen.language == "zh" else " "
        lines = ["  - " + space.join(filter(None, explain(problem))) for problem in problems]
        return fill(translate(error.message), {"count": len(problems), "lines": "\n".join(lines)}), ""
    details = {name: _detail(name, value) for name, value in error.details.items()}
    # The whole is made harmless, template and all: it may be what a server sent.
    return clean(fill(translate(error.message), details)), clean(fill(translate(error.fix), details))


def _detail(name: str, value: str | int) -> str:
    text = str(value)
    return catalogue().get(f"detail:{text}", text) if name in _WORDS and _Chosen.language == "zh" else text
