"""``trustspace review web``: the reviewer's desk as a page that this machine serves to itself."""

from __future__ import annotations

import threading
import webbrowser
from typing import cast

import click

from trustspace.cli.common import Cli, pass_cli, serve_until_stopped
from trustspace.cli.decision import reviewer_option
from trustspace.cli.help import Command, option
from trustspace.cli.i18n import _, catalogue, language
from trustspace.evidence.words import Language


@click.command("web", cls=Command)
@reviewer_option
@option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Listen on this port. Else any."
)
@option("--no-browser", is_flag=True, help="Only print the address.")
@option(
    "--idle-minutes",
    type=click.IntRange(1, 1440),
    default=60,
    show_default=True,
    metavar="N",
    help="End after so long without anybody using it.",
)
@pass_cli
def web(cli: Cli, reviewer: str | None, port: int, no_browser: bool, idle_minutes: int) -> None:
    """Review in a browser on this machine: the desk, with the evidence in pictures, in English or Chinese.

    Only this machine can reach it, and only the browser that opens the address first. Your keys stay here. It ends on
    Ctrl-C, by its own button, or when nobody uses it.
    """
    from trustspace.web.server import DeskServer

    home = cli.acting(signs=True)
    person = home.reviewer(reviewer)
    home.key_name("review", person)
    home.identity()  # enrolled, or say so now
    server = DeskServer(
        home, person, port=port, idle_minutes=idle_minutes, language=cast("Language", language()),
        chinese=catalogue(),
    )  # fmt: skip

    def ready() -> None:
        cli.ready(
            {"address": server.address, "reviewer": person},
            _("The review desk of {reviewer} is open at {address}", reviewer=person, address=server.address),
        )
        cli.out.say(_("The address works once, in one browser of this machine. To end: Ctrl-C."))
        if not no_browser and not cli.out.as_json:
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()

    serve_until_stopped(server.serve, ready)
