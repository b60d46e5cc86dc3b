"""What a reviewer decides: approve, ask for changes, reject, revoke."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustspace.cli.common import PATH, Cli, pass_cli, read_bytes
from trustspace.cli.help import Command, option
from trustspace.cli.i18n import _
from trustspace.cli.words import REASONS, when, word
from trustspace.errors import InvalidInput

if TYPE_CHECKING:
    from trustspace.client.acting import Acting
    from trustspace.client.review import Case

# Not imported: help pages need none of the libraries that the client does.
_DECISION_DAYS, _LONGEST_DAYS = 30, 366

reviewer_option = option(
    "--reviewer",
    metavar="PERSON",
    help="Who you are, where several reviewers' keys lie in this home.",
)
_comment = option(
    "--comment",
    default="",
    metavar="TEXT",
    help="Your reason; it stays with you, the ledger holds a commitment to it.",
)


@click.command("approve", cls=Command)
@click.argument("job", metavar="ID")
@reviewer_option
@option(
    "--artifact",
    "artifacts",
    multiple=True,
    metavar="NAME",
    help="Only this file. Else all but what the run printed.",
)
@_comment
@option(
    "--accept-red",
    is_flag=True,
    help="Approve although the evidence is red. Needs --comment, and a second person who does the same.",
)
@option(
    "--valid-days",
    type=click.IntRange(1, _LONGEST_DAYS),
    default=_DECISION_DAYS,
    show_default=True,
    metavar="N",
    help="For how many days the approval counts, if others are still missing.",
)
@pass_cli
def approve(
    cli: Cli, job: str, reviewer: str | None, artifacts: tuple[str, ...], comment: str, accept_red: bool,
    valid_days: int,
) -> None:  # fmt: skip
    """Approve an output: your share of its key goes to the buyer, and cannot be taken back.

    What is red only two people can approve together, each with a reason of their own.
    """
    from trustspace.client.review import approve as sign

    home, case = opened(cli, job, reviewer)
    decision = sign(home, case, artifacts, comment=comment, accept_red=accept_red, valid_days=valid_days)
    approved = list(artifacts) or [a.name for a in case.own_files if a.role not in ("log", "own")]
    state, expires = _state(home, case.job.statement), home.session.now() + valid_days * 86400
    cli.out.document(
        {
            "job": case.job.statement, "decision": decision, "artifacts": approved, "state": state, "expires": expires,
        }
    )  # fmt: skip
    cli.out.say(
        _("{reviewer} approved: {files}.", reviewer=case.reviewer, files=_(", ").join(approved)), style="good"
    )
    cli.out.say(_("The job is now: {state}.", state=word("state", state)))
    if state == "in-review":
        cli.out.say(_("Your approval counts until {time}.", time=when(expires)))


@click.command("reject", cls=Command)
@click.argument("job", metavar="ID")
@reviewer_option
@_comment
@pass_cli
def reject(cli: Cli, job: str, reviewer: str | None, comment: str) -> None:
    """Reject an output: it stays closed for good, and its developer is told nothing but that."""
    from trustspace.client import jobs
    from trustspace.client.review import reject as sign
    from trustspace.client.review import sealed_case

    home = cli.acting(signs=True)
    case = sealed_case(home, jobs.resolve_job(home, job), home.reviewer(reviewer))
    decision = sign(home, case, comment=comment)
    state = _state(home, case.job.statement)
    cli.out.document({"job": case.job.statement, "decision": decision, "state": state})
    cli.out.say(
        _("{reviewer} rejected the output. Nobody can open it.", reviewer=case.reviewer), style="good"
    )


@click.command("changes", cls=Command)
@click.argument("job", metavar="ID")
@reviewer_option
@option(
    "--reason",
    "reasons",
    multiple=True,
    required=True,
    type=click.Choice(REASONS),
    help="Why. Developer and buyer read it, in their own language.",
)
@option("--note", default="", metavar="TEXT", help="What you tell the developer besides, sealed to it alone.")
@option("--note-file", type=PATH, metavar="FILE", help="The same, from a text file.")
@_comment
@pass_cli
def changes(
    cli: Cli, job: str, reviewer: str | None, reasons: tuple[str, ...], note: str, note_file: Path | None,
    comment: str,
) -> None:  # fmt: skip
    """Close an output and ask its developer for changes: it answers with another job, whose output you then review.

    This output stays closed for good, as if rejected. What the developer learns is your word alone: write nothing
    into the note that you would not hand over.
    """
    from trustspace.client import jobs
    from trustspace.client.review import request_changes, sealed_case

    if note_file is not None:
        try:
            note = read_bytes(note_file, "note").decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidInput("The file {path} is not UTF-8 text.", path=str(note_file)) from None
    home = cli.acting(signs=True)
    case = sealed_case(home, jobs.resolve_job(home, job), home.reviewer(reviewer))
    decision = request_changes(home, case, reasons, note, comment)
    state = _state(home, case.job.statement)
    cli.out.document(
        {"job": case.job.statement, "decision": decision, "state": state, "reasons": list(reasons)}
    )
    cli.out.say(
        _("{reviewer} asked for changes. Nobody can open this output.", reviewer=case.reviewer), style="good"
    )
    cli.out.say(_("The developer answers with: trustspace job submit FILE --answers ID"))


@click.command("revoke", cls=Command)
@click.argument("job", metavar="ID")
@reviewer_option
@option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def revoke(cli: Cli, job: str, reviewer: str | None, yes: bool) -> None:
    """Stop an output that is in review, approved or released. One reviewer is enough.

    Before its buyer gave a receipt it is served no more, and the buyer's client opens it no more. A buyer who holds
    the approvals and the ciphertext by then may have opened it with another program. After the receipt it is a
    notice, which buyer, developer and auditors see.
    """
    from trustspace.client import jobs
    from trustspace.client.review import revoke as sign

    home = cli.acting(signs=True)
    digest = jobs.resolve_job(home, job)
    title = next(str(listed["title"]) for listed in jobs.listing(home) if listed["statement"] == digest)
    cli.out.ask(_("Revoke the output of “{title}”? It cannot be taken up again.", title=title), yes=yes)
    person = home.reviewer(reviewer)
    revocation = sign(home, digest, person)
    state = _state(home, digest)
    cli.out.document({"job": digest, "revocation": revocation, "state": state, "notice": state == "released"})
    cli.out.say(_("{reviewer} revoked the output.", reviewer=person), style="good")
    if state == "released":
        cli.out.say(
            _("Its buyer gave a receipt before: it has the files, and is told that they are revoked."),
            style="warning",
        )
    else:
        cli.out.say(
            _(
                "It is served no more. A buyer who fetched the approvals and the ciphertext before may have opened it "
                "with another program."
            )
        )


def opened(cli: Cli, job: str, reviewer: str | None) -> tuple[Acting, Case]:
    """The home, to act in, and the case before this reviewer."""
    from trustspace.client import jobs
    from trustspace.client.review import open_case

    home = cli.acting(signs=True)
    return home, open_case(home, jobs.resolve_job(home, job), home.reviewer(reviewer))


def _state(home: Acting, digest: str) -> str:
    from trustspace.client import jobs

    listed: list[dict[str, Any]] = jobs.listing(home)
    return next((str(job["state"]) for job in listed if job["statement"] == digest), "")
