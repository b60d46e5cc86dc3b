"""``trustspace job``: asking to use data, and answering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trustspace.cli.common import PATH, Cli, pass_cli
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _, compose
from trustspace.cli.jobview import request_document, show_code, show_grant, show_request
from trustspace.cli.notices import (
    answered_document,
    changes_document,
    revoked_document,
    show_answered,
    show_changes,
    show_revoked,
)
from trustspace.cli.people import People
from trustspace.cli.privacy import thousandths
from trustspace.cli.quiet import job_document, show_quiet
from trustspace.cli.reviewer import show_four_eyes
from trustspace.cli.words import short, when, word
from trustspace.domain.tiers import ANY_TIER, TIERS


@click.group("job", cls=Group)
def command() -> None:
    """Jobs: a developer asks, source units grant or refuse, the buyer countersigns."""


@command.command("submit")
@click.argument("file", type=PATH)
@option(
    "--answers",
    metavar="ID",
    help="The job of yours that this one answers, such as one whose output was to be changed.",
)
@pass_cli
def submit(cli: Cli, file: Path, answers: str | None) -> None:
    """Submit the job that FILE (TOML) describes, with the code beside it. See trustspace job schema."""
    from trustspace.client import blindcode, jobs

    home = cli.signer()
    answered = jobs.resolve_job(home, answers) if answers else ""
    digest = jobs.submit(home, file, supersedes=answered)
    is_blind = digest in blindcode.kept(home)
    cli.out.document({"job": digest, "blind": is_blind, "answers": answered})
    cli.out.say(_("The job is submitted ({digest}).", digest=short(digest)), style="good")
    cli.out.say(_("Next: the buyer countersigns it, and every source unit grants or refuses it."))
    if is_blind:
        cli.out.say(
            _(
                "Its code is blind. Keep your broker running (trustspace broker serve): no run opens the data without "
                "its key."
            )
        )


@command.command("rehearse")
@click.argument("file", type=PATH)
@option(
    "--mock",
    "mocks",
    multiple=True,
    metavar="DATASET=FILE",
    help="Use this Parquet file for a dataset (or source-unit/dataset). With one for each, no space is asked.",
)
@option("--runtime", type=PATH, metavar="DIR", help="The sandbox's runtime, if it is not in its usual place.")
@pass_cli
def rehearse(cli: Cli, file: Path, mocks: tuple[str, ...], runtime: Path | None) -> None:
    """Play the job that FILE describes on the datasets' mock samples, on this machine; nothing is submitted.

    The same programs, sandbox, rounds and checks as in an enclave. It shows what reviewers would see, what would
    be refused, and time, memory and sizes against the limits. Its numbers say nothing about the real data. The
    exit code is that of the first thing that would be refused or would fail.
    """
    from trustspace.cli.rehearse import given_files
    from trustspace.cli.rehearse import rehearse as play

    play(cli, file, given_files(mocks), runtime)


@command.command("list")
@pass_cli
def listing(cli: Cli) -> None:
    """List the jobs that you take part in."""
    from trustspace.client import jobs

    home = cli.acting()
    people, found = People.of(home), jobs.listing(home)
    cli.out.document({"jobs": [_named(job, people) for job in found]})
    if not found:
        cli.out.say(_("There is no job of yours in this space yet."))
        return
    show_jobs(cli, people, found)


def show_jobs(cli: Cli, people: People, found: list[dict[str, Any]]) -> None:
    """A table of jobs as the space lists them."""
    cli.out.table(
        (
            _("Job"), _("Title"), _("State"), _("Waits for"), _("Source units"),
            f"{_('Developer')} / {_('Buyer')}", _("Until"),
        ),
        [
            (
                short(str(job["statement"])), str(job["title"]), word("state", str(job["state"])),
                _waits_for(job), people.names(job["source_units"]),
                f"{people.name(str(job['developer']))}\n{people.name(str(job['buyer']))}", when(int(job["expires"])),
            )
            for job in found
        ],
    )  # fmt: skip


def _waits_for(job: dict[str, Any]) -> str:
    """Who acts next and, among several source units, how many have granted."""
    waits = word("next", str(job.get("waiting_for", ""))) or "-"
    granted, count = job.get("granted_by"), len(job["source_units"])
    if granted is None or count == 1 or job["state"] != "submitted":
        return waits
    return f"{waits}\n{compose('{granted} of {count} granted', granted=len(granted), count=count)}"


def _named(job: dict[str, Any], people: People) -> dict[str, Any]:
    return {
        **job,
        "source_unit_names": [people.plain(str(unit)) for unit in job["source_units"]],
        "developer_name": people.plain(str(job["developer"])),
        "buyer_name": people.plain(str(job["buyer"])),
    }


@command.command("show")
@click.argument("job", metavar="ID")
@option("--code", is_flag=True, help="Show the whole text of the developer's code.")
@pass_cli
def show(cli: Cli, job: str, code: bool) -> None:
    """Show exactly what a job asks for, proven and by the names that you pinned."""
    from trustspace.client import jobs, notices

    home = cli.acting()
    asked = jobs.request(home, jobs.resolve_job(home, job))
    people = People.of(home)
    state = next(str(j["state"]) for j in jobs.listing(home) if j["statement"] == asked.job.statement)
    if asked.job.state == "cancelled":
        state = asked.job.state  # the developer's own word, which the coarse list does not repeat
    answered = notices.answered(home, asked.job)
    changes, revoked = (
        notices.changes(home, asked.job.statement),
        notices.revocation(home, asked.job.statement),
    )
    cli.out.document(
        {
            **request_document(asked, people, state), "quiet": job_document(home, asked),
            "answers": answered_document(answered, people), "changes": changes_document(changes, people),
            "revoked": revoked_document(revoked, people),
        }
    )  # fmt: skip
    show_request(cli.out, asked, people, state)
    show_answered(cli.out, answered, people)
    show_changes(cli.out, changes, people)
    show_revoked(cli.out, revoked, people)
    show_quiet(cli.out, home, asked, people)
    if code:
        show_code(cli.out, asked)
    elif asked.code:
        cli.out.say(_("To read the code: add --code."))


@command.command("countersign")
@click.argument("job", metavar="ID")
@pass_cli
def countersign(cli: Cli, job: str) -> None:
    """As the buyer, agree to a job and to the key that its output would come to."""
    from trustspace.client import jobs

    home = cli.signer()
    asked = jobs.request(home, jobs.resolve_job(home, job))
    digest = jobs.countersign(home, asked.job.statement)
    cli.out.document({"job": asked.job.statement, "countersignature": digest})
    cli.out.say(_("The job “{title}” is countersigned.", title=asked.job.body.title), style="good")


@command.command("grant")
@click.argument("job", metavar="ID")
@option(
    "--reviewer",
    "reviewers",
    multiple=True,
    metavar="PERSON",
    help="Who reviews the output. Else all of your reviewers.",
)
@option("--threshold", type=click.IntRange(1, 32), metavar="N",
        help="How many of them must approve. Else as many as your policy demands.")  # fmt: skip
@option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    metavar="N",
    help="How many runs may open the data.",
)
@option(
    "--days",
    type=click.IntRange(1, 366),
    default=30,
    show_default=True,
    metavar="N",
    help="For how many days.",
)
@option(
    "--tier",
    type=click.Choice((ANY_TIER, *reversed(TIERS))),
    default="any",
    show_default=True,
    help="The weakest sandbox that will do.",
)
@option(
    "--small-sums",
    is_flag=True,
    help="Say in words that a sum may be of two source units, who can compute each other's part.",
)
@option(
    "--recovery",
    is_flag=True,
    help="Say in words that fewer than all source units together can open every single update.",
)
@option(
    "--privacy",
    callback=thousandths,
    metavar="EPSILON",
    help="How much differential privacy it may spend at most. Else what the job claims.",
)
@option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def grant(
    cli: Cli, job: str, reviewers: tuple[str, ...], threshold: int | None, runs: int, days: int, tier: str,
    small_sums: bool, recovery: bool, privacy: int | None, yes: bool,
) -> None:  # fmt: skip
    """As a source unit, permit a job. Shows what it asks and what a grant permits, and asks.

    Your broker then releases the data key to its runs without asking again.
    """
    from trustspace.client import jobs, notices

    home = cli.signer()
    asked = jobs.request(home, jobs.resolve_job(home, job))
    people = People.of(home)
    # Shown first: what is wrong with a grant, such as words that are missing, is explained there.
    show_request(cli.out, asked, people, asked.job.state)
    show_answered(cli.out, notices.answered(home, asked.job), people)
    body = jobs.draft_grant(
        home, asked, reviewers=reviewers, threshold=threshold, runs=runs, days=days, sandbox_tier=tier,
        small_sums=small_sums, recovery=recovery, privacy_millis=privacy,
    )  # fmt: skip
    if asked.code and not yes and cli.out.wants(_("Read the developer's code now?")):
        show_code(cli.out, asked)
    show_grant(cli.out, asked, people, body)
    if body.reviewer_threshold > 1 and {r.holder for r in body.reviewers} & set(home.reviewers_here):
        show_four_eyes(cli, home)
    show_quiet(cli.out, home, asked, people, body.runs)
    cli.out.ask(_("Grant exactly this?"), yes=yes)
    digest = home.submit(body, "grant").digest
    cli.out.document(
        {
            "job": asked.job.statement, "grant": digest, "reviewers": [r.holder for r in body.reviewers],
            "threshold": body.reviewer_threshold, "runs": body.runs, "expires": body.expires,
            "sandbox_tier": body.sandbox_tier, "evidence_kind": body.evidence_kind, "small_sums": body.small_sums,
            "recovery": body.recovery, "privacy_millis": body.privacy_millis,
            "quiet": job_document(home, asked, body.runs),
        }
    )  # fmt: skip
    cli.out.say(_("Granted ({digest}).", digest=short(digest)), style="good")
    cli.out.say(_("Your broker (trustspace broker serve) releases the key as soon as a run asks for it."))


@command.command("refuse")
@click.argument("job", metavar="ID")
@pass_cli
def refuse(cli: Cli, job: str) -> None:
    """As a source unit, refuse a job, or take a grant back; a run that is on stops, for everybody in it.

    It binds your broker and your enclave at once, whatever the space does.
    """
    from trustspace.client import jobs

    home = cli.signer()
    digest = jobs.resolve_job(home, job)
    refusal = jobs.refuse(home, digest)
    cli.out.document({"job": digest, "refusal": refusal})
    cli.out.say(_("Job {job} is refused: no data key of yours goes to it.", job=short(digest)), style="good")


@command.command("cancel")
@click.argument("job", metavar="ID")
@option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def cancel(cli: Cli, job: str, yes: bool) -> None:
    """As the developer, take a job back for good; a run that is on stops, and what came out stays closed."""
    from trustspace.client import jobs

    home = cli.signer()
    digest = jobs.resolve_job(home, job)
    title = next(str(listed["title"]) for listed in jobs.listing(home) if listed["statement"] == digest)
    question = _(
        "Cancel the job “{title}” ({digest})? It cannot be taken up again.", title=title, digest=short(digest)
    )
    cli.out.ask(question, yes=yes)
    cancellation = jobs.cancel(home, digest)
    cli.out.document({"job": digest, "cancellation": cancellation})
    cli.out.say(_("Job {job} is cancelled.", job=short(digest)), style="good")


@command.command("schema")
@pass_cli
def schema(cli: Cli) -> None:
    """Print the JSON Schema of a job file."""
    import json

    from trustspace.jobs.spec import job_schema

    cli.out.document(job_schema())
    cli.out.say(json.dumps(job_schema(), indent=2, ensure_ascii=False))
