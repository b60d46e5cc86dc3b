"""A job before people: exactly what it asks, and exactly what a grant would permit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from trustspace.cli.blind import blind_document, show_blind
from trustspace.cli.i18n import _, compose
from trustspace.cli.output import Output
from trustspace.cli.policy_file import policy_rows
from trustspace.cli.privacy import show_cap
from trustspace.cli.together import recovery_shown, result_document, result_rows, show_together, words
from trustspace.cli.words import short, size, when, word
from trustspace.domain.tiers import ANY_TIER

if TYPE_CHECKING:
    from trustspace.cli.people import People
    from trustspace.client.jobs import Request
    from trustspace.domain.bodies import Grant
    from trustspace.domain.records import OutputRecord
    from trustspace.jobs.sections_compute import OutputSpec


def request_document(asked: Request, people: People, state: str) -> dict[str, Any]:
    """A job for programs."""
    body = asked.job.body
    output = _output(asked)
    return {
        "job": asked.job.statement,
        "state": state,
        "title": body.title,
        "purpose": body.purpose,
        "kind": body.kind,
        "developer": {"name": people.plain(body.developer), "fingerprint": body.developer},
        "buyer": {"name": people.plain(body.buyer), "fingerprint": body.buyer},
        "source_units": [{"name": people.plain(unit), "fingerprint": unit} for unit in body.source_units],
        "countersigned": bool(asked.job.countersigned),
        "granted_by": sorted(asked.job.grants),
        "refused_by": asked.job.refused_by,
        "issued": asked.job.issued,
        "expires": body.expires,
        "evidence_kind": body.evidence_kind,
        "release_quorum": body.release_quorum,
        "minimum_participants": body.minimum_participants,
        "joint": body.is_joint,
        "running_at": sorted(asked.job.offers) if asked.job.run else [],
        "result": result_document(body, output.body, people) if output is not None else None,
        "datasets": [use.model_dump(mode="json") for use in body.datasets],
        "parameters": body.parameters,
        "code_digest": body.code,
        "code": asked.code,
        "blind": blind_document(body),
    }


def _output(asked: Request) -> OutputRecord | None:
    from trustspace.domain.records import OutputRecord

    return asked.dossier.view.get(OutputRecord, asked.job.output) if asked.job.output else None


def show_request(out: Output, asked: Request, people: People, state: str) -> None:
    """What a job asks, for people."""
    job, body = asked.job, asked.job.body
    output = _output(asked)
    out.fields(
        [
            (_("Job"), job.statement),
            (_("Title"), body.title),
            (_("State"), word("state", state)),
            (_("Kind"), word("kind", body.kind)),
            (_("Developer"), people.name(body.developer)),
            (_("Buyer"), people.name(body.buyer)),
            (_("Countersigned"), _("yes") if job.countersigned else _("not yet")),
            (_("Source units"), people.names(body.source_units)),
            (_("Granted by"), people.names(sorted(job.grants)) or "-"),
            *([(_("Refused by"), people.name(job.refused_by))] if job.refused_by else []),
            *([(_("In the run"), people.names(sorted(job.offers)))] if _is_run_by_several(asked) else []),
            *(result_rows(body, output.body, people) if output is not None else []),
            (_("Submitted"), when(job.issued)),
            (_("Lapses"), when(body.expires)),
        ]
    )
    out.heading(_("Purpose, in the developer's words"))
    out.block(body.purpose)
    own = next((record.source_unit for record in asked.datasets), "")
    show_together(out, body, people, own)
    out.heading(_("Data it would see"))
    names = {use.dataset: (asked_name.id, asked_name.version) for use, asked_name in _paired(asked)}
    for use in body.datasets:
        name, version = names.get(use.dataset, (short(use.dataset), 0))
        out.say(_("{name}, version {version}, of {unit}: {count} column(s)",
                  name=name, version=version, unit=people.name(use.source_unit), count=len(use.columns)))  # fmt: skip
        out.block(_(", ").join(use.columns))
    _show_parameters(out, asked)
    for record in asked.datasets:
        out.heading(_("Your own rules for {name}", name=record.body.dataset))
        out.fields(policy_rows(record.body.policy))


def _is_run_by_several(asked: Request) -> bool:
    return bool(asked.job.run and asked.job.offers) and len(asked.job.body.source_units) > 1


def _paired(asked: Request) -> list[tuple[Any, Any]]:
    """The statement's datasets beside the parameters' names for them, both in the same order."""
    return list(zip(asked.job.body.datasets, asked.parameters.datasets, strict=False))


def _show_parameters(out: Output, asked: Request) -> None:
    parameters = asked.parameters
    if parameters.train is not None:
        out.heading(_("Training"))
        out.fields(_section(parameters.train.model_dump(mode="json", exclude_none=True)))
        out.say(
            _(
                "The platform's own loop trains it. Out of it come the model and its measured quality, for review."
            )
        )
    if parameters.privacy is not None:
        out.heading(_("Differential privacy"))
        out.fields(_section(parameters.privacy.model_dump(mode="json", exclude_none=True)))
        out.say(
            _(
                "Whatever one patient's rows are, the chance of any model that could come out changes by a bounded "
                "factor. Noise is added for that while it is trained."
            )
        )
        if parameters.is_joint:
            out.say(
                _(
                    "Each source unit's own enclave adds it, so that the promise also holds against all other source "
                    "units together."
                )
            )
    if parameters.federated is not None:
        out.heading(_("Rounds"))
        out.fields(_section(parameters.federated.model_dump(mode="json", exclude_none=True)))
        out.say(
            _(
                "In every round each enclave trains on its own rows; only the sum of what they learned is opened."
            )
        )
    if parameters.statistics is not None:
        out.heading(_("Statistics"))
        out.fields(_section(parameters.statistics.model_dump(mode="json", exclude_none=True)))
        out.say(
            _(
                "Counts below the strictest source unit's minimum stay hidden, and so does what would give them away."
            )
        )
    if parameters.compute is not None:
        out.heading(_("Files that it may hand out, after review"))
        out.table(
            (_("File"), _("Type"), _("At most"), _("What stands in it")),
            [
                (
                    o.name,
                    o.media_type,
                    size(o.max_bytes),
                    _("stated below") if o.says_form else _("left open"),
                )
                for o in parameters.compute.outputs
            ],
        )
        for output in parameters.compute.outputs:
            _show_form(out, output)
        if parameters.compute.arguments:
            out.fields(_section({"arguments": parameters.compute.arguments}))
    if parameters.score is not None:
        out.heading(_("Encrypted scoring"))
        out.fields(_section(parameters.score.model_dump(mode="json", exclude_none=True)))
        out.say(
            _(
                "The weights are encrypted for the developer (model {digest}). Your enclave checks the proofs of their "
                "size and of the key, and scores your rows without ever seeing one of them.",
                digest=short(asked.job.body.code),
            )
        )
    out.heading(_("Developer's own code"))
    if not asked.job.body.has_own_code:
        out.say(_("None: only the platform's own code meets the data."))
    elif asked.job.body.blind is not None:
        show_blind(out, asked.job.body)
    elif asked.code:
        out.say(_("This code meets the data (digest {digest}). It is bounded, not made safe: have somebody read it.",
                  digest=short(asked.job.body.code)), style="warning")  # fmt: skip
        out.table(
            (_("File"), _("Lines"), _("Size")),
            [
                (name, str(len(text.splitlines())), size(len(text.encode())))
                for name, text in asked.code.items()
            ],
        )
    else:
        out.say(_("There is some (digest {digest}); only the source units and its developer may read it.",
                  digest=short(asked.job.body.code)))  # fmt: skip
    out.heading(_("Terms and limits"))
    terms = parameters.terms.model_dump(mode="json", exclude_none=True)
    limits = parameters.limits.model_dump(mode="json", exclude_none=True)
    out.fields(_section({**terms, **limits}))
    if parameters.terms.canaries:
        out.say(
            _(
                "Of the patients who are in or out by a coin, {percent} % get another label than their own, on "
                "purpose. The enclave draws them and tells nobody who they are. It shows whether the model learns "
                "people by heart, and costs a little of its quality. They do not count among the patients on whom it "
                "is judged.",
                percent=parameters.terms.canaries,
            )
        )


def _show_form(out: Output, declared: OutputSpec) -> None:
    """What the job says of an output's content: it leaves only if it is exactly that."""
    from trustspace.jobs.sections_compute import FORMS

    said = declared.model_dump(mode="json", exclude_none=True, include=set(FORMS))
    if said:
        out.say(_("{file} holds exactly:", file=declared.name))
        out.block(json.dumps(said, indent=1, ensure_ascii=False))


def _section(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (word("field", name), _value(value)) for name, value in values.items() if value not in ({}, [], "")
    ]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        return "\n".join(" x ".join(_value(item) for item in row) for row in value)
    if isinstance(value, list | tuple):
        return _(", ").join(_value(item) for item in value)
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_value(item)}" for name, item in value.items())
    return word("value", str(value))


def show_code(out: Output, asked: Request) -> None:
    """Every file of the developer's code, whole; invisible characters written out. Of blind code, why there is none."""
    if asked.job.body.blind is not None:
        out.say(_("The code is blind: there is none to show. Its developer has it in its own files."))
    for name, text in asked.code.items():
        out.heading(_("Code: {file}", file=name))
        out.block(text)
    out.say()


def _sandbox(tier: str) -> str:
    return (
        _("any tier, also one without namespaces")
        if tier == ANY_TIER
        else compose("{tier} or stronger", tier=tier)
    )


def show_grant(out: Output, asked: Request, people: People, body: Grant) -> None:
    """What a grant permits, sentence by sentence."""
    datasets = _(", ").join(
        compose("{name} version {version}", name=r.body.dataset, version=r.body.version)
        for r in asked.datasets
    )
    reviewers = _(", ").join(reviewer.holder for reviewer in body.reviewers)
    evidence = word("evidence", body.evidence_kind)
    out.heading(_("What your grant permits, and nothing else"))
    lines = [
        _("- Your broker gives the key of {datasets} to at most {runs} run(s) of this job, until {time}.",
          datasets=datasets, runs=body.runs, time=when(body.expires)),
        _("- Only your enclave {key} may open it, in a sandbox ({tier}). Platform evidence: {evidence}.",
          key=short(body.enclave), tier=_sandbox(body.sandbox_tier), evidence=evidence),
        _("- Any change to the job, its code or its parameters makes the grant worthless."),
        _("- Whatever comes out stays sealed until {threshold} of these reviewers approve it: {reviewers}.",
          threshold=body.reviewer_threshold, reviewers=reviewers),
        _("- What they approve can be opened by {buyer} alone.", buyer=people.name(asked.job.body.buyer)),
    ]  # fmt: skip
    for line in lines:
        out.say(line)
    if len(asked.job.body.source_units) > 1:
        out.say(_("- Every other source unit must grant and approve as well."))
    if asked.job.body.blind is not None:
        out.say(
            _("- Code that none of you has read meets the data: it is blind, and your policy accepts that."),
            style="warning",
        )
    if asked.job.body.kind == "score":
        out.say(
            _("- Weights that none of you can read are evaluated on your rows. Their proofs, your minimum and your "
              "budget of sums bound what that tells."),
            style="warning",
        )  # fmt: skip
    if body.small_sums:
        out.say(_("- You accept sums of two, in these words: {words}.", words=words()), style="warning")
    if body.recovery:
        out.say(
            _("- You accept that sums can be opened without some of you, in these words: {words}.",
              words=recovery_shown(asked.job.body)), style="warning",
        )  # fmt: skip
    show_cap(out, body)
    if body.reviewer_threshold == 1:
        out.say(_("One person alone can then approve. For four eyes: --threshold 2."), style="warning")
