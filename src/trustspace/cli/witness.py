"""``trustspace witness``: cosigns what only ever grew."""

from __future__ import annotations

import click

from trustspace.cli.common import Cli, log_to_stderr, pass_cli, serve_until_stopped
from trustspace.cli.help import Group
from trustspace.cli.i18n import _


@click.group("witness", cls=Group)
def command() -> None:
    """Vouch, as an auditor, that the ledger only ever grew."""


@command.command("key")
@pass_cli
def key(cli: Cli) -> None:
    """Print the witness's key, for others to pin with trustspace trust witness."""
    from trustspace.client.audit import Witness

    verifier = Witness(cli.signer()).verifier
    cli.out.document({"key": verifier})
    cli.out.say(verifier)


@command.command("serve")
@pass_cli
def serve(cli: Cli) -> None:
    """Cosign the ledger's checkpoints until told to stop (Ctrl-C or SIGTERM)."""
    from trustspace.client.audit import Witness

    log_to_stderr()
    home = cli.signer()
    home.identity()  # enrolled, or say so now
    witness = Witness(home)
    verifier, space = witness.verifier, home.space_address()
    serve_until_stopped(
        witness.serve,
        lambda: cli.ready(
            {"listen": "", "key": verifier, "space": space},
            _("The witness {key} watches the ledger of the space at {space}.", key=verifier, space=space),
        ),
    )
