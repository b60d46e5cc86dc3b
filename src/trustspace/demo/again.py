"""What becomes of a run on which a hospital's evidence is red: its reviewer asks for changes, and one runs once more.

Who is withheld is drawn by fair coins from a secret key. At times, with hospitals as small as these, too few are
withheld to measure anything, or those whom the model knows less well. What is red needs two people, and here each
hospital has one: it is not approved. The same job submitted anew is another one, for which others are drawn.
"""

from __future__ import annotations

from trustspace.client import jobs, review
from trustspace.demo.asking import grant
from trustspace.demo.cast import Hospital, Play
from trustspace.demo.running import run_job
from trustspace.errors import PolicyRefused
from trustspace.evidence.words import TITLES

# Of 360 simulated runs 6 were red: two withheld too few patients, the others stood out by chance. Four in a row do not.
MOST_RUNS = 4
_REASON = "not-measurable"


def until_not_red(play: Play) -> None:
    """Run the job again as long as some hospital's evidence on it is red.

    Raises:
        PolicyRefused: it was red each time.

    """
    for number in range(MOST_RUNS):
        red = _first_red(play)
        if red is None:
            return
        if number + 1 < MOST_RUNS:
            _changes_asked_for(play, *red)
            _asked_again(play)
            run_job(play)
    raise PolicyRefused(
        "The evidence was red in each of {count} runs.", fix="Play it once more.", count=MOST_RUNS
    )


def _first_red(play: Play) -> tuple[Hospital, review.Case] | None:
    for hospital in play.hospitals:
        case = review.open_case(hospital.home, play.job, hospital.reviewer)
        if case.report.verdict == "red":
            return hospital, case
    return None


def _changes_asked_for(play: Play, hospital: Hospital, case: review.Case) -> None:
    stage = play.stage
    review.request_changes(hospital.home, case, (_REASON,), stage.say("again.note"))
    titles = [
        TITLES[check.name][stage.language]
        for check in case.report.checks
        if check.status in ("failed", "could_not_run")
    ]
    stage.does(
        "reviewer", "again.changes", reviewer=hospital.reviewer, name=hospital.name, checks="; ".join(titles),
        command=f"trustspace --home {hospital.folder} review changes {play.job[:12]}"
        f' --reviewer "{hospital.reviewer}" --reason {_REASON} --note "{stage.say("again.note")}"',
    )  # fmt: skip


def _asked_again(play: Play) -> None:
    stage, before = play.stage, play.job
    play.job = jobs.submit(play.developer, play.job_file, supersedes=before)
    jobs.countersign(play.buyer, play.job)
    stage.does(
        "developer", "again.submitted", job=play.job[:12],
        command=f"trustspace --home developer job submit {play.job_file.name} --answers {before[:12]}",
    )  # fmt: skip
    grant(play)
