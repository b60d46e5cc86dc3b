"""``trustspace party``: making oneself known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from trustspace.cli.common import PATH, Cli, pass_cli, read_json
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _, compose
from trustspace.cli.reviewer import show_four_eyes
from trustspace.cli.space import PARTY_ROLES
from trustspace.cli.words import fingerprint, roles, short, word
from trustspace.errors import AlreadyExists

if TYPE_CHECKING:
    from trustspace.client.home import PartyHome
    from trustspace.domain.bodies import Role


@click.group("party", cls=Group)
def command() -> None:
    """Your keys and your fingerprint, made and kept on this machine."""


@command.command("new")
@option("--name", required=True, metavar="NAME", help="The name of your organisation.")
@option(
    "--role",
    "chosen",
    multiple=True,
    required=True,
    type=click.Choice(PARTY_ROLES),
    help="What you are in the space.",
)
@option(
    "--reviewer",
    "reviewers",
    multiple=True,
    metavar="PERSON",
    help="A reviewer whose keys are to lie in this home. Those with a home of their own are adopted later.",
)
@pass_cli
def new(cli: Cli, name: str, chosen: tuple[str, ...], reviewers: tuple[str, ...]) -> None:
    """Make your keys in the home directory.

    Set TRUSTSPACE_PASSPHRASE or give --passphrase-file to lock them with a passphrase.
    """
    from trustspace.client.home import PartyHome
    from trustspace.client.reviewers import is_reviewer

    if is_reviewer(cli.home):
        raise AlreadyExists(
            "There is another home in {home} already.",
            fix="Give --home another directory.", home=str(cli.home),
        )  # fmt: skip
    passphrase = cli.passphrase()
    home = PartyHome.create(
        cli.home, name, cast("tuple[Role, ...]", chosen), reviewers=reviewers, passphrase=passphrase
    )
    _show(cli, home)
    if passphrase is None:
        cli.out.say()
        cli.out.say(
            _("Your keys are not locked with a passphrase: whoever can read this directory can act as you."),
            style="warning",
        )
    cli.out.say()
    cli.out.say(_("Keep a copy of the home directory in a safe place."))
    cli.out.say(_("Next: trustspace party enrol, with the operator's invitation."), style="good")


@command.command("enrol")
@click.argument("invitation", type=PATH)
@pass_cli
def enrol(cli: Cli, invitation: Path) -> None:
    """Redeem an INVITATION: become known to the space, and pin it."""
    home = cli.signer()
    home.enrol(read_json(invitation, "invitation"))
    _show(cli, home)
    cli.out.say()
    cli.out.say(
        _("You are enrolled. Compare the space's fingerprint with its operator by telephone or in person."),
        style="good",
    )
    cli.out.say(_("Next: exchange fingerprints with the others, and pin them with trustspace trust add."))


@command.command("show")
@pass_cli
def show(cli: Cli) -> None:
    """Show your fingerprint, for others to compare and pin."""
    _show(cli, cli.party())


def _show(cli: Cli, home: PartyHome) -> None:
    party = home.party
    space: dict[str, Any] | None = None
    if (cli.home / "trust.json").exists():
        space = {**home.trust().space.model_dump(), "address": home.space_address()}
    people = [key.holder for key in party.keys if key.use == "review"]
    cli.out.document(
        {
            "name": party.name, "roles": list(party.roles), "fingerprint": home.fingerprint, "home": str(cli.home),
            "reviewers": people, "reviewers_here": list(home.reviewers_here), "enrolled": space is not None,
            "space": space, "keys": [key.model_dump() for key in party.keys],
        }
    )  # fmt: skip
    cli.out.fields(
        [
            (_("Party"), party.name),
            (_("Roles"), roles(party.roles)),
            (_("Fingerprint"), fingerprint(home.fingerprint)),
            (_("Reviewers"), _(", ").join(people) or "-"),
            (_("Home"), str(cli.home)),
            (
                _("Space"),
                compose("{name}, at {address}", name=space["name"], address=space["address"])
                if space
                else _("not enrolled"),
            ),
            *([(_("Its fingerprint"), fingerprint(space["operator"]))] if space else []),
        ]
    )
    cli.out.heading(_("Working keys"))
    cli.out.table(
        (_("What for"), _("Who"), _("Key")),
        [(word("use", key.use), key.holder, short(key.public)) for key in party.keys],
    )
    show_four_eyes(cli, home)
