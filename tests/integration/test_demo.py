"""`trustspace demo` is played for real: what it reports, what it leaves behind, and that it notices a hole."""

import json
import math
import os
import re
import shlex
import signal
import string
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the demonstration's data comes with scikit-learn")

from trustspace.data.handin import draw_withheld
from trustspace.demo import asking, prose
from trustspace.demo.attempts import Cheat
from trustspace.demo.data import SITES, load
from trustspace.demo.figures import BAR_FROM, bar, measure, plot
from trustspace.demo.prose import wrapped_command
from trustspace.demo.words import WORDS
from trustspace.domain.bodies import Policy
from trustspace.errors import NotFound, Unavailable, VerificationFailed
from trustspace.evidence.checks import CHECKS

CHEATS = {
    "buyer-before-approval", "operator-opens-what-it-stores", "job-changed-after-grant", "byte-changed-in-output",
    "false-buyer", "false-enclave", "release-without-approval", "ledger-rewritten", "certificate-for-another-model",
    "contribution-altered", "approval-left-out",
}  # fmt: skip
# Plays the story with one defence taken out of the clients in this process; servers, broker and enclave keep theirs.
WITHOUT_PINNING = """
import sys
from pathlib import Path
from trustspace.domain.trust import TrustFile
TrustFile.require = lambda self, fingerprint: None
from trustspace.demo.story import run
sys.exit(run(Path(sys.argv[1]), None, "en"))
"""

# Too few patients are withheld at first, as chance may have it; the developer's second job asks for as many as ever.
RED_AT_FIRST = """
import sys
from pathlib import Path
from trustspace.client import jobs
from trustspace.demo import asking, story
text, submit = asking.job_text, jobs.submit
usual, few = f"withheld_percent = {asking.WITHHELD_PERCENT} ", "withheld_percent = 5 "
asking.job_text = lambda play, buyer: text(play, buyer).replace(usual, few)
def submit_and_mend(home, path, **options):
    digest = submit(home, path, **options)
    path.write_text(path.read_text(encoding="utf-8").replace(few, usual), encoding="utf-8")
    return digest
jobs.submit = submit_and_mend
sys.exit(story.run(Path(sys.argv[1]), None, "en"))
"""


def environment(temporary):
    return {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1", "COLUMNS": "96"}


def demo(temporary, *arguments, before=(), code=None):
    program = ["-c", code] if code else ["-m", "trustspace", *before, "demo"]
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)], capture_output=True, text=True, timeout=280,
        env=environment(temporary), check=False,
    )  # fmt: skip


def still_running(folder):
    """Processes that were started for a play in this folder and are there yet."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in command and int(entry.parent.name) != os.getpid():
            found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("played")
    temporary = folder / "tmp"
    temporary.mkdir()
    result = demo(temporary, "--json", folder / "report.json")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr
    return result, json.loads((folder / "report.json").read_text(encoding="utf-8")), temporary


@pytest.mark.isolation
def test_report(played):
    _, report, _ = played
    assert set(report) == {"hospitals", "rounds", "auc", "cheats", "certificate_verified", "seconds"}
    assert (report["hospitals"], report["rounds"], report["certificate_verified"]) == (4, asking.ROUNDS, True)
    assert set(report["auc"]) == {"local", "federated", "pooled"}
    # Chance is 0.5; on this table every sensible linear model is above 0.95.
    assert all(0.95 < value <= 1 for value in report["auc"].values())
    # About the model of all rows in one place, from which no patients are withheld.
    assert abs(report["auc"]["federated"] - report["auc"]["pooled"]) < 0.02
    assert 0 < report["seconds"] < 240


@pytest.mark.isolation
def test_every_cheat_was_tried_and_refused(played):
    _, report, _ = played
    assert {cheat["name"] for cheat in report["cheats"]} == CHEATS
    assert [cheat["name"] for cheat in report["cheats"] if cheat["refused"] is not True] == []


@pytest.mark.isolation
def test_nothing_is_left(played):
    _, _, temporary = played
    assert list(temporary.iterdir()) == []
    assert still_running(temporary) == []


@pytest.mark.isolation
def test_the_log_is_plain_and_narrow(played):
    result, _, _ = played
    assert "\x1b" not in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 96
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stderr == ""


@pytest.mark.isolation
def test_every_hospital_took_part_and_every_reviewer_decided(played):
    result, _, _ = played
    shown = result.stdout
    for site in SITES:
        assert shown.count(WORDS[f"name.{site.key}"][0]) > 2
        assert shown.count(WORDS[f"reviewer.{site.key}"][0]) > 2
    sums = asking.ROUNDS + 2
    assert f"Sums opened: {sums}, each over all 4 source units" in " ".join(shown.replace("│", " ").split())
    verdicts = re.findall(r"^ +((?:GREEN|AMBER|RED)(?: +(?:GREEN|AMBER|RED)){3}) *$", shown, re.MULTILINE)
    assert [len(line.split()) for line in verdicts] == [4]
    assert "RED" not in verdicts[0]


@pytest.mark.isolation
def test_the_commands_shown_are_commands(played):
    from trustspace.cli.main import cli

    result, _, _ = played
    # What stands in the margin (who, does, when) is not part of a command that goes on there.
    column = "\n".join(line[11:].rstrip() for line in result.stdout.splitlines())
    joined = re.sub(r" \\\n *", " ", column)
    shown = [shlex.split(match) for match in re.findall(r"^\$ (trustspace .*)$", joined, re.MULTILINE)]
    assert len(shown) > 20
    for words in shown:
        command, context, arguments, name = cli, None, words[1:], "trustspace"
        while True:
            context = command.make_context(name, list(arguments), parent=context)
            if not hasattr(command, "resolve_command"):
                break
            arguments = [*context._protected_args, *context.args]
            name, command, arguments = command.resolve_command(context, arguments)


@pytest.mark.parametrize("width", [40, 60, 84])
def test_a_long_comment_stays_a_command(width):
    """A reviewer who sees amber says why, in more words than a line holds."""
    comment = "Fit for its purpose. Some difference is to be expected on so few withheld patients. " * 2
    command = f'trustspace --home hospital-1 review approve 16bd42827a86 --reviewer "Dr Li" --comment "{comment.strip()}"'
    lines = wrapped_command(command, width)
    assert max(map(len, lines)) <= width
    # As a shell reads it: a backslash at the end of a line goes, with the line's end.
    assert shlex.split("\n".join(lines).replace("\\\n", ""))[1:] == shlex.split(command)


@pytest.mark.slow
@pytest.mark.isolation
def test_kept_in_chinese_and_verified_by_hand(tmp_path):
    temporary, kept = tmp_path / "tmp", tmp_path / "kept"
    temporary.mkdir()
    result = demo(temporary, "--keep", kept, before=("--lang", "zh"))
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr
    assert "凭证离线核验通过" in result.stdout
    assert "SUCCEEDED" not in result.stdout
    assert still_running(kept) == []
    everybody = {f"{kind}-{number}" for kind in ("hospital", "enclave") for number in range(1, 5)}
    assert {"space", "developer", "buyer", "auditor", "delivery", "logs"} | everybody <= {
        path.name for path in kept.iterdir()
    }
    delivery = kept / "delivery"
    arguments = [
        sys.executable, "-m", "trustspace", "verify", "certificate", delivery / "certificate.json",
        "--trust", delivery / "trust.json", "--artifact", delivery / "model.safetensors",
    ]  # fmt: skip
    assert subprocess.run(arguments, capture_output=True, timeout=60, check=False).returncode == 0
    model = (delivery / "model.safetensors").read_bytes()
    (delivery / "model.safetensors").write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    assert subprocess.run(arguments, capture_output=True, timeout=60, check=False).returncode == 3


@pytest.mark.slow
@pytest.mark.isolation
def test_a_missing_defence_is_noticed(tmp_path):
    """The control of the whole: without pinned fingerprints the false buyer gets its grant, and the play says so."""
    result = demo(tmp_path, tmp_path / "report.json", code=WITHOUT_PINNING)
    assert result.returncode == 1, result.stdout[-4000:] + result.stderr
    cheats = {c["name"]: c["refused"] for c in json.loads((tmp_path / "report.json").read_text())["cheats"]}
    assert cheats["false-buyer"] is False
    assert cheats["job-changed-after-grant"] is True
    assert "SUCCEEDED" in result.stdout


@pytest.mark.slow
@pytest.mark.isolation
def test_evidence_that_chance_makes_red_does_not_end_the_story(tmp_path):
    result = demo(tmp_path, tmp_path / "report.json", code=RED_AT_FIRST)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr
    said = " ".join(result.stdout.replace("│", " ").split())
    # Nobody approves what is red: the output is closed, and the same job is run once more.
    assert said.index("finds the evidence red") < said.index("Answers with the same job")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {cheat["name"] for cheat in report["cheats"] if cheat["refused"]} == CHEATS
    assert report["certificate_verified"]


@pytest.mark.isolation
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupted_it_cleans_up(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-m", "trustspace", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(tmp_path),
        # A shell's background job ignores Ctrl-C, and so would everything that these tests start in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        for line in process.stdout:
            if line.startswith("4 "):
                break
        assert still_running(tmp_path)
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    deadline = time.monotonic() + 10
    while still_running(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert still_running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_cannot_isolate_is_told_why(tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    changed = {**environment(temporary), "TRUSTSPACE_RUNTIME": str(tmp_path / "no-runtime")}
    result = subprocess.run(
        [sys.executable, "-m", "trustspace", "demo", "--json", tmp_path / "report.json"], capture_output=True,
        text=True, timeout=120, env=changed, check=False,
    )  # fmt: skip
    assert result.returncode == 14, result.stdout + result.stderr
    assert "cannot isolate" in result.stdout
    assert "trustspace doctor" in result.stdout
    assert not (tmp_path / "report.json").exists()
    assert list(temporary.iterdir()) == []
    assert still_running(temporary) == []


def test_a_folder_in_use_is_not_kept_in(tmp_path):
    (tmp_path / "mine").write_text("x")
    result = demo(tmp_path, "--keep", tmp_path)
    assert result.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def refuse(kind=VerificationFailed):
    raise kind("No.")


def test_a_cheat_is_refused_only_if_attacks_fail_and_controls_work():
    def cheat(attack, control):
        tried = Cheat("x")
        if attack:
            tried.attack("a", attack, VerificationFailed)
        if control:
            tried.control("c", control)
        return tried.refused

    assert cheat(refuse, lambda: 1) is True
    assert cheat(lambda: 1, lambda: 1) is False
    assert cheat(refuse, refuse) is False
    assert cheat(refuse, None) is False
    assert cheat(None, lambda: 1) is False


@pytest.mark.parametrize("kind", [Unavailable, NotFound])
def test_another_error_is_no_refusal(kind):
    with pytest.raises(kind):
        Cheat("x").attack("a", lambda: refuse(kind), VerificationFailed)


def test_every_patient_is_in_one_place():
    cohort = load("en")
    parts = [*cohort.hospitals, cohort.buyer]
    everybody = np.concatenate([part.values for part in parts])
    assert len(everybody) == len(np.unique(everybody, axis=0)) == 569
    assert len(cohort.buyer) == 171
    for site, rows in zip(SITES, cohort.hospitals, strict=True):
        assert (int(rows.malignant.sum()), int((~rows.malignant).sum())) == (site.malignant, site.benign)
    assert measure(cohort, cohort.buyer.malignant.astype(float)).federated == 1.0
    assert measure(cohort, -cohort.buyer.malignant.astype(float)).federated == 0.0


def test_hospitals_differ_in_size_and_case_mix():
    cohort = load("en")
    sizes = [len(rows) for rows in cohort.hospitals]
    assert sizes == sorted(set(sizes), reverse=True)
    radius = {site.key: rows.values[:, 0].mean() for site, rows in zip(SITES, cohort.hospitals, strict=True)}
    assert radius["screening"] < radius["general"] < radius["university"] < radius["cancer-centre"]
    found = measure(cohort, np.zeros(len(cohort.buyer)))
    assert len(set(found.own)) == len(sizes)
    assert found.local == pytest.approx(np.mean(found.own), abs=1e-6)
    assert min(found.own) < found.pooled


def test_even_the_smallest_hospital_seldom_withholds_too_few_to_be_measured():
    """Coins decide: with fewer patients, or another percentage, the story would often have to run a second time."""
    minimum = Policy().minimum_withheld_patients
    for rows in load("en").hospitals:
        draw = draw_withheld([str(n) for n in range(len(rows))], asking.WITHHELD_PERCENT, b"any key will do.")
        coins, sure = int(draw.audited.sum()), int((draw.withheld & ~draw.audited).sum())
        too_few = sum(math.comb(coins, heads) for heads in range(minimum - sure)) / 2**coins
        assert too_few < 0.01


def test_a_reviewer_can_give_a_reason_for_every_check():
    assert {f"review.comment.{name}" for name in CHECKS} <= set(WORDS)


def test_bars_and_plots_are_to_scale():
    assert bar(1.0).count("█") == len(bar(1.0))
    assert bar(BAR_FROM) == bar(0.2) == "·" * len(bar(1.0))
    assert bar((1 + BAR_FROM) / 2).count("█") == len(bar(1.0)) // 2
    high, *_, low, axis = plot([0.8, 0.4, 0.2])
    assert high.startswith("0.80 ██")
    assert high.rstrip().endswith("██")
    assert low.count("██") == 3
    assert axis.split() == ["1", "2", "3"]


def test_both_languages_say_the_same_things():
    def fields(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for key, (english, chinese) in WORDS.items():
        assert english, key
        assert chinese != english, key
        assert fields(chinese) == fields(english), key


def test_lines_break_where_their_language_does():
    text = "医院的数据专员在本院机器上分析 cytology.csv：共 32 列；左侧（仅专员可见）。"
    for width in range(16, 40):
        lines = prose.wrapped(text, width)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(prose.cell_len(line) <= width for line in lines)
        assert not any(line[0] in "，。；：）" or line[-1] == "（" for line in lines)
    command = 'trustspace --home hospital review approve 12ab --reviewer "Dr Li" --comment "Fit for it."'
    lines = prose.wrapped_command(command, 40)
    assert len(lines) > 1
    assert shlex.split("\n".join(lines).replace("\\\n", " ").removeprefix("$")) == shlex.split(command)
