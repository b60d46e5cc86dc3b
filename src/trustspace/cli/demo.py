"""``trustspace demo``: the whole story on this computer."""

from __future__ import annotations

from pathlib import Path

import click

from trustspace.cli.common import PATH, Cli, pass_cli
from trustspace.cli.help import Command, option
from trustspace.cli.i18n import language, translate


@click.command("demo", cls=Command)
@option("--json", "result", type=PATH, metavar="FILE", help="Write the measured result to this file.")
@option(
    "--keep", type=PATH, metavar="DIR", help="Keep the parties' homes in this directory, to look at them."
)
@pass_cli
def command(cli: Cli, result: Path | None, keep: Path | None) -> None:
    """Play the whole story on this computer. Real processes, real clinical data, and cheats that fail."""
    del cli
    from trustspace.demo.story import run

    raise click.exceptions.Exit(run(result, keep, language(), translate))
