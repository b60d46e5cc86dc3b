"""English and Chinese: one catalogue, looked up by the English text or template.

A template is looked up first and filled in afterwards, so that details (names, sizes, identifiers) never
take part in the lookup. What the catalogue lacks is shown in English.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from importlib import resources

LANGUAGES = ("en", "zh")
_LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")


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
    """The Chinese texts by their English ones."""
    content: dict[str, str] = json.loads(resources.files(__package__).joinpath("zh.json").read_text(encoding="utf-8"))
    return content


def translate(template: str) -> str:
    """The template in the language spoken now."""
    return catalogue().get(template, template) if _Chosen.language == "zh" else template


def _(template: str, **details: str | int) -> str:
    """A text in the language spoken now, with its details filled in."""
    text = translate(template)
    return text.format(**details) if details else text
