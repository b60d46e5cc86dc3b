"""``trustspace verify``: needs no home, no keys and no network, unless it is to ask what came after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trustspace.cli.common import PATH, Cli, pass_cli, read_bytes
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _
from trustspace.cli.notices import show_revoked
from trustspace.cli.people import People
from trustspace.cli.together import holders, result_document, result_rows
from trustspace.cli.words import short, word
from trustspace.errors import InvalidInput

if TYPE_CHECKING:
    from trustspace.client.notices import Revoked


@click.group("verify", cls=Group)
def command() -> None:
    """Check proofs, on any computer, without a network."""


@command.command("certificate")
@click.argument("file", type=PATH)
@option("--trust", "trust_file", required=True, type=PATH, metavar="FILE",
        help="A trust file (trust.json) of somebody whom you believe: best your own.")  # fmt: skip
@option(
    "--artifact",
    "artifacts",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="Also check that this is a released file, byte for byte.",
)
@option("--online", is_flag=True,
        help="Also ask the space, as the party in your home, whether the release was revoked since.")  # fmt: skip
@pass_cli
def certificate(cli: Cli, file: Path, trust_file: Path, artifacts: tuple[Path, ...], online: bool) -> None:
    """Check a release's certificate FILE: who granted, what ran, who approved, what was released."""
    from trustspace.domain.certificate import load, verify, verify_content
    from trustspace.domain.records import OutputRecord
    from trustspace.domain.statements import read
    from trustspace.domain.trust import TrustFile

    proof = load(read_bytes(file, "certificate"))
    try:
        content = json.loads(read_bytes(trust_file, "trust file"))
    except (ValueError, RecursionError):
        raise InvalidInput("The file {path} is no {what}.", what="trust file", path=str(trust_file)) from None
    trust = read(TrustFile, content, "trust file")
    verified = verify(proof, trust)
    for path in artifacts:
        verify_content(proof, verified, path.name, _artifact(path))
    people, body = People(trust), verified.job.body
    revoked = _revocation(cli, verified.job.statement) if online else None
    output = verified.view.get(OutputRecord, verified.job.output)
    assert output is not None  # the certificate holds
    released = [a for a in output.body.artifacts if a.name in verified.artifacts]
    cli.out.document(
        {
            "verified": True, "job": verified.job.statement, "title": body.title, "purpose": body.purpose,
            "artifacts": list(verified.artifacts), "checked_files": [str(path) for path in artifacts],
            "source_units": [{"name": people.plain(u), "fingerprint": u} for u in verified.source_units],
            "developer": {"name": people.plain(body.developer), "fingerprint": body.developer},
            "buyer": {"name": people.plain(body.buyer), "fingerprint": body.buyer},
            "reviewers": list(verified.reviewers), "sandbox_tier": verified.sandbox_tier,
            "evidence_kind": verified.evidence_kind, "ledger_size": verified.ledger_size,
            "witnesses_required": trust.witness_quorum, **result_document(body, output.body, people),
            "revoked": bool(verified.job.revoked or revoked), "asked_online": online,
            "files": [{"name": a.name, "source_units": [unit.source_unit for unit in a.units]} for a in released],
        }
    )  # fmt: skip
    cli.out.say(_("The certificate holds."), style="good")
    released_files = _(", ").join(verified.artifacts)
    if len(body.source_units) > 1 and not body.is_joint:
        released_files = "\n".join(f"{a.name}: {holders(a, people)}" for a in released)
    cli.out.fields(
        [
            (_("Job"), verified.job.statement),
            (_("Title"), body.title),
            (_("Source units"), people.names(verified.source_units)),
            *result_rows(body, output.body, people),
            (_("Developer"), people.name(body.developer)),
            (_("Buyer"), people.name(body.buyer)),
            (_("Approved by"), _(", ").join(verified.reviewers)),
            (_("Released"), released_files),
            (_("Sandbox tier"), verified.sandbox_tier),
            (_("Platform evidence"), word("evidence", verified.evidence_kind)),
            (_("Ledger"), _("{size} statements, cosigned by {count} witness(es)",
                            size=verified.ledger_size, count=trust.witness_quorum)),
        ]
    )  # fmt: skip
    for path in artifacts:
        cli.out.say(
            _("{file} is byte for byte what was reviewed and released.", file=path.name), style="good"
        )
    if not artifacts:
        cli.out.say(
            _("To check a file against it: add --artifact FILE ({job}).", job=short(verified.job.statement))
        )
    show_revoked(cli.out, revoked, people)
    if verified.job.revoked and revoked is None:
        cli.out.say(_("REVOKED: the certificate itself holds a revocation."), style="bad")
    if not online:
        cli.out.say(_("It cannot show a revocation that came after it: add --online to ask the space."))
    elif revoked is None:
        cli.out.say(_("As far as the space tells, nobody has revoked it."))


def _revocation(cli: Cli, job: str) -> Revoked | None:
    from trustspace.client.notices import revocation

    return revocation(cli.acting(), job)


def _artifact(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise InvalidInput("The file {path} cannot be read.", path=str(path)) from None
