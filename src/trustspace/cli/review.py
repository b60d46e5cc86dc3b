"""``trustspace review``: see the evidence, decide, and by approving hand on the key."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import click

from trustspace.cli.blind import blind_document, show_blind
from trustspace.cli.common import Cli, pass_cli
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _, language
from trustspace.cli.job import show_jobs
from trustspace.cli.people import People
from trustspace.cli.together import holders, is_of, result_document, result_rows
from trustspace.cli.words import size, word
from trustspace.errors import PermissionDenied

if TYPE_CHECKING:
    from trustspace.client.home import PartyHome
    from trustspace.client.review import Case
    from trustspace.domain.bodies import Artifact
    from trustspace.evidence.words import Language

_VERDICT_STYLES = {"green": "good", "amber": "warning", "red": "bad"}
_reviewer = option(
    "--reviewer", required=True, metavar="PERSON", help="Who you are, of your source unit's reviewers."
)


@click.group("review", cls=Group)
def command() -> None:
    """Outputs: nothing leaves before named people approved its exact bytes."""


@command.command("list")
@option("--reviewer", metavar="PERSON", help="Only what this person has not decided yet.")
@pass_cli
def listing(cli: Cli, reviewer: str | None) -> None:
    """List outputs that wait for your source unit's review."""
    from trustspace.client.review import queue

    home = cli.party()
    found = queue(home, reviewer)
    cli.out.document({"reviews": found})
    if not found:
        cli.out.say(_("Nothing waits for review."))
        return
    show_jobs(cli, People.of(home), found)


@command.command("show")
@click.argument("job", metavar="ID")
@_reviewer
@option("--log", is_flag=True, help="Also show what the run printed. It never goes to anybody else.")
@pass_cli
def show(cli: Cli, job: str, reviewer: str, log: bool) -> None:
    """Show the evidence on a job's output, and who has decided."""
    from trustspace.evidence.render import render_text

    home, case = _open(cli, job, reviewer)
    texts = _logs(home, case) if log else {}
    own, names = _own(home, case), People.of(home)
    people = _decisions(case, home.session.now())
    body = case.job.body
    cli.out.document(
        {
            "job": case.job.statement, "output": case.output.statement, "title": body.title, "state": case.job.state,
            "reviewer": reviewer, "verdict": case.report.verdict, "report": case.report.to_json(),
            "artifacts": [
                {
                    "name": a.name, "media_type": a.media_type, "role": a.role, "sealed_bytes": a.sealed_bytes,
                    "source_units": [unit.source_unit for unit in a.units],
                }
                for a in own
            ],
            **result_document(body, case.output.body, names), "source_units": _units(case, names),
            "four_eyes": {
                "required": case.grant.body.reviewer_threshold,
                "approved": sum(p["decision"] == "approve" for p in people), "reviewers": people,
            },
            "logs": texts, "blind": blind_document(body),
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
    if body.blind is not None:
        cli.out.heading(_("Developer's own code"))
        show_blind(cli.out, body)
    cli.out.heading(_("Evidence, computed in your enclave from these exact bytes"))
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
    _show_four_eyes(cli, case, people)
    if len(body.source_units) > 1:
        cli.out.heading(_("Every source unit must approve"))
        cli.out.table(
            (_("Source unit"), _("Approvals")),
            [
                (
                    names.name(str(unit["fingerprint"])),
                    _("rejected")
                    if unit["rejected"]
                    else _("{approved} of {required}", approved=unit["approved"], required=unit["required"]),
                )
                for unit in _units(case, names)
            ],
        )
    for name, text in texts.items():
        cli.out.heading(_("What the run printed ({file}); the developer chose these words", file=name))
        if text is None:
            cli.out.say(_("It opens only with the other reviewers' shares: no single person can read it."))
        else:
            cli.out.block(text)


def _own(home: PartyHome, case: Case) -> list[Artifact]:
    """The files that this source unit decides on."""
    return [a for a in case.output.body.artifacts if is_of(a, home.fingerprint)]


def _units(case: Case, people: People) -> list[dict[str, Any]]:
    """How far each source unit of the job is with its review."""
    from trustspace.domain.records import DecisionRecord, GrantRecord

    view = case.dossier.view
    found = [view.get(DecisionRecord, digest) for digest in case.output.decisions.values()]
    units = []
    for unit in case.job.body.source_units:
        grant = view.get(GrantRecord, case.job.grants.get(unit, ""))
        verdicts = [d.body.verdict for d in found if d is not None and d.source_unit == unit]
        units.append(
            {
                "name": people.plain(unit), "fingerprint": unit, "approved": verdicts.count("approve"),
                "rejected": "reject" in verdicts, "required": grant.body.reviewer_threshold if grant else 1,
            }
        )  # fmt: skip
    return units


def _logs(home: PartyHome, case: Case) -> dict[str, str | None]:
    """What the run printed, by file; None where this reviewer cannot open it alone."""
    from trustspace.client.review import open_artifact

    texts: dict[str, str | None] = {}
    for artifact in _own(home, case):
        if artifact.role == "log":
            texts[artifact.name] = None
            with contextlib.suppress(PermissionDenied):
                texts[artifact.name] = open_artifact(home, case, artifact.name).decode("utf-8", "replace")
    return texts


def _show_four_eyes(cli: Cli, case: Case, people: list[dict[str, str]]) -> None:
    approved = sum(person["decision"] == "approve" for person in people)
    cli.out.heading(
        _("Reviewers: {approved} of the {required} approvals that are needed",
          approved=approved, required=case.grant.body.reviewer_threshold)
    )  # fmt: skip
    cli.out.table(
        (_("Reviewer"), _("Decision")),
        [(person["name"], word("verdict", person["decision"])) for person in people],
    )


def _decisions(case: Case, now: int) -> list[dict[str, str]]:
    """Each reviewer whom the grant names, with "approve", "reject", "lapsed" or ""."""
    from trustspace.domain.records import DecisionRecord

    verdicts: dict[str, str] = {}
    for digest in case.output.decisions.values():
        record = case.dossier.view.get(DecisionRecord, digest)
        if record is not None:
            lapsed = record.body.verdict == "approve" and record.body.expires < now
            verdicts[record.reviewer] = "lapsed" if lapsed else record.body.verdict
    return [
        {"name": reviewer.holder, "decision": verdicts.get(reviewer.review, "")}
        for reviewer in case.grant.body.reviewers
    ]


@command.command("approve")
@click.argument("job", metavar="ID")
@_reviewer
@option(
    "--artifact",
    "artifacts",
    multiple=True,
    metavar="NAME",
    help="Only this file. Else all but what the run printed.",
)
@option(
    "--comment",
    default="",
    metavar="TEXT",
    help="Your reason; it stays with you, the ledger holds a commitment to it.",
)
@option("--accept-red", is_flag=True, help="Approve although the evidence is red. Needs --comment.")
@pass_cli
def approve(
    cli: Cli, job: str, reviewer: str, artifacts: tuple[str, ...], comment: str, accept_red: bool
) -> None:
    """Approve an output: your share of its key goes to the buyer, and cannot be taken back."""
    from trustspace.client.review import approve as sign

    home, case = _open(cli, job, reviewer)
    decision = sign(home, case, artifacts, comment=comment, accept_red=accept_red)
    approved = list(artifacts) or [a.name for a in _own(home, case) if a.role not in ("log", "own")]
    state = _state(home, case.job.statement)
    cli.out.document({"job": case.job.statement, "decision": decision, "artifacts": approved, "state": state})
    cli.out.say(
        _("{reviewer} approved: {files}.", reviewer=reviewer, files=_(", ").join(approved)), style="good"
    )
    cli.out.say(_("The job is now: {state}.", state=word("state", state)))


@command.command("reject")
@click.argument("job", metavar="ID")
@_reviewer
@option(
    "--comment",
    default="",
    metavar="TEXT",
    help="Your reason; it stays with you, the ledger holds a commitment to it.",
)
@pass_cli
def reject(cli: Cli, job: str, reviewer: str, comment: str) -> None:
    """Reject an output: it stays closed for good."""
    from trustspace.client import jobs
    from trustspace.client.review import reject as sign
    from trustspace.client.review import sealed_case

    home = cli.signer()
    case = sealed_case(home, jobs.resolve_job(home, job), reviewer)
    decision = sign(home, case, comment=comment)
    state = _state(home, case.job.statement)
    cli.out.document({"job": case.job.statement, "decision": decision, "state": state})
    cli.out.say(_("{reviewer} rejected the output. Nobody can open it.", reviewer=reviewer), style="good")


def _open(cli: Cli, job: str, reviewer: str) -> tuple[PartyHome, Case]:
    from trustspace.client import jobs
    from trustspace.client.review import open_case

    home = cli.signer()
    return home, open_case(home, jobs.resolve_job(home, job), reviewer)


def _state(home: PartyHome, digest: str) -> str:
    from trustspace.client import jobs

    listed: list[dict[str, Any]] = jobs.listing(home)
    return next((str(job["state"]) for job in listed if job["statement"] == digest), "")
