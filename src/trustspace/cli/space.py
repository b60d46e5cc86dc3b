"""``trustspace space``: the operator's commands."""

from __future__ import annotations

import click

from trustspace.cli.common import Cli, log_to_stderr, pass_cli


@click.group("space")
def group() -> None:
    """The operator's space."""


@group.command("serve")
@pass_cli
def serve(cli: Cli) -> None:
    """Run the space."""
    from trustspace.space.server import run

    log_to_stderr()
    run(cli.home, lambda listen, enrol: cli.ready(
        {"listen": listen, "enrol_listen": enrol},
        f"The space is ready on {listen}, enrolment on {enrol}."))  # fmt: skip
