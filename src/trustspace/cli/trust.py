"""``trustspace trust``: what somebody compared out of band, and believes from then on."""

from __future__ import annotations

import click

from trustspace.cli.common import Cli, pass_cli
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _, compose
from trustspace.cli.words import fingerprint
from trustspace.errors import InvalidInput


@click.group("trust", cls=Group)
def command() -> None:
    """Fingerprints that you compared with their owners, and trust from then on."""


@command.command("add")
@click.argument("name")
@click.argument("digits", metavar="FINGERPRINT", nargs=-1, required=True)
@pass_cli
def add(cli: Cli, name: str, digits: tuple[str, ...]) -> None:
    """Pin NAME to a FINGERPRINT that you compared; groups of digits may stand apart."""
    home = cli.acting()
    given = "".join("".join(digits).split()).lower()
    home.pin(name, given)
    cli.out.document({"name": name, "fingerprint": given})
    cli.out.say(_("{name} is pinned to this fingerprint:", name=name), style="good")
    cli.out.block(fingerprint(given))


@command.command("list")
@pass_cli
def listing(cli: Cli) -> None:
    """Show everything that is pinned: the space, parties and witnesses."""
    home = cli.acting()
    trust, own = home.trust(), home.fingerprint
    cli.out.document(trust.model_dump(mode="json"))
    cli.out.fields(
        [
            (_("Space"), trust.space.name),
            (_("Its fingerprint"), fingerprint(trust.space.operator)),
            (_("Ledger"), trust.space.origin),
            (_("Ledger key"), trust.space.ledger_key),
        ]
    )
    cli.out.heading(_("Parties"))
    cli.out.table(
        (_("Name"), _("Fingerprint")),
        [
            (
                compose("{name} (you)", name=party.name) if party.fingerprint == own else party.name,
                fingerprint(party.fingerprint),
            )
            for party in trust.parties
        ],
    )
    cli.out.heading(_("Witnesses"))
    if trust.witnesses:
        cli.out.say(
            _(
                "{quorum} of these must have cosigned what a certificate rests on:",
                quorum=trust.witness_quorum,
            )
        )
    else:
        cli.out.say(_("None: nobody but the space vouches that its ledger only grows."))
    for witness in trust.witnesses:
        cli.out.block(witness)


@command.command("witness")
@click.argument("vkey")
@option(
    "--quorum",
    type=click.IntRange(0, 64),
    metavar="K",
    help="How many of your witnesses must have cosigned. Else as many as before, and at least one.",
)
@pass_cli
def witness(cli: Cli, vkey: str, quorum: int | None) -> None:
    """Rely on a witness, by the key (VKEY) that trustspace witness key prints."""
    from trustspace.ledger.note import KeyKind, NoteKey

    if NoteKey.parse(vkey).kind is not KeyKind.COSIGNATURE:
        raise InvalidInput(
            "This is not a witness's key.", fix="Ask the witness for what trustspace witness key prints."
        )
    home = cli.acting()
    trust = home.trust()
    changed = trust.with_witness(vkey, max(1, trust.witness_quorum) if quorum is None else quorum)
    home.save_trust(changed)
    cli.out.document({"witnesses": list(changed.witnesses), "witness_quorum": changed.witness_quorum})
    cli.out.say(
        _("The witness is pinned. {quorum} of {count} must have cosigned what a certificate rests on.",
          quorum=changed.witness_quorum, count=len(changed.witnesses)), style="good",
    )  # fmt: skip
