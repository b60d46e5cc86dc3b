"""How a page is made: templates that escape everything, over text whose invisible characters are written out.

Whatever a template puts into a page passes :func:`shown` and then the template engine's own escaping, so that a title,
a log line or a cell of a table is text and nothing else. What is no text (a drawing, a template's own output) is
``Markup`` and built from escaped pieces.
"""

from __future__ import annotations

import datetime
import functools
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from trustspace.evidence.render import neutralise
from trustspace.evidence.words import Language
from trustspace.web.words import term, words

_PIECE = 1000


def shown(value: Any) -> Any:
    """A value as a page may hold it: text with everything invisible written out, nothing cut away."""
    if value is None:
        return ""
    if isinstance(value, Markup | bool | int):
        return value
    text = str(value)
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    # Each piece by itself is short enough not to be cut; what looks like an escape of ours is never torn apart.
    return "\\u{5c}u{".join(
        "".join(neutralise(part[start : start + _PIECE]) for start in range(0, len(part), _PIECE))
        for part in text.split("\\u{")
    )


def environment(*, escape: bool = True) -> jinja2.Environment:
    """The engine of the desk's templates. ``escape`` is False only in the test that shows what escaping is for."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("trustspace.web", "templates"),
        autoescape=escape,  # noqa: S701 - False in one test
        undefined=jinja2.StrictUndefined,
        finalize=shown if escape else None,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(short=short, when=when, size=size, groups=groups)
    return made


@functools.cache
def _environment() -> jinja2.Environment:
    return environment()


def render(template: str, language: Language, values: dict[str, Any]) -> str:
    """A page in one language."""
    return _environment().get_template(template).render(
        t=lambda key, /, **details: words(key, language, **details),
        term=lambda group, key: term(group, key, language),
        lang=language,
        **values,
    )  # fmt: skip


@functools.cache
def asset(name: str) -> bytes:
    """The content of one of the desk's own files."""
    return resources.files("trustspace.web").joinpath("static", name).read_bytes()


def short(digest: str) -> str:
    """The first digits of a digest: enough to point at it."""
    return digest[:12]


def groups(digest: str) -> str:
    """A digest as it is compared by eye: groups of eight digits."""
    return " ".join(digest[start : start + 8] for start in range(0, len(digest), 8))


def when(seconds: int) -> str:
    """A time in this computer's zone."""
    try:
        return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def size(count: int) -> str:
    """Bytes in a unit that is easy to read."""
    value, units = float(count), ("B", "KiB", "MiB", "GiB")
    for unit in units:
        if value < 1024 or unit == units[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
