"""``trustspace ledger``: anybody re-hashes it; an auditor replays it."""

from __future__ import annotations

import click

from trustspace.cli.common import Cli, pass_cli
from trustspace.cli.help import Group
from trustspace.cli.i18n import _


@click.group("ledger", cls=Group)
def command() -> None:
    """The ledger: every act, signed, in an append-only log."""


@command.command("verify")
@pass_cli
def verify(cli: Cli) -> None:
    """Fetch and re-hash the whole ledger; as an auditor, also replay every statement in it."""
    from trustspace.client.audit import verify_ledger

    found = verify_ledger(cli.acting())
    cli.out.document(
        {
            "size": found.size,
            "root": found.root,
            "statements_seen": found.statements_seen,
            "replayed": found.replayed,
        }
    )
    cli.out.say(_("The ledger is whole."), style="good")
    cli.out.fields(
        [
            (_("Statements"), str(found.size)),
            (_("Root"), found.root),
            (_("Read by you"), str(found.statements_seen)),
            (
                _("Replayed"),
                _("yes, every one by the same rules")
                if found.replayed
                else _("no: only an auditor sees them all"),
            ),
        ]
    )
