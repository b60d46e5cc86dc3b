"""``trustspace release``: what the buyer receives."""

from __future__ import annotations

from pathlib import Path

import click

from trustspace.cli.common import PATH, Cli, pass_cli
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _
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
    from trustspace.client import jobs, releases

    home = cli.signer()
    digest = jobs.resolve_job(home, job)
    delivered, certificate = releases.fetch(home, digest)
    releases.save(home, delivered, certificate, into)
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
                }
                for d in delivered
            ],
            "certificate": str(proof),
            "trust": str(trust),
        }
    )
    cli.out.say(_("Job {job} is delivered and checked:", job=short(digest)), style="good")
    cli.out.table(
        (_("File"), _("Type"), _("Size")),
        [(str(into / d.name), d.media_type, size(len(d.content))) for d in delivered],
    )
    cli.out.say(
        _(
            "The certificate {file} proves how it came about. Anybody checks it without a network:",
            file=str(proof),
        )
    )
    files = " ".join(f"--artifact {into / d.name}" for d in delivered)
    cli.out.block(f"trustspace verify certificate {proof} --trust {trust} {files}")
