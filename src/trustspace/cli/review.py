"""``trustspace review``: see the evidence, decide, and by approving hand on the key."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import click

from trustspace.cli import decision, desk
from trustspace.cli.blind import blind_document, show_blind
from trustspace.cli.common import Cli, pass_cli
from trustspace.cli.decision import opened, own_files, reviewer_option
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _, language
from trustspace.cli.job import show_jobs
from trustspace.cli.notices import answered_document, revoked_document, show_answered, show_revoked
from trustspace.cli.people import People
from trustspace.cli.policy_file import policy_document, show_changes
from trustspace.cli.together import holders, result_document, result_rows
from trustspace.cli.words import size, when, word
from trustspace.errors import PermissionDenied

if TYPE_CHECKING:
    from trustspace.client.acting import Acting
    from trustspace.client.review import Case
    from trustspace.client.standing import Person, Standing
    from trustspace.evidence.words import Language

_VERDICT_STYLES = {"green": "good", "amber": "warning", "red": "bad"}


@click.group("review", cls=Group)
def command() -> None:
    """Outputs: nothing leaves before named people approved its exact bytes."""


@command.command("list")
@option("--reviewer", metavar="PERSON", help="Only what this person has not decided yet.")
@pass_cli
def listing(cli: Cli, reviewer: str | None) -> None:
    """List outputs that wait for your source unit's review."""
    from trustspace.client.review import queue

    home = cli.acting()
    found = queue(home, reviewer)
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
@pass_cli
def show(cli: Cli, job: str, reviewer: str | None, log: bool) -> None:
    """Show the evidence on a job's output, what the job answers, and who has decided.

    Where two or more must approve, what colleagues decided is kept from you until you have decided.
    """
    from trustspace.client import notices
    from trustspace.client.review import policy_of, standing_for
    from trustspace.evidence.render import render_text

    home, case = opened(cli, job, reviewer)
    texts = _logs(home, case) if log else {}
    own, names = own_files(home, case), People.of(home)
    standing, body = standing_for(case, case.reviewer), case.job.body
    answered, revoked = notices.answered(home, case.job), notices.revocation(home, case.job.statement)
    cli.out.document(
        {
            "job": case.job.statement, "output": case.output.statement, "title": body.title, "state": case.job.state,
            "reviewer": case.reviewer, "verdict": case.report.verdict, "report": case.report.to_json(),
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
            "logs": texts, "blind": blind_document(body), **policy_document(policy_of(home, case.dossier, case.job)),
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
            (_("State"), word("state", case.job.state)),
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
        cli.out.heading(_("What the run printed ({file}); the developer chose these words", file=name))
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


def _logs(home: Acting, case: Case) -> dict[str, str | None]:
    """What the run printed, by file; None where this reviewer cannot open it alone."""
    from trustspace.client.review import open_artifact

    texts: dict[str, str | None] = {}
    for artifact in own_files(home, case):
        if artifact.role == "log":
            texts[artifact.name] = None
            with contextlib.suppress(PermissionDenied):
                texts[artifact.name] = open_artifact(home, case, artifact.name).decode("utf-8", "replace")
    return texts


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


for decide in (decision.approve, decision.changes, decision.reject, decision.revoke, desk.web):
    command.add_command(decide)
