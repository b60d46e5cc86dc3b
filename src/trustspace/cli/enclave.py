"""``trustspace enclave``: the blind box beside the data."""

from __future__ import annotations

from pathlib import Path

import click

from trustspace.cli.common import Cli, log_to_stderr, pass_cli


@click.group("enclave")
def group() -> None:
    """The enclave beside the data."""


@group.command("serve")
@click.option("--listen", default="")
@click.option("--runtime", type=click.Path(path_type=Path), default=None)
@pass_cli
def serve(cli: Cli, listen: str, runtime: Path | None) -> None:
    """Run the enclave."""
    from trustspace.enclave.server import run

    log_to_stderr()
    run(cli.home, listen, runtime, lambda where, tier: cli.ready(
        {"listen": where, "sandbox_tier": tier}, f"The enclave is ready on {where} (sandbox {tier})."))  # fmt: skip
