"""``trustspace job rehearse``: a job on made-up rows before anybody is asked, and what would become of it.

What the rows decide is kept apart from what holds whatever they are: only the latter fails a rehearsal.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from trustspace.cli.common import Cli
from trustspace.cli.i18n import _, explain, language, mark, translate
from trustspace.cli.words import size, word
from trustspace.errors import (
    CATALOGUE,
    BudgetExhausted,
    InvalidInput,
    PolicyRefused,
    TrustspaceError,
    Unavailable,
)

if TYPE_CHECKING:
    from trustspace.cli.output import Output
    from trustspace.evidence.report import Report
    from trustspace.evidence.words import Language
    from trustspace.jobs.spec import JobFile, Parameters
    from trustspace.rehearsal.play import Part, Rehearsal

_MIB = 1 << 20
_CLOSE_PERCENT = 80
# What these checks find depends on the rows, on the real machine or on the past: a mock sample cannot foretell it.
_OPEN = (
    "withheld_metrics", "membership", "references", "canaries", "stored_rows", "sizes", "platform", "buyer_history",
    "differencing", "small_cells", "dominance",
)  # fmt: skip
_VERDICT_STYLES = {"green": "good", "amber": "warning", "red": "bad"}
_PROGRAMS = {
    "train": mark("training"),
    "train_rounds": mark("training in rounds"),
    "evaluate": mark("judging the model"),
    "references": mark("models trained anew, to compare with"),
    "statistics": mark("counting"),
    "compute": mark("the developer's code"),
    "score": mark("scoring"),
}
_STATUSES = {
    "finished": mark("finished"),
    "failed": mark("failed"),
    "killed": mark("stopped"),
    "timed_out": mark("took too long"),
    "output_too_large": mark("output too large"),
}


def given_files(mocks: tuple[str, ...]) -> dict[str, Path]:
    """``DATASET=FILE`` of every --mock.

    Raises InvalidInput for one without both, or given twice.
    """
    given: dict[str, Path] = {}
    for text in mocks:
        name, equals, path = text.partition("=")
        if not (name and equals and path) or name in given:
            raise InvalidInput(
                "The value of {parameter} cannot be used.",
                fix="Write --mock DATASET=FILE, once for each dataset.", parameter="--mock",
            )  # fmt: skip
        given[name] = Path(path).expanduser()
    return given


def rehearse(cli: Cli, path: Path, given: dict[str, Path], runtime: Path | None) -> None:
    """Play the job and show what came of it; ends the command with the exit code of the first refusal."""
    from trustspace.jobs.spec import load_job_file, read_code
    from trustspace.jobs.weights import read_model

    file = load_job_file(path)
    code = read_code(file, path)
    model = read_model(path, file.score.weights, file.parameters()).integers if file.score is not None else ()
    # Before any library makes threads, and before keys are in this process.
    from trustspace.sandbox.launcher import Launcher, SandboxConfig

    folder = Path(tempfile.mkdtemp(prefix="trustspace-rehearsal-"))
    folder.chmod(0o755)  # the sandbox's user may have to find its programs below
    members = len(file.datasets)
    config = SandboxConfig(runtime=runtime, app_directory=folder / "app", concurrent=max(8, members + 1))
    try:
        with Launcher.start(config) as launcher:
            show(cli, *_play(cli, file, code, given, launcher, folder, model))
    finally:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _play(
    cli: Cli,
    file: JobFile,
    code: bytes,
    given: dict[str, Path],
    launcher: Any,
    folder: Path,
    model: tuple[int, ...],
) -> tuple[Rehearsal, list[TrustspaceError]]:
    from trustspace.rehearsal.play import play
    from trustspace.rehearsal.samples import gather, read_given

    parameters = file.parameters()
    tables = read_given(parameters, given)
    home = cli.party() if len(tables) < len(parameters.datasets) else None
    samples = gather(home, parameters, tables)
    _announce(cli.out, parameters, launcher.tier, asked=home is not None)
    (folder / "rounds").mkdir(mode=0o700)
    found = play(file, code, samples, launcher, folder / "rounds", model)
    return found, refusals(found)


def _announce(out: Output, parameters: Parameters, tier: str, *, asked: bool) -> None:
    out.say(_("MADE-UP DATA: no number below says anything about the real data."), style="warning")
    if parameters.is_joint:
        out.say(_("All {count} source units are played on this machine, in sandboxes of tier {tier}.",
                  count=len(parameters.datasets), tier=tier))  # fmt: skip
    else:
        out.say(_("The job is played on this machine, in a sandbox of tier {tier}.", tier=tier))
    if not asked:
        out.say(_("No space was asked: the usual policy is assumed, and every row counts as a patient."))


def refusals(found: Rehearsal) -> list[TrustspaceError]:
    """What would be refused or would fail with the real data too, most telling first."""
    problems = [
        _failed(part.failure.reason, _name(part)) for part in found.causes if part.failure is not None
    ]
    job, terms = found.stage.job, found.stage.parameters.terms
    if job.has_own_code:
        problems += [
            PolicyRefused(
                "The policy of {name} refuses jobs with the developer's own code.", name=_name(part)
            )
            for part in found.parts
            if part.sample.body.policy.custom_code == "refuse"
        ]
    if job.blind is not None:
        if not job.blind.host_can_read and terms.evidence_kind == "software":
            problems.append(
                PolicyRefused(
                    "The job's code is blind, and the host of an enclave with software evidence could read it.",
                    fix="Write host_can_read = true under [code] if that is acceptable, or demand hardware evidence.",
                )
            )
        problems += [
            PolicyRefused("The policy of {name} refuses blind code.", name=_name(part))
            for part in found.parts
            if part.sample.body.policy.blind_code == "refuse"
        ]
    if terms.evidence_kind != "software":
        problems.append(
            PolicyRefused(
                "The job demands {kind} evidence, which this enclave cannot give.", kind=terms.evidence_kind
            )
        )
    failed = (
        (part, check.name)
        for part in found.parts
        if part.report is not None
        for check in part.report.checks
        if check.status == "failed" and check.name not in (*_OPEN, "custom_code")
    )
    problems += [
        PolicyRefused(
            "The check “{check}” fails for {name}.",
            fix="See its report.",
            check=_title(check),
            name=_name(part),
        )
        for part, check in failed
    ]
    return problems


def _failed(reason: str, name: str) -> TrustspaceError:
    if reason == "limits":
        return BudgetExhausted(
            "The run at {name} needs more than its limits.",
            fix="Raise them in [limits], or do less.",
            name=name,
        )
    if reason == "host":
        return Unavailable("The run at {name} failed on this machine.", fix="See what it printed.", name=name)
    return InvalidInput("The run at {name} failed.", fix="See what it printed.", name=name)


def _title(check: str) -> str:
    from trustspace.evidence.words import TITLES

    return TITLES[check][cast("Language", language())]


def _name(part: Part) -> str:
    return part.sample.name or part.sample.body.dataset


# -- for programs


def document(found: Rehearsal, problems: list[TrustspaceError]) -> dict[str, Any]:
    """A rehearsal for programs."""
    job, limits = found.stage.job, found.stage.parameters.limits
    return {
        "rehearsal": True, "data": "made-up", "title": job.title, "kind": job.kind, "joint": job.is_joint,
        "minimum_participants": job.minimum_participants,
        "limits": {"wall_ms": limits.wall_seconds * 1000, "memory_bytes": limits.memory_mib * _MIB},
        "not_foretold": list(_not_foretold(found)), "source_units": [_part_document(part) for part in found.parts],
        "refusals": [
            {"code": str(problem.code), "message": message, "fix": fix}
            for problem in problems
            for message, fix in [explain(problem)]
        ],
    }  # fmt: skip


def _part_document(part: Part) -> dict[str, Any]:
    sample = part.sample
    return {
        "name": _name(part), "dataset": sample.body.dataset, "version": sample.body.version,
        "policy_is_published": sample.is_published, "mock_rows": sample.table.num_rows,
        "real_rows_at_least": sample.real_rows, "sample_is_large_enough": part.could_withhold,
        "verdict": part.report.verdict if part.report is not None else "",
        "report": part.report.to_json() if part.report is not None else None,
        "files": _files(part.report) if part.report is not None else [],
        "used": [
            {
                "program": used.program, "status": used.status, "reason": used.reason, "wall_ms": used.wall_ms,
                "peak_bytes": used.peak_bytes, "log": used.log.decode("utf-8", "replace"),
            }
            for used in part.used
        ],
        "failure": {"reason": part.failure.reason, "log": part.failure.log} if part.failure is not None else None,
    }  # fmt: skip


def _files(report: Report) -> list[dict[str, Any]]:
    """What came out beside what was declared, in bytes."""
    facts = report.check("declared_vs_observed").facts
    declared, observed = facts["declared"], facts["observed"]
    return [
        {
            "name": name,
            "bytes": observed.get(name, {}).get("bytes", 0),
            "max_bytes": declared[name]["max_bytes"],
        }
        for name in declared
    ]


def _not_foretold(found: Rehearsal) -> tuple[str, ...]:
    """The checks whose result the real rows, machine or past decide."""
    kind = found.stage.parameters.kind
    elsewhere = {
        "small_cells": ("statistics", "score", "compute"), "dominance": ("statistics", "train"),
        **dict.fromkeys(("withheld_metrics", "membership", "references"), ("train",)),
        "canaries": ("train",) if found.stage.parameters.terms.canaries else (),
        "stored_rows": ("train", "compute"),
    }  # fmt: skip
    return tuple(name for name in _OPEN if kind in elsewhere.get(name, (kind,)))


# -- for people


def show(cli: Cli, found: Rehearsal, problems: list[TrustspaceError]) -> None:
    """Show a rehearsal. Raises click's Exit with the code of the first refusal."""
    out = cli.out
    out.document(document(found, problems))
    for part in found.parts:
        _show_part(out, found, part)
    _show_use(out, found)
    _show_outlook(out, found)
    out.heading(_("What would be refused, or would fail"))
    if not problems:
        out.say(_("Nothing that a rehearsal can find."), style="good")
    for problem in problems:
        out.say("- " + " ".join(filter(None, explain(problem))), style="bad")
    out.say()
    out.say(_("MADE-UP DATA: no number above says anything about the real data."), style="warning")
    if problems:
        raise click.exceptions.Exit(CATALOGUE[problems[0].code].exit_code)


def _show_part(out: Output, found: Rehearsal, part: Part) -> None:
    from trustspace.evidence.render import render_text

    sample = part.sample
    out.heading(_("What the reviewers of {name} would see: {dataset}, version {version}",
                  name=_name(part), dataset=sample.body.dataset, version=sample.body.version))  # fmt: skip
    if sample.real_rows:
        out.say(
            _(
                "{rows} made-up rows stand in for at least {real}.",
                rows=sample.table.num_rows,
                real=sample.real_rows,
            )
        )
    else:
        out.say(_("{rows} made-up rows stand in for the real ones.", rows=sample.table.num_rows))
    if not part.could_withhold and found.stage.parameters.terms.withheld_percent:
        out.say(
            _("! The sample has too few rows to withhold any patients: what is judged on them could not be tried."),
            style="warning",
        )  # fmt: skip
    if part.report is not None:
        verdict, report = render_text(part.report, cast("Language", language())).split("\n", 1)
        out.say(verdict, style=_VERDICT_STYLES[part.report.verdict])
        out.say(report)
    elif part in found.causes:
        out.say(_("The run fails: there would be nothing to review."), style="bad")
    else:
        out.say(_("It ended with {name}.", name=_name(found.causes[0])))
    log = part.failure.log if part.failure is not None else ""
    printed = log or "".join(used.log.decode("utf-8", "replace") for used in part.used)
    if printed.strip() and (part in found.causes or part.failure is None):
        out.say(_("What the run printed (at a real run for this source unit's reviewers alone):"))
        out.block(printed)


def _show_use(out: Output, found: Rehearsal) -> None:
    limits = found.stage.parameters.limits
    out.heading(_("Time and memory against the limits, with made-up rows on this machine"))
    out.table(
        (_("Source unit"), _("Program"), _("Ended"), _("Time"), _("Memory")),
        [
            (
                _name(part), translate(_PROGRAMS.get(used.program, used.program)),
                translate(_STATUSES.get(used.status, used.status)),
                _of(
                    f"{used.wall_ms / 1000:.1f} s", f"{limits.wall_seconds} s", used.wall_ms,
                    limits.wall_seconds * 1000,
                ),
                _of(size(used.peak_bytes), f"{limits.memory_mib} MiB", used.peak_bytes, limits.memory_mib * _MIB)
                if used.peak_bytes
                else _("not counted on this machine"),
            )
            for part in found.parts
            for used in part.used
        ],
    )  # fmt: skip
    if found.stage.job.is_joint:
        out.say(_("Time includes waiting for the others, who all shared this machine."))
    reports = [part for part in found.parts if part.report is not None]
    if not reports:
        return
    out.heading(_("Files against what was declared"))
    shown = reports[:1] if found.stage.job.is_joint else reports
    out.table(
        (_("Source unit"), _("File"), _("Size"), _("At most")),
        [
            (
                _("all together") if found.stage.job.is_joint else _name(part), str(entry["name"]),
                size(int(entry["bytes"])), size(int(entry["max_bytes"])),
            )
            for part in shown
            for entry in _files(cast("Report", part.report))
        ],
    )  # fmt: skip


def _of(used: str, limit: str, amount: int, most: int) -> str:
    percent = 100 * amount // most
    text = _("{used} of {limit} ({percent} %)", used=used, limit=limit, percent=percent)
    return f"{text} !" if percent >= _CLOSE_PERCENT else text


def _show_outlook(out: Output, found: Rehearsal) -> None:
    """What of the above will hold, and what cannot be known yet."""
    from trustspace.cli.together import recovery_shown, words
    from trustspace.domain.rules_request import needs_small_sums

    out.heading(_("What will hold with the real data, and what will not"))
    open_ones = _(", ").join(_title(name) for name in _not_foretold(found))
    out.say(
        _("- Decided by the real rows, the real machine or the buyer's past: {checks}.", checks=open_ones)
    )
    out.say(_("- The other checks come out as above, if the real data are as their description says."))
    job = found.stage.job
    out.say(_("- The job: {kind}, over {count} source unit(s), each of which must grant and approve.",
              kind=word("kind", job.kind), count=len(job.source_units)))  # fmt: skip
    if job.sums is not None and job.sums.needed:
        out.say(
            _("- Each grant must accept that sums open without some source units, in these words: {words}.",
              words=recovery_shown(job)), style="warning",
        )  # fmt: skip
    if needs_small_sums(job):
        out.say(
            _("- Each grant must accept sums of two, in these words: {words}.", words=words()),
            style="warning",
        )
