"""What is told of a review's end: changes asked for, what a job answers, and revocations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trustspace.cli.i18n import _
from trustspace.cli.words import short, when, word

if TYPE_CHECKING:
    from trustspace.cli.output import Output
    from trustspace.cli.people import People
    from trustspace.client.notices import Answered, Changes, Revoked


def changes_document(asked: Changes | None, people: People) -> dict[str, Any] | None:
    """What was asked to be changed, for programs."""
    if asked is None:
        return None
    return {
        "source_unit": {"name": people.plain(asked.source_unit), "fingerprint": asked.source_unit},
        "reviewer": asked.reviewer, "issued": asked.issued, "reasons": list(asked.reasons), "note": asked.note,
    }  # fmt: skip


def answered_document(answered: Answered | None, people: People) -> dict[str, Any] | None:
    """The job that a job answers, for programs."""
    if answered is None:
        return None
    return {
        "job": answered.job,
        "title": answered.title,
        "changes": changes_document(answered.changes, people),
    }


def revoked_document(revoked: Revoked | None, people: People) -> dict[str, Any] | None:
    """Who revoked an output, for programs."""
    if revoked is None:
        return None
    return {
        "source_unit": {"name": people.plain(revoked.source_unit), "fingerprint": revoked.source_unit},
        "reviewer": revoked.reviewer, "issued": revoked.issued,
    }  # fmt: skip


def show_changes(out: Output, asked: Changes | None, people: People) -> None:
    """What was asked to be changed, and the note where it can be read here."""
    if asked is None:
        return
    out.heading(
        _("Changes asked for by {unit}, {time}", unit=people.name(asked.source_unit), time=when(asked.issued))
    )
    for reason in asked.reasons:
        out.say(f"- {word('reason', reason)}")
    if asked.note:
        out.say(_("The reviewer's note to you:"))
        out.block(asked.note)


def show_answered(out: Output, answered: Answered | None, people: People) -> None:
    """What a job answers."""
    if answered is None:
        return
    if not answered.title:
        out.say(_("It answers job {job}, in which you have no part.", job=short(answered.job)))
        return
    out.say(_("It answers job {job}, “{title}”.", job=short(answered.job), title=answered.title))
    show_changes(out, answered.changes, people)


def show_revoked(out: Output, revoked: Revoked | None, people: People) -> None:
    """That an output was revoked, loudly."""
    if revoked is not None:
        out.say(
            _("REVOKED by {unit} ({reviewer}), {time}.", unit=people.name(revoked.source_unit),
              reviewer=revoked.reviewer, time=when(revoked.issued)), style="bad",
        )  # fmt: skip
