"""``trustspace score``: scores by an encrypted model. Its developer decrypts sums; a source unit opens its own rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click

from trustspace.cli.common import PATH, Cli, pass_cli, read_bytes
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _
from trustspace.cli.words import fingerprint, short


@click.group("score", cls=Group)
def command() -> None:
    """Scores by an encrypted model: the data's holder never sees the weights, the developer never sees a row."""


@command.command("keygen")
@pass_cli
def keygen(cli: Cli) -> None:
    """As a developer, make the key that your weights are encrypted under. It stays in your home, sealed."""
    from trustspace.client import scoring

    public = scoring.generate_key(cli.signer())
    cli.out.document({"key": public.digest(), "bits": public.bits})
    cli.out.say(_("Your key for encrypted scoring, of {bits} bits:", bits=public.bits), style="good")
    cli.out.block(fingerprint(public.digest()))
    cli.out.say(_("Keep a copy of your home: without this key nobody can decrypt what is released to you."))


@command.command("key")
@pass_cli
def key(cli: Cli) -> None:
    """Show the fingerprint of your key for encrypted scoring, as source units see it in their evidence."""
    from trustspace.client import scoring

    public = scoring.private_key(cli.signer()).public
    cli.out.document({"key": public.digest(), "bits": public.bits})
    cli.out.block(fingerprint(public.digest()))


@command.command("decrypt")
@click.argument("job", metavar="ID")
@click.argument("file", type=PATH)
@option(
    "--into", type=PATH, metavar="FILE",
    help="Where to write the masked scores of rows, for their source unit. Needed for a job with such a result.",
)  # fmt: skip
@pass_cli
def decrypt(cli: Cli, job: str, file: Path, into: Path | None) -> None:
    """As the job's developer, decrypt FILE, the scores.json that was released.

    Sums by group are shown. Of scores of rows the masks are still on: write them with --into, and hand that file to the
    source unit, which alone can take them off.
    """
    from trustspace.client import jobs, scoring
    from trustspace.errors import InvalidInput
    from trustspace.storage.files import write_atomic

    home = cli.signer()
    digest = jobs.resolve_job(home, job)
    found = scoring.decrypt(home, digest, read_bytes(file, "file of scores"))
    if isinstance(found, bytes):
        if into is None:
            raise InvalidInput(
                "These are masked scores of rows, for their source unit.", fix="Give --into FILE."
            )
        write_atomic(into, found, 0o644)
        cli.out.document({"job": digest, "masked": str(into)})
        cli.out.say(_("The masked scores are in {file}. To you they are noise: hand them to the source unit.",
                      file=str(into)), style="good")  # fmt: skip
        return
    if into is not None:
        raise InvalidInput("These are sums by group, which are shown.", fix="Leave --into out.")
    cli.out.document(
        {
            "job": digest,
            "groups": [
                {"group": g.label, "rows": g.rows, "mean": None if g.mean is None else f"{g.mean:.6g}"} for g in found
            ],
        }
    )  # fmt: skip
    cli.out.say(_("Mean scores by group, of job {job}:", job=short(digest)), style="good")
    cli.out.table(
        (_("Group"), _("Rows"), _("Mean score")),
        [
            (
                g.label, _("hidden") if g.rows is None else str(g.rows),
                "-" if g.mean is None else f"{g.mean:.6g}",
            )
            for g in found
        ],
    )  # fmt: skip


@command.command("unblind")
@click.argument("job", metavar="ID")
@click.argument("file", type=PATH)
@option("--reviewer", metavar="PERSON", help="Who you are, where several reviewers' keys lie in this home.")
@option("--into", required=True, type=PATH, metavar="FILE", help="Where to write the scores, as CSV.")
@pass_cli
def unblind(cli: Cli, job: str, file: Path, reviewer: str | None, into: Path) -> None:
    """As the source unit, take your masks off FILE, which the developer handed back: a score for each of your rows.

    They come in the order of the rows of your dataset.
    """
    from trustspace.client import jobs, review, scoring
    from trustspace.storage.files import write_atomic

    home = cli.acting(signs=True)
    case = review.open_case(home, jobs.resolve_job(home, job), home.reviewer(reviewer))
    found = scoring.unblinded(home, case, read_bytes(file, "file of masked scores"))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [("row", "score"), *((place, f"{score:.6g}") for place, score in enumerate(found, 1))]
    )
    write_atomic(into, out.getvalue().encode(), 0o600)
    cli.out.document({"job": case.job.statement, "rows": len(found), "scores": str(into)})
    cli.out.say(_("{count} scores are in {file}.", count=len(found), file=str(into)), style="good")
