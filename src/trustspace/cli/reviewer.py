"""``trustspace reviewer``: a reviewer's own home, and how a source unit takes one in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trustspace.cli.common import PATH, Cli, pass_cli, read_json
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _, compose
from trustspace.cli.words import fingerprint

if TYPE_CHECKING:
    from trustspace.client.home import PartyHome
    from trustspace.client.reviewers import ReviewerHome


@click.group("reviewer", cls=Group)
def command() -> None:
    """A reviewer's own home: keys made on that person's machine, which never leave it."""


@command.command("new")
@option("--name", required=True, metavar="PERSON", help="The reviewer's name.")
@pass_cli
def new(cli: Cli, name: str) -> None:
    """Make a reviewer's keys in the home directory, and card.json for the source unit to adopt.

    Set TRUSTSPACE_PASSPHRASE or give --passphrase-file to lock them with a passphrase.
    """
    from trustspace.client.reviewers import ReviewerHome

    passphrase = cli.passphrase()
    home = ReviewerHome.create(cli.home, name, passphrase=passphrase)
    card = cli.home / "card.json"
    cli.out.document({"name": name, "fingerprint": home.card.fingerprint, "card": str(card)})
    cli.out.fields(
        [
            (_("Reviewer"), name),
            (_("Fingerprint"), fingerprint(home.card.fingerprint)),
            (_("Card"), str(card)),
        ]
    )
    cli.out.say()
    if passphrase is None:
        cli.out.say(
            _("Your keys are not locked with a passphrase: whoever can read this directory can act as you."),
            style="warning",
        )
    cli.out.say(
        _("Next: take the card to your source unit, for trustspace reviewer adopt, and compare the fingerprint."),
        style="good",
    )  # fmt: skip


@command.command("adopt")
@click.argument("card", type=PATH)
@option(
    "--out",
    "target",
    required=True,
    type=PATH,
    metavar="FILE",
    help="Where to write the adoption, for trustspace reviewer join.",
)
@option(
    "--replace",
    is_flag=True,
    help="The person has keys already: these take their place, and what lies of them here is destroyed.",
)
@option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def adopt(cli: Cli, card: Path, target: Path, replace: bool, yes: bool) -> None:
    """As a source unit, vouch for the reviewer whose CARD this is. Shows the fingerprint to compare, and asks.

    Again with the same card, it renews the certificate and hands on what you have pinned since.
    """
    from trustspace.client import reviewers
    from trustspace.domain.statements import dump, read
    from trustspace.storage.files import write_atomic

    home = cli.signer()
    shown = read(reviewers.ReviewerCard, read_json(card, "reviewer's card"), "reviewer's card")
    cli.out.fields([(_("Reviewer"), shown.name), (_("Fingerprint"), fingerprint(shown.fingerprint))])
    cli.out.ask(
        _("Have you compared this fingerprint with that person, by telephone or in person, and is it the same?"),
        yes=yes,
    )  # fmt: skip
    adoption = reviewers.adopt(home, shown, replace=replace)
    write_atomic(target, json.dumps(dump(adoption), ensure_ascii=False, indent=2).encode(), 0o600)
    cli.out.document(
        {
            "reviewer": shown.name, "fingerprint": shown.fingerprint, "adoption": str(target),
            "reviewers_here": list(home.reviewers_here), "reviewers_elsewhere": list(home.reviewers_elsewhere),
        }
    )  # fmt: skip
    cli.out.say(
        _("{party} vouches for the reviewer {name}.", party=home.party.name, name=shown.name), style="good"
    )
    show_four_eyes(cli, home)
    cli.out.say(_("Next: take {file} to the reviewer, for trustspace reviewer join.", file=str(target)))


@command.command("join")
@click.argument("adoption", type=PATH)
@pass_cli
def join(cli: Cli, adoption: Path) -> None:
    """As a reviewer, take your source unit's ADOPTION in. Again with a newer one, it renews."""
    from trustspace.client.reviewers import ReviewerAdoption, ReviewerHome
    from trustspace.domain.statements import read

    home = ReviewerHome(cli.home, cli.passphrase())
    home.join(read(ReviewerAdoption, read_json(adoption, "adoption"), "adoption"))
    _show_own(cli, home)
    cli.out.say()
    cli.out.say(_("You review for {unit}. Compare its fingerprint with your colleagues there.",
                  unit=home.adoption.unit_name), style="good")  # fmt: skip
    cli.out.say(_("Next: trustspace review list."))


@command.command("show")
@pass_cli
def show(cli: Cli) -> None:
    """Show who reviews, and in whose home the keys lie. For a source unit, or in a reviewer's own home."""
    from trustspace.client.reviewers import ReviewerHome

    home = cli.acting()
    if isinstance(home, ReviewerHome):
        _show_own(cli, home)
        return
    party = cli.party()
    cli.out.document(
        {
            "party": party.party.name, "reviewers_here": list(party.reviewers_here),
            "reviewers_elsewhere": list(party.reviewers_elsewhere),
        }
    )  # fmt: skip
    cli.out.table(
        (_("Reviewer"), _("Where the keys lie")),
        [
            *((name, _("in a home of their own")) for name in party.reviewers_elsewhere),
            *((name, _("in this home")) for name in party.reviewers_here),
        ],
    )
    show_four_eyes(cli, party)


@command.command("remove")
@click.argument("name", metavar="PERSON")
@option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def remove(cli: Cli, name: str, yes: bool) -> None:
    """As a source unit, vouch for a reviewer no longer. What that person has decided stays."""
    from trustspace.client import reviewers

    home = cli.signer()
    if name in (*home.reviewers_here, *home.reviewers_elsewhere):
        question = _(
            "Remove the reviewer {name}? What waits for a decision of that person has to be decided by others.",
            name=name,
        )
        cli.out.ask(question, yes=yes)
    found = reviewers.remove(home, name)
    cli.out.document({"reviewer": name, "destroyed": list(found.destroyed)})
    cli.out.say(_("{name} reviews for you no longer.", name=name), style="good")
    if found.destroyed:
        cli.out.say(_("The keys that lay in this home are destroyed."))
    show_four_eyes(cli, home)


def show_four_eyes(cli: Cli, home: PartyHome) -> None:
    """Whether several people must act is a fact or a rule: plainly, for whoever looks after this home."""
    here, elsewhere = home.reviewers_here, home.reviewers_elsewhere
    if "source-unit" not in home.roles:
        return
    if not here and not elsewhere:
        cli.out.say(
            _("There is no reviewer yet, and nothing can be granted without one. Next: trustspace reviewer adopt."),
            style="warning",
        )  # fmt: skip
    elif here:
        cli.out.say(
            _(
                "The keys of {names} lie in this home: whoever holds it decides in their names. That several people "
                "must agree is then a rule of this machine only. With a home for each, it is a fact "
                "(trustspace reviewer new).",
                names=_(", ").join(here),
            ),
            style="warning",
        )
    else:
        cli.out.say(
            _("Every reviewer has a home of their own: nobody can decide from here, and no one of them alone where two "
              "must agree."), style="good",
        )  # fmt: skip


def _show_own(cli: Cli, home: ReviewerHome) -> None:
    card = home.card
    adoption = home.adoption if (cli.home / "adoption.json").exists() else None
    cli.out.document(
        {
            "name": card.name, "fingerprint": card.fingerprint, "home": str(cli.home),
            "unit": adoption.unit if adoption else "", "unit_name": adoption.unit_name if adoption else "",
            "space": {**home.trust().space.model_dump(), "address": home.space_address()} if adoption else None,
        }
    )  # fmt: skip
    rows = [
        (_("Reviewer"), card.name),
        (_("Fingerprint"), fingerprint(card.fingerprint)),
        (_("Home"), str(cli.home)),
        (_("Source unit"), adoption.unit_name if adoption else _("none yet: trustspace reviewer join")),
    ]
    if adoption:
        space = home.trust().space
        rows += [
            (_("Its fingerprint"), fingerprint(adoption.unit)),
            (_("Space"), compose("{name}, at {address}", name=space.name, address=home.space_address())),
            (_("Its fingerprint"), fingerprint(space.operator)),
        ]
    cli.out.fields(rows)
