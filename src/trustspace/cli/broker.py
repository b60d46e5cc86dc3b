"""``trustspace broker``: releases data keys to granted runs, without a human."""

from __future__ import annotations

import click

from trustspace.cli.common import Cli, log_to_stderr, pass_cli, serve_until_stopped
from trustspace.cli.help import Group
from trustspace.cli.i18n import _


@click.group("broker", cls=Group)
def command() -> None:
    """Hand data keys to the runs that a grant covers, and to nothing else."""


@command.command("serve")
@pass_cli
def serve(cli: Cli) -> None:
    """Run the broker until it is told to stop (Ctrl-C or SIGTERM)."""
    from trustspace.client.broker import Broker

    log_to_stderr()
    home = cli.signer()
    home.identity()  # enrolled, or say so now
    home.key_name("broker")
    name, space = home.party.name, home.space_address()
    serve_until_stopped(
        Broker(home).serve,
        lambda: cli.ready(
            {"listen": "", "party": name, "fingerprint": home.fingerprint, "space": space},
            _(
                "The broker of {party} watches for granted runs in the space at {space}.",
                party=name,
                space=space,
            ),
        ),
    )
