"""``trustspace review``: see the evidence, decide, and by approving hand on the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from trustspace.cli import decision, desk
from trustspace.cli.blind import blind_document, show_blind
from trustspace.cli.common import Cli, pass_cli
from trustspace.cli.decision import opened, reviewer_option
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _, language
from trustspace.cli.job import show_jobs
from trustspace.cli.notices import answered_document, revoked_document, show_answered, show_revoked
from trustspace.cli.people import People
from trustspace.cli.policy_file import policy_document, show_changes
from trustspace.cli.together import holders, result_document, result_rows
from trustspace.cli.words import short, size, when, word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trustspace.client.acting import Acting
    from trustspace.client.review import Case
    from trustspace.client.standing import Person, Standing
    from trustspace.evidence.words import Language

_VERDICT_STYLES = {"green": "good", "amber": "warning", "red": "bad"}


@click.group("review", cls=Group)
def command() -> None:
    """Outputs: nothing leaves before named people approved its exact bytes."""


@command.command("list")
@option("--reviewer", metavar="PERSON",
        help="Only what this person has not decided yet; in a reviewer's own home, always.")  # fmt: skip
@pass_cli
def listing(cli: Cli, reviewer: str | None) -> None:
    """List outputs that wait for your source unit's review."""
    from trustspace.client.review import queue

    home = cli.acting()
    # Whose home holds one person's keys and no more lists what waits for that person, as the desk does.
    found = queue(home, reviewer if reviewer or home.roles else home.reviewer())
    cli.out.document({"reviews": found})
    if not found:
        cli.out.say(_("Nothing waits for review."))
        return
    show_jobs(cli, People.of(home), found)


@command.command("show")
@click.argument("job", metavar="ID")
@reviewer_option
@option(
    "--log",
    is_flag=True,
    help="Also show what the run printed. It leaves only if you approve that file by name.",
)
@option("--file", "files", multiple=True, metavar="NAME",
        help="Also show what stands in this file of text, where you can open it alone.")  # fmt: skip
@pass_cli
def show(cli: Cli, job: str, reviewer: str | None, log: bool, files: tuple[str, ...]) -> None:
    """Show the evidence on a job's output, what the job answers, and who has decided.

    Where two or more must approve, what colleagues decided is kept from you until you have decided. That you have seen
    it is noted in your home (trustspace review viewed).
    """
    from trustspace.client import notices, viewing
    from trustspace.client.review import policy_of, standing_for
    from trustspace.evidence.render import render_text

    home, case = opened(cli, job, reviewer)
    texts = _texts(home, case, [a.name for a in case.own_files if a.role == "log" and log])
    contents = _texts(home, case, files)
    own, names = case.own_files, People.of(home)
    standing, body = standing_for(case, case.reviewer), case.job.body
    answered, revoked = notices.answered(home, case.job), notices.revocation(home, case.job.statement)
    viewed = viewing.note(home, case)
    cli.out.document(
        {
            "job": case.job.statement, "output": case.output.statement, "title": body.title, "state": case.state,
            "reviewer": case.reviewer, "viewed": viewed.at, "verdict": case.report.verdict,
            "report": case.report.to_json(),
            "artifacts": [
                {
                    "name": a.name, "media_type": a.media_type, "role": a.role, "sealed_bytes": a.sealed_bytes,
                    "source_units": [unit.source_unit for unit in a.units],
                }
                for a in own
            ],
            **result_document(body, case.output.body, names), "source_units": _units(standing, names),
            "four_eyes": {
                "required": standing.required, "approved": standing.approved, "blind": standing.blind,
                "reviewers": [_person(person) for person in standing.people],
            },
            "answers": answered_document(answered, names), "revoked": revoked_document(revoked, names),
            "logs": texts, "contents": contents, "blind": blind_document(body),
            **policy_document(policy_of(home, case.dossier, case.job)),
        }
    )  # fmt: skip
    if cli.out.as_json:
        return
    cli.out.fields(
        [
            (_("Job"), case.job.statement),
            (_("Title"), body.title),
            (_("Developer"), names.name(body.developer)),
            (_("Buyer"), names.name(body.buyer)),
            (_("State"), word("state", case.state)),
            (_("First shown to you"), when(viewed.at)),
            *result_rows(body, case.output.body, names),
        ]
    )
    show_revoked(cli.out, revoked, names)
    show_answered(cli.out, answered, names)
    if body.blind is not None:
        cli.out.heading(_("Developer's own code"))
        show_blind(cli.out, body)
    cli.out.heading(
        _("Evidence, computed in your enclave from these exact bytes")
        if case.is_from_own_enclave
        else _("Evidence, computed in another source unit's enclave: yours dropped out")
    )
    verdict, report = render_text(case.report, cast("Language", language())).split("\n", 1)
    cli.out.say(verdict, style=_VERDICT_STYLES[case.report.verdict])
    cli.out.report(report)
    cli.out.heading(_("Sealed files"))
    cli.out.table(
        (_("File"), _("Type"), _("Sealed size (padded)"), _("Decided on by"), _("Released if approved")),
        [
            (
                a.name,
                a.media_type,
                size(a.sealed_bytes),
                holders(a, names),
                _("never: it is yours")
                if a.role == "own"
                else _("only if you name it")
                if a.role == "log"
                else _("yes"),
            )
            for a in own
        ],
    )
    others = len(case.output.body.artifacts) - len(own)
    if others:
        cli.out.say(
            _("Other source units have {count} more file(s) of their own, closed to you.", count=others)
        )
    show_changes(cli.out, policy_of(home, case.dossier, case.job))
    _show_four_eyes(cli, standing)
    if len(body.source_units) > 1:
        cli.out.heading(_("Every source unit must approve"))
        cli.out.table(
            (_("Source unit"), _("Approvals")),
            [
                (
                    names.name(unit.source_unit),
                    _("rejected")
                    if unit.closed
                    else word("verdict", "hidden")
                    if unit.approved is None
                    else _("{approved} of {required}", approved=unit.approved, required=unit.required),
                )
                for unit in standing.units
            ],
        )
    for name, text in texts.items():
        _show_text(cli, _("What the run printed ({file}); the developer chose these words", file=name), text)
    for name, text in contents.items():
        _show_text(cli, _("What stands in {file}", file=name), text)


def _show_text(cli: Cli, heading: str, text: str | None) -> None:
    cli.out.heading(heading)
    if text is None:
        cli.out.say(_("It opens only with the other reviewers' shares: no single person can read it."))
    else:
        cli.out.block(text)


def _units(standing: Standing, people: People) -> list[dict[str, Any]]:
    """How far each source unit of the job is with its review; None where that is kept from this reviewer yet."""
    return [
        {
            "name": people.plain(unit.source_unit), "fingerprint": unit.source_unit, "approved": unit.approved,
            "rejected": unit.closed, "required": unit.required,
        }
        for unit in standing.units
    ]  # fmt: skip


def _texts(home: Acting, case: Case, names: Iterable[str]) -> dict[str, str | None]:
    """What stands in these files; None where this reviewer cannot open one alone."""
    from trustspace.client.viewing import text_of

    return {name: text_of(home, case, name) for name in names}


def _person(person: Person) -> dict[str, Any]:
    return {
        "name": person.name, "decision": person.decision, "expires": person.expires, "comment": person.comment,
        "reasons": list(person.reasons),
    }  # fmt: skip


def _show_four_eyes(cli: Cli, standing: Standing) -> None:
    if standing.approved is None:
        cli.out.heading(_("Reviewers: {required} approvals are needed", required=standing.required))
        cli.out.say(_("What your colleagues decided is shown once you have decided: each judges alone."))
    else:
        cli.out.heading(
            _("Reviewers: {approved} of the {required} approvals that are needed",
              approved=standing.approved, required=standing.required)
        )  # fmt: skip
    cli.out.table(
        (_("Reviewer"), _("Decision"), _("Counts until"), _("Comment")),
        [
            (
                person.name,
                word("verdict", person.decision),
                when(person.expires) if person.expires else "-",
                person.comment or "-",
            )
            for person in standing.people
        ],
    )


@command.command("viewed")
@pass_cli
def viewed(cli: Cli) -> None:
    """List which evidence was shown from this home, to whom, and when first: an auditor's question.

    It is this home's own note, of the desk and of trustspace review show. No line can be changed or taken out from
    between others unseen; but whoever holds the home can cut off the end, or write all of it anew.
    """
    from trustspace.client.viewing import viewings

    found = viewings(cli.acting())
    cli.out.document({"viewed": [vars(viewing) for viewing in found]})
    if not found:
        cli.out.say(_("No evidence was shown from this home yet."))
        return
    cli.out.table(
        (_("First shown"), _("Reviewer"), _("Job"), _("Evidence"), _("Entries in the ledger by then")),
        [(when(v.at), v.reviewer, short(v.job), short(v.evidence), str(v.log_size)) for v in found],
    )


for decide in (decision.approve, decision.changes, decision.reject, decision.revoke, desk.web):
    command.add_command(decide)
