"""``trustspace doctor``: whether this computer can isolate."""

from __future__ import annotations

import click

from trustspace.cli.common import Cli, pass_cli
from trustspace.cli.help import Command
from trustspace.cli.i18n import _, clean_lines, language
from trustspace.errors import CATALOGUE, Code


@click.command("doctor", cls=Command)
@pass_cli
def command(cli: Cli) -> None:
    """Look whether this computer can isolate developers' code. If not, say what to do."""
    from trustspace.sandbox.doctor import probe

    report = probe()
    cli.out.document(
        {
            "tier": report.tier or "",
            "findings": [
                {"name": f.name, "blocks": f.blocks, "text": f.text[language()], "fix": f.fix[language()]}
                for f in report.findings
            ],
        }
    )
    cli.out.say(clean_lines(report.render(language())), style="good" if report.tier else "bad")
    if report.tier and not report.findings:
        cli.out.say(_("This computer can run an enclave."))
    if not report.tier:
        raise click.exceptions.Exit(CATALOGUE[Code.CANNOT_ISOLATE].exit_code)
