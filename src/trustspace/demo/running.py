"""The middle: brokers release keys to the granted run, enclaves run it in a sandbox, reviewers decide on evidence."""

from __future__ import annotations

import time

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from trustspace.client import jobs, review
from trustspace.client.home import PartyHome
from trustspace.demo.cast import Hospital, Play, wait_until
from trustspace.demo.prose import Prose
from trustspace.domain.records import OutputRecord
from trustspace.errors import TrustspaceError
from trustspace.evidence.render import MARKS
from trustspace.evidence.report import Report
from trustspace.evidence.words import STATUSES, TITLES, VERDICTS

_COLOURS = {"passed": "green", "warned": "yellow", "failed": "red", "could_not_run": "red"}


def run_job(play: Play) -> None:
    """Wait for the run that everybody granted, and look at what it left."""
    stage = play.stage
    stage.scene("scene.run")
    hospital = play.hospitals[0]
    started = time.monotonic()
    wait_until(lambda: _finished(hospital, play.job), "run")
    seconds = time.monotonic() - started
    stage.does("broker", "run.released", command=f"trustspace --home {hospital.home.path.name} broker serve")
    status = hospital.door().status()
    sandbox = status["sandbox"]
    facts = [
        ("run.tier", str(status["evidence"]["sandbox_tier"])),
        ("run.user", stage.say(f"run.user-{sandbox['user']}")),
        ("run.memory", str(sandbox["memory"])),
        ("run.host", f"Linux {sandbox['kernel']}, bubblewrap {sandbox['bubblewrap']}"),
        ("run.first-row", f"{status['first_row_ms'].get(play.job, 0)} ms"),
    ]
    stage.does(
        "enclave", "run.ran", stage.facts([(stage.say(key), value) for key, value in facts]),
        seconds=f"{seconds:.1f}", command=f"trustspace --home {hospital.home.path.name} enclave status",
    )  # fmt: skip
    output = hospital.home.session.job(play.job).view.get(OutputRecord, _output(hospital, play.job))
    assert output is not None
    columns = [stage.say("col.artifact"), stage.say("col.sealed"), stage.say("col.opens")]
    rows = [
        (a.name, f"{a.sealed_bytes:,}", stage.say("run.opens-own" if a.role == "log" else "run.opens-all"))
        for a in output.body.artifacts
    ]
    stage.does("enclave", "run.sealed", stage.table(columns, rows, right=(1,)))
    stage.sees(
        "developer", "run.coarse", state=stage.say(f"coarse.{state_of(play.developer, play.job)}"),
        command="trustspace --home developer job list",
    )  # fmt: skip


def state_of(home: PartyHome, job: str) -> str:
    """A job's state as the space lists it to this party."""
    return next(str(j["state"]) for j in jobs.listing(home) if j["statement"] == job)


def _output(hospital: Hospital, job: str) -> str:
    return next(str(j["output"]) for j in jobs.listing(hospital.home) if j["statement"] == job)


def _finished(hospital: Hospital, job: str) -> str | None:
    state = state_of(hospital.home, job)
    if state in ("submitted", "granted", "running"):
        return None
    if state != "in-review":
        failures = hospital.door().status()["failures"]
        log = next((str(f["log"]) for f in failures if f["job"] == job), "")
        raise TrustspaceError("The run ended in state {state}: {log}", state=state, log=log)
    return state


def decide(play: Play) -> None:
    """Each hospital's reviewer is shown the evidence on the exact bytes, and by approving hands on a share."""
    stage = play.stage
    stage.scene("scene.review")
    for hospital in play.hospitals:
        home, name = hospital.home, hospital.home.path.name
        case = review.open_case(home, play.job, hospital.reviewer)
        stage.sees(
            "reviewer", "review.evidence", stage.box(*_evidence(play, case.report), title=stage.say("review.report")),
            reviewer=hospital.reviewer,
            command=(
                f'trustspace --home {name} review list --reviewer "{hospital.reviewer}"',
                f'trustspace --home {name} review show {play.job[:12]} --reviewer "{hospital.reviewer}"',
            ),
        )  # fmt: skip
        comment = stage.say("review.comment")
        # A red verdict is not approved here: the story would end, as it should.
        review.approve(home, case, comment=comment)
        stage.does(
            "reviewer", "review.approved", reviewer=hospital.reviewer, buyer=play.buyer.party.name,
            command=f"trustspace --home {name} review approve {play.job[:12]}"
            f' --reviewer "{hospital.reviewer}" --comment "{comment}"',
        )  # fmt: skip


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
