"""``trustspace demo``: the whole story on this computer."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import click

from trustspace.cli.common import PATH, Cli, pass_cli
from trustspace.cli.help import Command, option
from trustspace.cli.i18n import _, explain, language


@click.command("demo", cls=Command)
@option("--json", "result", type=PATH, metavar="FILE", help="Write the measured result to this file.")
@option(
    "--keep", type=PATH, metavar="DIR", help="Keep the parties' homes in this directory, to look at them."
)
@pass_cli
def command(cli: Cli, result: Path | None, keep: Path | None) -> None:
    """Play the whole story on this computer. Real processes, real clinical data, and cheats that fail."""
    from trustspace.demo.story import run

    if not cli.out.as_json:
        raise click.exceptions.Exit(run(result, keep, language(), explain))
    with tempfile.TemporaryDirectory() as folder:
        measured = result or Path(folder) / "result.json"
        # The story itself is for people: standard output is for its result alone.
        with contextlib.redirect_stdout(sys.stderr):
            code = run(measured, keep, language(), explain)
        if measured.exists():
            cli.out.document(json.loads(measured.read_bytes()))
        else:
            message = _("The demonstration did not come to its end; standard error says why.")
            cli.out.document({"error": {"code": "internal", "message": message, "fix": ""}})
    raise click.exceptions.Exit(code)
