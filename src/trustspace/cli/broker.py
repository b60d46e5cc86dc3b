"""``trustspace broker``: releases data keys to granted runs, without a human."""

from __future__ import annotations

import click

from trustspace.cli.common import Cli, log_to_stderr, pass_cli, serve_until_stopped


@click.group("broker")
def group() -> None:
    """The source unit's broker."""


@group.command("serve")
@pass_cli
def serve(cli: Cli) -> None:
    """Run the broker."""
    from trustspace.client.broker import Broker

    log_to_stderr()
    home = cli.party()
    address = home.space_address()
    serve_until_stopped(Broker(home).serve, lambda: cli.ready(
        {"listen": "", "party": home.party.name, "space": address},
        f"The broker of {home.party.name} attends to the space at {address}."))  # fmt: skip
