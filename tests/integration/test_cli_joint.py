"""The command line over a joint job of three hospitals and a pair: what each is told, grants, reviews and receives."""

import io
import json

import pytest
from support.enclaves import SimulatedLauncher, write_job
from support.joint import TRAIN, USE, Joint
from support.world import World

from trustspace.cli import i18n
from trustspace.cli.main import run
from trustspace.client import jobs
from trustspace.domain.bodies import SMALL_SUMS
from trustspace.domain.records import GrantRecord

COMPUTE = """
[job]
title = "Mean size"
purpose = "Planning a study."
kind = "compute"

[parties]
buyer = "City Clinic"

[code]
path = "code"

[compute]
outputs = [{ name = "summary.json", media_type = "application/json", max_bytes = 4096 }]

[terms]
minimum_participants = {minimum}
"""


@pytest.fixture(scope="module")
def joint():
    world = World()
    made = None
    try:
        made = Joint(world)
        made.attend()
        yield made
    finally:
        if made is not None:
            made.close()
        world.close()


@pytest.fixture
def invoke(capsys, monkeypatch):
    """Run a command line for a party in this process; gives exit code, standard output and standard error."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(home, *arguments, answer=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        capsys.readouterr()
        code = run(["--home", str(home.path), *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield call
    i18n.use("en")


@pytest.fixture
def read(invoke):
    """What a program reads; the command must succeed."""

    def call(home, *arguments):
        code, out, err = invoke(home, "--json", *arguments)
        assert (code, err) == (0, ""), out
        return json.loads(out)

    return call


def submit(joint, read, text=TRAIN, minimum=3, hospitals=None):
    asked = hospitals or joint.hospitals
    uses = "".join(USE.format(unit=h.name) for h in asked)
    path = write_job(joint.world, text.replace("{minimum}", str(minimum)) + uses)
    joint.job = read(joint.developer, "job", "submit", path)["job"]
    read(joint.buyer, "job", "countersign", joint.job)
    return joint.job


def test_three_hospitals_from_request_to_certificate(joint, invoke, read, tmp_path):
    job = submit(joint, read)
    first, *others = joint.hospitals

    # -- what is asked, in both languages
    shown = read(first.home, "job", "show", job)
    assert (shown["joint"], shown["result"], shown["minimum_participants"]) == (True, None, 3)
    _, people, _ = invoke(first.home, "job", "show", job)
    assert "Your enclave computes together with those of: Hospital B, Hospital C." in people
    assert "Every sum is over at least 3 of the 3 source units." in people
    assert (
        "All the others in a sum (as few as 2), working together, can work out the last one's part" in people
    )
    assert "--small-sums" not in people
    _, chinese, _ = invoke(first.home, "--lang", "zh", "job", "show", job)
    assert "您的盲盒与下列单位的盲盒一起计算：Hospital B、Hospital C。" in chinese
    assert "其余各家（最少只需 2 家）若串通" in chinese
    _, developers, _ = invoke(joint.developer, "job", "show", job)
    assert "These source units' enclaves compute together: Hospital A, Hospital B, Hospital C." in developers

    # -- everybody grants; three need no words
    code, people, _ = invoke(first.home, "job", "grant", job, answer="n\n")
    assert code == 1
    assert "What your grant permits" in people
    for hospital in joint.hospitals:
        # So few patients are red, which two must approve.
        assert read(hospital.home, "job", "grant", job, "--threshold", "2", "--yes")["small_sums"] == ""
        if hospital is first:
            assert "1 of 3 granted" in invoke(first.home, "job", "list")[1]

    # -- review: every unit sees its own files and all others' progress
    joint.until("in-review")
    case = read(first.home, "review", "show", job, "--reviewer", "Dr A", "--log")
    assert case["four_eyes"]["blind"]
    assert len(case["members"]) == 3
    assert {unit["name"] for unit in case["members"]} == {h.name for h in joint.hospitals}
    assert case["dropped_out"] == []
    assert {a["name"] for a in case["artifacts"]} == {"model.safetensors", "metrics.json", "1.run.log"}
    assert list(case["logs"]) == ["1.run.log"]
    assert [(u["approved"], u["required"]) for u in case["source_units"]] == [(None, 2), (0, 2), (0, 2)]
    approve = ("--comment", "seen", "--accept-red")
    done = read(first.home, "review", "approve", job, "--reviewer", "Dr A", *approve)
    assert (done["state"], set(done["artifacts"])) == ("in-review", {"model.safetensors", "metrics.json"})
    _, people, _ = invoke(first.home, "review", "show", job, "--reviewer", "Dr A")
    assert "Whose updates are in the model" in people
    assert "Other source units have 2 more file(s) of their own, closed to you." in people
    assert "1 of 2" in people
    _, people, _ = invoke(first.home, "review", "show", job, "--reviewer", "Dr A2")
    assert "hidden until you have decided" in people
    assert "1 of 2" not in people
    done = read(first.home, "review", "approve", job, "--reviewer", "Dr A2", *approve)
    for hospital in others:
        for person in hospital.people:
            done = read(hospital.home, "review", "approve", job, "--reviewer", person, *approve)
    assert done["state"] == "released"
    assert {u["name"] for u in read(first.home, "job", "show", job)["result"]["members"]} == {
        h.name for h in joint.hospitals
    }

    # -- the buyer, and anybody with the certificate
    into = tmp_path / "out"
    fetched = read(joint.buyer, "release", "fetch", job, "--into", into)
    assert len(fetched["members"]) == 3
    assert {len(item["source_units"]) for item in fetched["artifacts"]} == {3}
    check = ("verify", "certificate", into / "certificate.json", "--trust", into / "trust.json")
    proven = read(joint.buyer, *check)
    assert (proven["joint"], len(proven["members"]), proven["dropped_out"]) == (True, 3, [])
    _, people, _ = invoke(joint.buyer, *check)
    assert "Whose updates are in the model" in people
    assert "at least 3 of 3" in people


def test_two_hospitals_must_say_the_words(joint, invoke, read):
    pair = joint.hospitals[:2]
    job = submit(joint, read, minimum=2, hospitals=pair)
    home = pair[0].home
    code, people, error = invoke(home, "job", "grant", job, "--yes")
    assert code == 9
    # What is missing is said, and why, before anything was signed.
    assert "A sum may be of two alone." in people
    assert f"“{SMALL_SUMS}”" in people
    assert "small_sums" in error
    code, people, _ = invoke(home, "job", "grant", job, "--small-sums", answer="n\n")
    assert code == 1
    assert f"You accept sums of two, in these words: “{SMALL_SUMS}”." in people
    _, chinese, _ = invoke(home, "--lang", "zh", "job", "grant", job, "--small-sums", answer="n\n")
    assert f"“两家数据源单位可以算出彼此的部分”（{SMALL_SUMS}）" in chinese
    assert read(home, "job", "grant", job, "--small-sums", "--yes")["small_sums"] == SMALL_SUMS
    dossier = home.session.job(job)
    (grant,) = dossier.view.all(GrantRecord)
    assert grant.body.small_sums == SMALL_SUMS

    # -- the developer takes it back
    code, out, _ = invoke(joint.developer, "job", "cancel", job, answer="n\n")
    assert (code, "Cancel the job" in out) == (1, True)
    assert invoke(joint.developer, "--json", "job", "cancel", job)[0] == 2
    assert invoke(home, "job", "cancel", job, "--yes")[0] != 0
    assert read(joint.developer, "job", "cancel", job, "--yes")["job"] == job
    assert read(joint.developer, "job", "show", job)["state"] == "cancelled"
    assert "已取消" in invoke(home, "--lang", "zh", "job", "show", job)[1]
    assert invoke(joint.developer, "job", "cancel", job, "--yes")[0] == 8


def test_own_code_leaves_each_hospital_its_own_files(joint, invoke, read, tmp_path):
    job = submit(joint, read, COMPUTE, minimum=2)
    _, people, _ = invoke(joint.hospitals[0].home, "job", "show", job)
    assert "Nothing is added up." in people
    for hospital in joint.hospitals:
        read(hospital.home, "job", "grant", job, "--yes")
    joint.until("in-review")
    for number, hospital in enumerate(joint.hospitals, start=1):
        case = read(hospital.home, "review", "show", job, "--reviewer", hospital.reviewer)
        assert {a["name"] for a in case["artifacts"]} == {f"{number}.summary.json", f"{number}.run.log"}
        done = read(hospital.home, "review", "approve", job, "--reviewer", hospital.reviewer)
        assert done["artifacts"] == [f"{number}.summary.json"]
    into = tmp_path / "out"
    fetched = read(joint.buyer, "release", "fetch", job, "--into", into)
    assert {item["name"]: item["source_units"] for item in fetched["artifacts"]} == {
        f"{number}.summary.json": [hospital.unit] for number, hospital in enumerate(joint.hospitals, start=1)
    }
    check = ("verify", "certificate", into / "certificate.json", "--trust", into / "trust.json")
    assert "2.summary.json: Hospital B" in invoke(joint.buyer, *check)[1]


def test_a_source_unit_stops_a_job(joint, invoke, read):
    job = submit(joint, read)
    for hospital in joint.hospitals[:2]:
        read(hospital.home, "job", "grant", job, "--yes")
    assert read(joint.hospitals[1].home, "job", "refuse", job)["job"] == job
    assert joint.record().state == "refused"
    assert "Hospital B" in invoke(joint.hospitals[0].home, "job", "show", job)[1].partition("Refused by")[2]


def test_the_smallest_count_shown_is_the_officers_choice(joint, invoke, read):
    home = joint.hospitals[2].home
    table = joint.world.path / "cytology.csv"
    submit = (
        "dataset",
        "submit",
        table,
        "--name",
        "counts",
        "--title",
        "Counts",
        "--patient-column",
        "patient",
    )
    read(home, *submit, "--minimum-cell", "25", "--yes")
    assert read(home, "dataset", "show", "counts")["policy"]["minimum_cell_count"] == 25
    assert "at least 25" in invoke(home, "dataset", "show", "counts")[1]
    assert invoke(home, *submit, "--minimum-cell", "0", "--yes")[0] == 2


def test_a_rehearsal_on_what_the_hospitals_published(joint, invoke, read, monkeypatch):
    import contextlib

    from trustspace.sandbox.launcher import Launcher

    monkeypatch.setattr(Launcher, "start", lambda *_a, **_k: contextlib.closing(SimulatedLauncher()))
    uses = "".join(USE.format(unit=h.name) for h in joint.hospitals)
    path = write_job(joint.world, TRAIN.replace("{minimum}", "3") + uses)
    before = jobs.listing(joint.developer)
    found = read(joint.developer, "job", "rehearse", path)
    assert [(u["name"], u["mock_rows"], u["policy_is_published"]) for u in found["source_units"]] == [
        (h.name, 100, True) for h in joint.hospitals
    ]
    assert found["refusals"] == []
    assert [u["real_rows_at_least"] for u in found["source_units"]] == [60, 90, 120]
    assert all(u["report"]["checks"] for u in found["source_units"])
    _, people, _ = invoke(joint.developer, "--lang", "zh", "job", "rehearse", path)
    assert people.count("虚构数据：") == 2
    assert "Hospital C 的审查员将看到的内容" in people
    # Nothing was submitted, and nobody is asked.
    assert jobs.listing(joint.developer) == before

    # What submitting would refuse, a rehearsal refuses in the same words and with the same code.
    path.write_text(path.read_text(encoding="utf-8").replace('"texture"]', '"colour"]'), encoding="utf-8")
    rehearsed = invoke(joint.developer, "--json", "job", "rehearse", path)
    assert rehearsed == invoke(joint.developer, "--json", "job", "submit", path)
    assert rehearsed[0] == 2
    assert "colour" in rehearsed[1]
