"""``trustspace job``: asking to use data, and answering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trustspace.cli.common import PATH, Cli, pass_cli
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _
from trustspace.cli.jobview import request_document, show_code, show_grant, show_request
from trustspace.cli.people import People
from trustspace.cli.words import short, when, word
from trustspace.domain.tiers import ANY_TIER, TIERS


@click.group("job", cls=Group)
def command() -> None:
    """Jobs: a developer asks, source units grant or refuse, the buyer countersigns."""


@command.command("submit")
@click.argument("file", type=PATH)
@pass_cli
def submit(cli: Cli, file: Path) -> None:
    """Submit the job that FILE (TOML) describes, with the code beside it. See trustspace job schema."""
    from trustspace.client import jobs

    home = cli.signer()
    digest = jobs.submit(home, file)
    cli.out.document({"job": digest})
    cli.out.say(_("The job is submitted ({digest}).", digest=short(digest)), style="good")
    cli.out.say(_("Next: the buyer countersigns it, and the source unit grants or refuses it."))


@command.command("list")
@pass_cli
def listing(cli: Cli) -> None:
    """List the jobs that you take part in."""
    from trustspace.client import jobs

    home = cli.party()
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
                word("next", str(job.get("waiting_for", ""))) or "-", people.names(job["source_units"]),
                f"{people.name(str(job['developer']))}\n{people.name(str(job['buyer']))}", when(int(job["expires"])),
            )
            for job in found
        ],
    )  # fmt: skip


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
    from trustspace.client import jobs

    home = cli.party()
    asked = jobs.request(home, jobs.resolve_job(home, job))
    people = People.of(home)
    state = next(str(j["state"]) for j in jobs.listing(home) if j["statement"] == asked.job.statement)
    cli.out.document(request_document(asked, people, state))
    show_request(cli.out, asked, people, state)
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
@option("--threshold", type=click.IntRange(1, 32), default=1, show_default=True, metavar="N",
        help="How many of them must approve.")  # fmt: skip
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
@option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def grant(
    cli: Cli, job: str, reviewers: tuple[str, ...], threshold: int, runs: int, days: int, tier: str, yes: bool
) -> None:
    """As a source unit, permit a job. Shows what it asks and what a grant permits, and asks.

    Your broker then releases the data key to its runs without asking again.
    """
    from trustspace.client import jobs

    home = cli.signer()
    asked = jobs.request(home, jobs.resolve_job(home, job))
    people = People.of(home)
    body = jobs.draft_grant(
        home, asked, reviewers=reviewers, threshold=threshold, runs=runs, days=days, sandbox_tier=tier
    )
    show_request(cli.out, asked, people, asked.job.state)
    if asked.code and not yes and cli.out.wants(_("Read the developer's code now?")):
        show_code(cli.out, asked)
    show_grant(cli.out, asked, people, body)
    cli.out.ask(_("Grant exactly this?"), yes=yes)
    digest = home.submit(body, "grant").digest
    cli.out.document(
        {
            "job": asked.job.statement, "grant": digest, "reviewers": [r.holder for r in body.reviewers],
            "threshold": body.reviewer_threshold, "runs": body.runs, "expires": body.expires,
            "sandbox_tier": body.sandbox_tier, "evidence_kind": body.evidence_kind,
        }
    )  # fmt: skip
    cli.out.say(_("Granted ({digest}).", digest=short(digest)), style="good")
    cli.out.say(_("Your broker (trustspace broker serve) releases the key as soon as a run asks for it."))


@command.command("refuse")
@click.argument("job", metavar="ID")
@pass_cli
def refuse(cli: Cli, job: str) -> None:
    """As a source unit, refuse a job, or stop one that you granted. It binds your broker at once."""
    from trustspace.client import jobs

    home = cli.signer()
    digest = jobs.resolve_job(home, job)
    refusal = jobs.refuse(home, digest)
    cli.out.document({"job": digest, "refusal": refusal})
    cli.out.say(_("Job {job} is refused: no data key of yours goes to it.", job=short(digest)), style="good")


@command.command("schema")
@pass_cli
def schema(cli: Cli) -> None:
    """Print the JSON Schema of a job file."""
    import json

    from trustspace.jobs.spec import job_schema

    cli.out.document(job_schema())
    cli.out.say(json.dumps(job_schema(), indent=2, ensure_ascii=False))
