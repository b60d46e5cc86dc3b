"""The command ``trustspace``: global options, one error mapping, one place where languages are chosen."""

from __future__ import annotations

from pathlib import Path

import click

from trustspace.cli import i18n
from trustspace.cli.common import Cli


@click.group()
@click.option("--home", type=click.Path(path_type=Path), envvar="TRUSTSPACE_HOME", default=None)
@click.option("--lang", type=click.Choice(i18n.LANGUAGES), default=None)
@click.option("--json", "as_json", is_flag=True)
@click.option("--passphrase-file", type=click.Path(path_type=Path), default=None)
@click.pass_context
def cli(context: click.Context, home: Path | None, lang: str | None, as_json: bool, passphrase_file: Path | None) -> None:
    """Trusted operation space."""
    i18n.use(lang or i18n.from_locale())
    context.obj = Cli(home or Path.home() / ".trustspace", as_json, passphrase_file)


def main() -> None:
    """Run."""
    from trustspace.cli import broker, enclave, space, witness

    for module in (broker, enclave, space, witness):
        cli.add_command(module.group)
    cli()
