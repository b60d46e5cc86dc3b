"""``trustspace doctor``: whether this computer can isolate, and what it adds up with."""

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
    from trustspace.aggregation.lattice import native
    from trustspace.aggregation.lattice.backend import best_backend
    from trustspace.enclave.settings import FILE, read_settings
    from trustspace.sandbox import diagnosis
    from trustspace.sandbox.config import SandboxConfig
    from trustspace.sandbox.doctor import survey

    own = (cli.home / FILE).is_file()
    config = read_settings(cli.home).config(cli.home, None) if own else SandboxConfig()
    reports = survey(config)
    found = diagnosis.document(reports, config.backend, language())
    sums = best_backend().name
    cli.out.document({**found, "lattice_backend": sums})
    text = diagnosis.render(reports, config.backend, language(), own=own, minimum=config.minimum_tier)
    good = diagnosis.accepted(reports, config.backend, config.minimum_tier)
    cli.out.say(clean_lines(text), style="good" if good else "bad")
    cli.out.say(_("Homomorphic sums are computed by: {backend}", backend=sums))
    missing = native.load().reason
    if missing:
        cli.out.say(
            _(
                "The kernel in C is not in use, and large sums take many times longer: {reason}",
                reason=missing,
            ),
            style="warning",
        )
    if not good:
        raise click.exceptions.Exit(CATALOGUE[Code.CANNOT_ISOLATE].exit_code)
