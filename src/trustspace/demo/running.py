"""The middle: brokers release keys to the run, enclaves train together in sandboxes, reviewers decide on evidence."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from trustspace.client import jobs, review
from trustspace.client.home import PartyHome
from trustspace.demo.asking import ROUNDS
from trustspace.demo.cast import Play, wait_until
from trustspace.demo.prose import Prose
from trustspace.demo.thieves import output_of
from trustspace.demo.veto import Veto
from trustspace.errors import TrustspaceError
from trustspace.evidence.finding import Status
from trustspace.evidence.render import MARKS
from trustspace.evidence.report import Report
from trustspace.evidence.words import STATUSES, TITLES, VERDICTS

_COLOURS = {"passed": "green", "warned": "yellow", "failed": "red", "could_not_run": "red"}


def run_job(play: Play) -> None:
    """Wait for the run that everybody granted, and look at what it left."""
    stage = play.stage
    stage.scene("scene.run")
    first = play.hospitals[0]
    started = time.monotonic()
    wait_until(lambda: _finished(play, play.job), "run")
    seconds = time.monotonic() - started
    stage.does("broker", "run.released", command=f"trustspace --home {first.folder} broker serve")
    statuses = [hospital.door().status() for hospital in play.hospitals]
    sandbox = statuses[0]["sandbox"]
    facts = [
        ("run.tier", str(statuses[0]["evidence"]["sandbox_tier"])),
        ("run.user", stage.say(f"run.user-{sandbox['user']}")),
        ("run.memory", str(sandbox["memory"])),
        ("run.host", f"Linux {sandbox['kernel']}, bubblewrap {sandbox['bubblewrap']}"),
        ("run.first-row", ", ".join(f"{status['first_row_ms'].get(play.job, 0)} ms" for status in statuses)),
    ]
    stage.does(
        "enclave", "run.ran", stage.facts([(stage.say(key), value) for key, value in facts]),
        rounds=ROUNDS, seconds=f"{seconds:.1f}", command=f"trustspace --home {first.folder} enclave status",
    )  # fmt: skip
    output = output_of(play)
    columns = [stage.say("col.artifact"), stage.say("col.sealed"), stage.say("col.opens")]
    rows = [
        (a.name, f"{a.sealed_bytes:,}", stage.say("run.opens-own" if a.role == "log" else "run.opens-all"))
        for a in output.body.artifacts
    ]
    stage.does("enclave", "run.sealed", stage.table(columns, rows, right=(1,)), signers=len(output.signers))
    stage.sees(
        "developer", "run.coarse", state=stage.say(f"coarse.{state_of(play.developer, play.job)}"),
        command="trustspace --home developer job list",
    )  # fmt: skip


def state_of(home: PartyHome, job: str) -> str:
    """A job's state as the space lists it to this party."""
    return next(str(j["state"]) for j in jobs.listing(home) if j["statement"] == job)


def _finished(play: Play, job: str) -> str | None:
    state = state_of(play.hospitals[0].home, job)
    if state in ("submitted", "granted", "running"):
        return None
    if state != "in-review":
        failures = [
            (h.name, f) for h in play.hospitals for f in h.door().status()["failures"] if f["job"] == job
        ]
        log = "; ".join(f"{name}: {failure['reason']}: {failure['log']}" for name, failure in failures)
        raise TrustspaceError("The run ended in state {state}: {log}", state=state, log=log)
    return state


def decide(play: Play) -> None:
    """Each hospital's reviewer is shown the evidence on the exact bytes, and by approving hands on a share."""
    stage = play.stage
    stage.scene("scene.review")
    cases = [review.open_case(h.home, play.job, h.reviewer) for h in play.hospitals]
    first = play.hospitals[0]
    stage.sees(
        "reviewer", "review.evidence",
        stage.box(*_evidence(play, cases[0].report), title=stage.say("review.report")),
        reviewer=first.reviewer,
        command=(
            f'trustspace --home {first.folder} review list --reviewer "{first.reviewer}"',
            f'trustspace --home {first.folder} review show {play.job[:12]} --reviewer "{first.reviewer}"',
        ),
    )  # fmt: skip
    stage.sees("reviewer", "review.all", _side_by_side(play, [case.report for case in cases]))
    veto = Veto(play)
    said = []
    for hospital, case in zip(play.hospitals, cases, strict=True):
        if hospital is play.hospitals[-1]:
            veto.without_the_last()
        comment = _comment(play, case.report)
        review.approve(hospital.home, case, comment=comment)
        said.append((hospital.reviewer, hospital.name, comment))
    columns = [stage.say("who.reviewer"), stage.say("col.party"), stage.say("col.comment")]
    stage.does(
        "reviewer", "review.approved", stage.table(columns, said), buyer=play.buyer.party.name,
        command=f"trustspace --home {first.folder} review approve {play.job[:12]}"
        f' --reviewer "{first.reviewer}" --comment "{said[0][2]}"',
    )  # fmt: skip
    veto.with_all()
    play.tried(veto.cheat)


def _comment(play: Play, report: Report) -> str:
    """Why a reviewer approves: what was amber is named, with the reason that it does not stand in the way."""
    say = play.stage.say
    amber = [check.name for check in report.checks if check.status == "warned"]
    return " ".join([say("review.comment"), *(say(f"review.comment.{name}") for name in amber)])


def _side_by_side(play: Play, reports: Sequence[Report]) -> RenderableType:
    """Every hospital's own report, check by check."""
    stage, language = play.stage, play.stage.language
    rows = [
        (TITLES[check.name][language], *(_mark(play, report.check(check.name).status) for report in reports))
        for check in reports[0].checks
    ]
    rows.append(("", *(VERDICTS[report.verdict][language] for report in reports)))
    return stage.table([stage.say("review.report"), *(h.reviewer for h in play.hospitals)], rows)


def _mark(play: Play, status: Status) -> str:
    return f"{MARKS[status]} {STATUSES[status][play.stage.language]}"


def _evidence(play: Play, report: Report) -> list[RenderableType]:
    language = play.stage.language
    lines: list[RenderableType] = []
    for check in report.checks:
        title = Text(
            f"{MARKS[check.status]} {TITLES[check.name][language]}", style=_COLOURS.get(check.status, "")
        )
        title.append(f"  [{STATUSES[check.status][language]}]", style="default")
        lines += [title, Padding(Prose(check.summary.in_language(language)), (0, 0, 0, 2))]
    verdict = f"{VERDICTS[report.verdict][language]}: {report.headline.in_language(language)}"
    return [
        *lines,
        Text(),
        Prose(verdict, "bold"),
        Prose(report.limits.in_language(language), "italic"),
    ]
