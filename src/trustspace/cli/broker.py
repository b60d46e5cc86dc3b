"""``trustspace broker``: releases keys to granted runs, without a human."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from trustspace.cli.common import Cli, log_to_stderr, pass_cli, serve_until_stopped
from trustspace.cli.help import Group
from trustspace.cli.i18n import _
from trustspace.errors import PermissionDenied

if TYPE_CHECKING:
    from trustspace.client.home import PartyHome

Serve = Callable[[threading.Event], None]


@click.group("broker", cls=Group)
def command() -> None:
    """Hand keys (of data; of blind code) to the runs that all have agreed to, and to nothing else."""


@command.command("serve")
@pass_cli
def serve(cli: Cli) -> None:
    """Run the broker until it is told to stop (Ctrl-C or SIGTERM).

    A source unit's releases data keys under its grants, a developer's the keys of its blind code; a party that is
    both runs both.
    """
    log_to_stderr()
    home = cli.signer()
    home.identity()  # enrolled, or say so now
    brokers = _brokers(home)
    name, space = home.party.name, home.space_address()
    serve_until_stopped(
        lambda stop: _serve_all(brokers, stop),
        lambda: cli.ready(
            {"listen": "", "party": name, "fingerprint": home.fingerprint, "space": space},
            _(
                "The broker of {party} watches for granted runs in the space at {space}.",
                party=name,
                space=space,
            ),
        ),
    )


def _brokers(home: PartyHome) -> list[Serve]:
    from trustspace.client.blindcode import require_broker_key
    from trustspace.client.broker import Broker
    from trustspace.client.code_broker import CodeBroker

    roles = home.party.roles
    found: list[Serve] = [Broker(home).serve] if "source-unit" in roles else []
    if "developer" in roles:
        require_broker_key(home)
        found.append(CodeBroker(home).serve)
    if not found:
        raise PermissionDenied("Only a source unit and a developer have keys to release.")
    return found


def _serve_all(brokers: list[Serve], stop: threading.Event) -> None:
    """All of them until told to stop; the end of one is the end of all."""
    failures: list[BaseException] = []

    def run(each: Serve) -> None:
        try:
            each(stop)
        except BaseException as error:
            failures.append(error)
        finally:
            stop.set()

    threads = [threading.Thread(target=run, args=(each,), daemon=True) for each in brokers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@command.command("key")
@pass_cli
def key(cli: Cli) -> None:
    """Make a broker's key, for a developer whose keys were made before developers had one."""
    from trustspace.client.blindcode import add_broker_key

    home = cli.signer()
    added = add_broker_key(home)
    cli.out.document({"party": home.fingerprint, "added": added})
    if added:
        cli.out.say(_("The broker's key is made, and known in the space."), style="good")
    else:
        cli.out.say(_("There is a broker's key already."))
