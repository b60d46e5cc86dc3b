"""Blind code before people: that it is blind, what its developer declares of it, and who can read it all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trustspace.cli.i18n import _
from trustspace.cli.output import Output
from trustspace.cli.words import size
from trustspace.errors import TrustspaceError

if TYPE_CHECKING:
    from trustspace.domain.bodies import Job


def blind_document(body: Job) -> dict[str, Any] | None:
    """What is told of blind code, for programs; None for open code or none."""
    if body.blind is None:
        return None
    return {**body.blind.model_dump(mode="json"), "ciphertext": body.code}


def show_blind(out: Output, body: Job) -> None:
    """What is told of blind code, for people; nothing for open code or none."""
    blind = body.blind
    if blind is None:
        return
    out.say(
        _(
            "The code is blind: its developer has sealed it. Nobody reads it before or after; the enclaves of a run "
            "open it."
        ),
        style="warning",
    )
    out.fields(
        [
            (_("Digest"), body.code),
            (_("Commitment"), blind.commitment),
            (_("What is called"), blind.entry),
            (_("Files"), str(blind.files)),
            (_("Sealed size (padded)"), size(blind.sealed_bytes)),
            (_("Columns it sees"), "\n".join(_(", ").join(use.columns) for use in body.datasets)),
            (_("Files it may hand out"), _(", ").join(_outputs(body)) or "-"),
            (_("Who can read it"), _readers(body)),
        ]
    )


def _readers(body: Job) -> str:
    if body.blind is not None and body.blind.host_can_read:
        return _("whoever runs the host of an enclave with software evidence: the signed job says so")
    return _("nobody: only enclaves with hardware evidence open it")


def _outputs(body: Job) -> list[str]:
    """The names of what the job declares; none where its parameters are not what they should be."""
    from trustspace.jobs.artifacts import declared_artifacts
    from trustspace.jobs.spec import Parameters

    try:
        return [artifact.name for artifact in declared_artifacts(Parameters.from_json(body.parameters))]
    except TrustspaceError:
        return []
