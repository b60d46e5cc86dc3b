"""``trustspace doctor``: whether this computer can isolate."""

from __future__ import annotations

import click

from trustspace.cli.common import Cli, pass_cli
from trustspace.cli.help import Command
from trustspace.cli.i18n import clean_lines, language
from trustspace.errors import CATALOGUE, Code


@click.command("doctor", cls=Command)
@pass_cli
def command(cli: Cli) -> None:
    """Look whether this computer can isolate developers' code. If not, say what to do."""
    from trustspace.enclave.settings import FILE, read_settings
    from trustspace.sandbox import diagnosis
    from trustspace.sandbox.config import SandboxConfig
    from trustspace.sandbox.doctor import survey

    own = (cli.home / FILE).is_file()
    config = read_settings(cli.home).config(cli.home, None) if own else SandboxConfig()
    reports = survey(config)
    found = diagnosis.document(reports, config.backend, language())
    cli.out.document(found)
    text = diagnosis.render(reports, config.backend, language(), own=own, minimum=config.minimum_tier)
    good = diagnosis.accepted(reports, config.backend, config.minimum_tier)
    cli.out.say(clean_lines(text), style="good" if good else "bad")
    if not good:
        raise click.exceptions.Exit(CATALOGUE[Code.CANNOT_ISOLATE].exit_code)
