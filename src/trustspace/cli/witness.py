"""``trustspace witness``: cosigns what only ever grew."""

from __future__ import annotations

import click

from trustspace.cli.common import Cli, log_to_stderr, pass_cli, serve_until_stopped


@click.group("witness")
def group() -> None:
    """A witness of the ledger."""


@group.command("serve")
@pass_cli
def serve(cli: Cli) -> None:
    """Run the witness."""
    from trustspace.client.audit import Witness

    log_to_stderr()
    home = cli.party()
    witness = Witness(home)
    key = witness.verifier
    serve_until_stopped(witness.serve, lambda: cli.ready(
        {"listen": "", "key": key, "space": home.space_address()}, f"The witness {key} is ready."))  # fmt: skip
