"""``trustspace space``: the operator's commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trustspace.cli.common import PATH, Cli, log_to_stderr, pass_cli
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _
from trustspace.cli.words import fingerprint, roles, when
from trustspace.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from trustspace.space.home import SpaceHome

PARTY_ROLES = ("source-unit", "developer", "buyer", "auditor")
_EVERY_ADDRESS = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 - compared with, never bound to
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "trustspace-space"})


@click.group("space", cls=Group)
def command() -> None:
    """Run the trusted operation space itself. It routes and keeps evidence, and sees no data."""


@command.command("init")
@option("--name", required=True, metavar="NAME", help="What people call this space.")
@option(
    "--listen",
    default="127.0.0.1:7443",
    show_default=True,
    metavar="HOST:PORT",
    help="Where parties and enclaves connect.",
)
@option(
    "--enrol-listen",
    default="127.0.0.1:7444",
    show_default=True,
    metavar="HOST:PORT",
    help="Where invitations are redeemed.",
)
@option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A host name or address by which others reach this machine.",
)
@pass_cli
def init(cli: Cli, name: str, listen: str, enrol_listen: str, hosts: tuple[str, ...]) -> None:
    """Make a new space in the home directory: its keys, its certificate, its empty ledger."""
    from trustspace.space.home import SpaceHome, initialise

    initialise(cli.home, name, listen, enrol_listen, hosts)
    _show(cli, SpaceHome(cli.home))
    cli.out.say()
    cli.out.say(
        _("The space is made. Next: trustspace space serve, then trustspace space invite."), style="good"
    )


@command.command("serve")
@pass_cli
def serve(cli: Cli) -> None:
    """Run the space until it is told to stop (Ctrl-C or SIGTERM)."""
    from trustspace.space.server import run

    log_to_stderr()
    run(
        cli.home,
        lambda listen, enrol: cli.ready(
            {"listen": listen, "enrol_listen": enrol},
            _("The space is ready on {listen}, for invitations on {enrol}.", listen=listen, enrol=enrol),
        ),
    )


@command.command("invite")
@option("--name", required=True, metavar="NAME", help="Whom the invitation is for.")
@option(
    "--role", "chosen", multiple=True, required=True, type=click.Choice(PARTY_ROLES), help="What they may be."
)
@option("--out", "target", required=True, type=PATH, metavar="FILE", help="Where to write the invitation.")
@pass_cli
def invite(cli: Cli, name: str, chosen: tuple[str, ...], target: Path) -> None:
    """Write an invitation: one file that lets one new party enrol, once."""
    from trustspace.space.home import SpaceHome
    from trustspace.storage.files import write_atomic

    home = SpaceHome(cli.home)
    listen, enrol = (_reachable(home, address) for address in home.addresses())
    invitation = home.invite(name, chosen, listen, enrol)
    write_atomic(target, json.dumps(invitation, ensure_ascii=False, indent=2).encode(), 0o600)
    expires = int(str(invitation["expires"]))
    cli.out.document(
        {
            "invitation": str(target), "name": name, "roles": invitation["roles"], "expires": expires,
            "address": listen, "enrol_address": enrol,
        }
    )  # fmt: skip
    cli.out.say(
        _("The invitation for {name} ({roles}) is in {file}. It works once, until {time}.",
          name=name, roles=roles(tuple(chosen)), file=str(target), time=when(expires)), style="good",
    )  # fmt: skip
    cli.out.say(_("Whoever holds this file can enrol in their place: hand it over in a way you trust."))


def _reachable(home: SpaceHome, address: str) -> str:
    """The address as others can use it: not "every interface", and not a port still to be found.

    Raises:
        Unavailable, InvalidInput: there is no such address yet.

    """
    host, _colon, port = address.rpartition(":")
    if port == "0":
        raise Unavailable(
            "The space gets its port when it starts.", fix="Run `trustspace space serve` first, then invite."
        )
    if host not in _EVERY_ADDRESS:
        return address
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(home.identity().certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    given = [str(name.value) for name in names if str(name.value) not in _OWN_NAMES]
    if not given:
        raise InvalidInput(
            "The space listens on every address of this machine, and none is known that others can use.",
            fix="Make the space with --host NAME.",
        )
    return f"{given[0]}:{port}"


@command.command("show")
@pass_cli
def show(cli: Cli) -> None:
    """Show what others pin of this space, and where it listens."""
    from trustspace.space.home import SpaceHome

    _show(cli, SpaceHome(cli.home))


def _show(cli: Cli, home: SpaceHome) -> None:
    trusted = home.trusted()
    listen, enrol = home.addresses()
    cli.out.document(
        {
            "name": trusted.name, "home": str(cli.home), "origin": trusted.origin, "operator": trusted.operator,
            "ledger_key": trusted.ledger_key, "listen": listen, "enrol_listen": enrol,
            "running": (home.path / "address.json").exists(),
        }
    )  # fmt: skip
    cli.out.fields(
        [
            (_("Space"), trusted.name),
            (_("Home"), str(cli.home)),
            (_("Fingerprint"), fingerprint(trusted.operator)),
            (_("Ledger"), trusted.origin),
            (_("Ledger key"), trusted.ledger_key),
            (_("Listens on"), listen),
            (_("Invitations on"), enrol),
        ]
    )


@command.command("rebuild")
@pass_cli
def rebuild(cli: Cli) -> None:
    """Check the whole ledger and rebuild all tables from it. Stop the space first."""
    from trustspace.space.home import SpaceHome
    from trustspace.space.ledger import rebuild as fold

    home = SpaceHome(cli.home)
    with home.alone():
        found = fold(home.store, home.ledger_key())
    home.store.close()
    cli.out.document({"statements": found.statements, "records": found.records, "differing": found.differing})
    cli.out.say(
        _("The ledger is whole: {statements} statements, {records} records rebuilt, {differing} of them had differed.",
          statements=found.statements, records=found.records, differing=found.differing),
        style="warning" if found.differing else "good",
    )  # fmt: skip
