"""``trustspace release``: what the buyer receives."""

from __future__ import annotations

from pathlib import Path

import click

from trustspace.cli.common import PATH, Cli, pass_cli
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _
from trustspace.cli.notices import revoked_document, show_revoked
from trustspace.cli.people import People
from trustspace.cli.together import holders, result_document, result_rows
from trustspace.cli.words import short, size


@click.group("release", cls=Group)
def command() -> None:
    """What was released: opened by the buyer alone, with a certificate."""


@command.command("fetch")
@click.argument("job", metavar="ID")
@option(
    "--into", required=True, type=PATH, metavar="DIR", help="Where to write the files and the certificate."
)
@pass_cli
def fetch(cli: Cli, job: str, into: Path) -> None:
    """As the buyer, open what was released, check it, give a receipt and keep the certificate."""
    from trustspace.client import jobs, notices, releases
    from trustspace.domain.certificate import verify
    from trustspace.domain.records import OutputRecord

    home = cli.signer()
    digest = jobs.resolve_job(home, job)
    delivered, certificate = releases.fetch(home, digest)
    releases.save(home, delivered, certificate, into)
    people, verified = People.of(home), verify(certificate, home.trust())
    # After a receipt a revocation takes nothing back; whoever fetches again is told.
    revoked = notices.revocation(home, digest)
    body = verified.job.body
    output = verified.view.get(OutputRecord, verified.job.output)
    assert output is not None  # it was fetched from there
    units = {a.name: a for a in output.body.artifacts}
    proof, trust = into / "certificate.json", into / "trust.json"
    cli.out.document(
        {
            "job": digest,
            "artifacts": [
                {
                    "name": d.name,
                    "media_type": d.media_type,
                    "bytes": len(d.content),
                    "path": str(into / d.name),
                    "source_units": [unit.source_unit for unit in units[d.name].units],
                }
                for d in delivered
            ],
            "certificate": str(proof),
            "trust": str(trust),
            "revoked": revoked_document(revoked, people),
            **result_document(body, output.body, people),
        }
    )
    cli.out.say(_("Job {job} is delivered and checked:", job=short(digest)), style="good")
    show_revoked(cli.out, revoked, people)
    cli.out.table(
        (_("File"), _("Type"), _("Size"), _("Approved by")),
        [
            (str(into / d.name), d.media_type, size(len(d.content)), holders(units[d.name], people))
            for d in delivered
        ],
    )
    cli.out.fields(result_rows(body, output.body, people))
    cli.out.say(
        _(
            "The certificate {file} proves how it came about. Anybody checks it without a network:",
            file=str(proof),
        )
    )
    files = " ".join(f"--artifact {into / d.name}" for d in delivered)
    cli.out.block(f"trustspace verify certificate {proof} --trust {trust} {files}", fold=False)
