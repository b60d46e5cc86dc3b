"""The policy file: what a source unit demands of jobs and outputs, as a text that people read, keep and sign.

TOML with one field for each of :class:`trustspace.domain.bodies.Policy`; a field left out has its default. What is read
is checked strictly: a word that nobody knows, or a number out of its range, is an error that says where.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from trustspace.cli.common import read_bytes
from trustspace.cli.help import wrap
from trustspace.cli.i18n import _, language
from trustspace.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic.fields import FieldInfo

    from trustspace.cli.output import Output
    from trustspace.domain.bodies import Policy
    from trustspace.evidence.words import Language
    from trustspace.evidence.words_policy import PolicyRow

FORMAT: Final = "trustspace-policy-v1"
_WIDTH: Final = 100
_MOST: Final = 2**53 - 1
# Where to look closely comes before where to fail.
_ORDERED: Final = (
    ("auc_warned_permille", "auc_failed_permille"),
    ("tail_warned_permille", "tail_failed_permille"),
    ("audit_warned_millis", "audit_failed_millis"),
)


def render(policy: Policy, default: Policy) -> str:
    """A policy as a file, each field explained in the language in use: with the default for both, the template."""
    from trustspace.evidence.words_policy import MEANINGS, POLICY, SECTIONS

    words = cast("Language", language())
    intro = _(
        "A source unit's policy. Every dataset submitted with it carries it, signed, for everybody to read; a new "
        "version of the dataset takes a new one. A field left out has its default."
    )  # fmt: skip
    lines = [*_comment(intro), "", f'format = "{FORMAT}"']
    for heading, fields in SECTIONS:
        lines += ["", "", f"# ==== {heading[words]} ===="]
        for field in fields:
            lines += ["", f"# == {POLICY[field][words]}", *_comment(MEANINGS[field][words])]
            lines += [*_comment(_allowed(field, default)), f"{field} = {_toml(getattr(policy, field))}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(text, _WIDTH)]


def _allowed(field: str, default: Policy) -> str:
    """What a field may be, and its default; a list's default is too long to be said twice."""
    value = getattr(default, field)
    if isinstance(value, tuple):
        return _("A list of names in quotation marks.")
    choices = _choices(field)
    if choices:
        allowed = _(" or ").join(f'"{choice}"' for choice in choices)
    else:
        low, high = _range(field)
        allowed = (
            _("A whole number from {low} on", low=low)
            if high == _MOST
            else _("A whole number from {low} to {high}", low=low, high=high)
        )
    return _("{allowed}. Default: {value}.", allowed=allowed, value=_toml(value))


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[\n" + "".join(f'    "{name}",\n' for name in value) + "]" if value else "[]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def policy_rows(policy: Policy, *, only_changed: bool = False) -> list[tuple[str, str]]:
    """A policy in words; where a field is not as by default, what that would be. ``only_changed``: only those."""
    from trustspace.client.datasets import DEFAULT_POLICY
    from trustspace.evidence.words_policy import policy_rows as in_words

    rows = in_words(policy, DEFAULT_POLICY, cast("Language", language()))
    return [(row.title, _shown(row)) for row in rows if row.default or not only_changed]


def _shown(row: PolicyRow) -> str:
    if not row.default:
        return row.value
    return _("{value} (by default: {default})", value=row.value, default=row.default)


def show_changes(out: Output, policy: Policy) -> None:
    """What of a policy is not as by default, for somebody who reads the evidence that it asked for."""
    out.heading(_("Your policy, where it is not as by default"))
    changed = policy_rows(policy, only_changed=True)
    if changed:
        out.fields(changed)
    else:
        out.say(_("It is as by default: see trustspace dataset show."))


def policy_document(policy: Policy) -> dict[str, Any]:
    """A policy for programs, and which of its fields are not as by default."""
    from trustspace.client.datasets import DEFAULT_POLICY

    content, default = policy.model_dump(mode="json"), DEFAULT_POLICY.model_dump(mode="json")
    return {"policy": content, "policy_changes": [name for name in content if content[name] != default[name]]}


def read_policy(path: Path) -> Policy:
    """The policy in a file; errors as :func:`parse` has them."""
    from trustspace.client.datasets import DEFAULT_POLICY

    try:
        # Editors on Windows put a byte order mark before the text; TOML has no place for one.
        return parse(read_bytes(path, "policy file").decode("utf-8-sig"), DEFAULT_POLICY)
    except UnicodeDecodeError:
        raise InvalidInput("The policy file is not UTF-8 text.") from None


def parse(text: str, default: Policy) -> Policy:
    """Read a policy file.

    Raises:
        InvalidInput: it is no policy; the error names the line, the field and what it may be, never another value.

    """
    from trustspace.domain.bodies import Policy

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise InvalidInput(
            "Line {line} of the policy file is not TOML.",
            fix='Write field = 10 or field = "word".',
            line=line,
        ) from None
    except (ValueError, RecursionError):  # numbers of thousands of digits, brackets nested by the thousand
        raise InvalidInput(
            "The policy file holds a number or a list that no policy can have.",
            fix="Begin with what `trustspace dataset policy` prints.",
        ) from None
    if values.pop("format", None) != FORMAT:
        raise InvalidInput(
            "The policy file's field {field} must be {value}.",
            fix="Begin with what `trustspace dataset policy` prints.", field="format", value=f'"{FORMAT}"',
        )  # fmt: skip
    for field, value in values.items():
        if field not in Policy.model_fields:
            _refuse_unknown(field, text)
        if field == "not_applicable":
            values[field] = _excused(value, text)
        else:
            _check(field, value, text)
    policy = default.model_copy(update=values)
    for lower, higher in _ORDERED:
        if getattr(policy, lower) > getattr(policy, higher):
            raise InvalidInput(
                "The policy's field {lower} is above {higher} (line {line}).",
                fix="Raise the latter, or lower the former.",
                lower=lower, higher=higher, line=max(_line(lower, text), _line(higher, text)),
            )  # fmt: skip
    return Policy.model_validate(policy.model_dump())


def _refuse_unknown(field: str, text: str) -> None:
    from trustspace.domain.bodies import Policy

    close = difflib.get_close_matches(field, list(Policy.model_fields), n=1)
    raise InvalidInput(
        "A policy has no field {field} (line {line}).",
        fix="Did you mean {suggestion}?" if close else "See `trustspace dataset policy` for the fields.",
        field=field[:64], line=_line(field, text), suggestion=close[0] if close else "",
    )  # fmt: skip


def _check(field: str, value: Any, text: str) -> None:
    choices = _choices(field)
    if choices and value not in choices:
        raise InvalidInput(
            "The policy's field {field} must be one of: {choices} (line {line}).",
            fix="Write it in quotation marks.", field=field, choices=", ".join(choices), line=_line(field, text),
        )  # fmt: skip
    low, high = _range(field)
    if not choices and not (type(value) is int and low <= value <= high):
        raise InvalidInput(
            "The policy's field {field} must be a whole number from {low} to {high} (line {line}).",
            fix="Write it without quotation marks or a point.",
            field=field, low=low, high=high, line=_line(field, text),
        )  # fmt: skip


def _excused(value: Any, text: str) -> tuple[str, ...]:
    """The checks to leave out, each of which there must be: a name misspelt would demand what it means to excuse."""
    from trustspace.domain.bodies import JobKind
    from trustspace.evidence.checks import CHECKS

    line = _line("not_applicable", text)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(
            "The policy's field {field} must be a list of names (line {line}).",
            fix='Write ["references:statistics"], say.', field="not_applicable", line=line,
        )  # fmt: skip
    for name in value:
        check, colon, kind = name.partition(":")
        if check not in CHECKS or (colon and kind not in get_args(JobKind)):
            close = difflib.get_close_matches(check, list(CHECKS), n=1)
            raise InvalidInput(
                "There is no check {name}, which the policy's field {field} names (line {line}).",
                fix="Did you mean {suggestion}?"
                if close and check not in CHECKS
                else "Write name or name:kind, with a kind of train, statistics, compute, score.",
                name=name[:64], field="not_applicable", line=line, suggestion=close[0] if close else "",
            )  # fmt: skip
    return tuple(dict.fromkeys(value))


def _info(field: str) -> FieldInfo:
    from trustspace.domain.bodies import Policy

    return Policy.model_fields[field]


def _choices(field: str) -> tuple[str, ...]:
    return tuple(choice for choice in get_args(_info(field).annotation) if isinstance(choice, str))


def _range(field: str) -> tuple[int, int]:
    limits = _info(field).metadata
    low = next((limit.ge for limit in limits if hasattr(limit, "ge")), 0)
    return low, next((limit.le for limit in limits if hasattr(limit, "le")), _MOST)


def _line(field: str, text: str) -> int:
    """The line that a field stands in; the last one where it is left out."""
    pattern = re.compile(rf"\s*(\[+\s*)?[\"']?{re.escape(field)}[\"']?\s*[=.\]]")
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), max(1, len(lines)))
