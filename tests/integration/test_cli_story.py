"""The tutorial with the real command line: every party a home, every server a process, every step a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import processes

pytestmark = pytest.mark.isolation

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "jobs" / "breast-cancer-logistic.toml"
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith("TRUSTSPACE_")},
    "LC_ALL": "C.UTF-8",
}
SECRET = "一个 秘密"  # of the hospital's keys


class Server:
    """A ``serve`` command; ``ready`` is its one JSON line."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, start_new_session=True
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, log.read_text()
        self.ready = json.loads(line)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        assert self.process.stdout.read() == "", "more than the ready line went to standard output"
        self.process.stdout.close()
        return code


class Stage:
    """Homes below one directory, and the command line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.servers: list[Server] = []
        self.environment = {"hospital": {**ENVIRONMENT, "TRUSTSPACE_PASSPHRASE": SECRET}}

    def _command(self, home: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "trustspace", "--home", str(self.root / home), *arguments]

    def run(self, home: str, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(home, *arguments), input=answer, capture_output=True, text=True, timeout=120, check=False,
            cwd=self.root, env=self.environment.get(home, ENVIRONMENT),
        )  # fmt: skip

    def read(self, home: str, *arguments: str, answer: str = "") -> str:
        """What a person reads; the command must succeed."""
        done = self.run(home, *arguments, answer=answer)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, home: str, *arguments: str):
        """What a program reads: one document, and nothing on standard error."""
        done = self.run(home, "--json", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    def refused(self, home: str, *arguments: str) -> tuple[int, str]:
        """A refusal's exit code and error code, the same for people and for programs."""
        done = self.run(home, "--json", *arguments)
        error = json.loads(done.stdout)["error"]
        assert set(error) == {"code", "message", "fix"}
        people = self.run(home, *arguments)
        assert people.returncode == done.returncode
        assert error["message"] in people.stderr
        return done.returncode, error["code"]

    def serve(self, home: str, *arguments: str) -> Server:
        server = Server(
            self._command(home, "--json", *arguments), self.environment.get(home, ENVIRONMENT),
            self.root / f"{home}-{arguments[0]}.log",
        )  # fmt: skip
        self.servers.append(server)
        return server

    def wait_for(self, job: str, state: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while True:
            (listed,) = self.json("hospital", "job", "list")["jobs"]
            assert listed["statement"] == job
            if listed["state"] == state:
                return
            assert time.monotonic() < deadline, listed
            time.sleep(1.0)


@pytest.fixture(scope="module")
def stage():
    # Not below pytest's own directory: the sandbox's user may not enter that.
    root = processes.folder("trustspace-cli-")
    root.chmod(0o755)
    made = Stage(root)
    yield made
    for server in made.servers:
        if server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait(10)
    processes.remove(root)


def write_inputs(root: Path) -> None:
    """The diagnostic breast cancer table with a patient column, under a Chinese name, and the example's job."""
    datasets = pytest.importorskip("sklearn.datasets")
    table = datasets.load_breast_cancer()
    lines = [",".join([*table.feature_names, "diagnosis", "patient"])]
    for number, (row, target) in enumerate(zip(table.data, table.target, strict=True)):
        lines.append(",".join([*(f"{value:g}" for value in row), "MB"[target], f"p{number:04d}"]))
    (root / "细胞学 数据.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = EXAMPLE.read_text(encoding="utf-8").replace("city-clinic", "市立医院")
    (root / "job.toml").write_text(job, encoding="utf-8")


@pytest.mark.slow
def test_the_tutorial(stage):
    root = stage.root
    write_inputs(root)

    # -- the operator opens a space and invites
    doors = ("--listen", "127.0.0.1:0", "--enrol-listen", "127.0.0.1:0")
    stage.read("space", "space", "init", "--name", "演示空间", *doors)
    assert stage.refused("space", "space", "init", "--name", "again") == (7, "already-exists")
    space = stage.serve("space", "space", "serve")
    assert set(space.ready) == {"listen", "enrol_listen"}
    cast = {
        "hospital": ("第一医院", "source-unit", "--reviewer", "李医生", "--reviewer", "Dr Wu"),
        "developer": ("acme-models", "developer"),
        "buyer": ("市立医院", "buyer"),
        "auditor": ("city-audit", "auditor"),
    }
    for home, (name, role, *_) in cast.items():
        target = str(root / f"{home}.invitation")
        stage.json("space", "space", "invite", "--name", name, "--role", role, "--out", target)

    # -- everybody makes keys, enrols, and pins the others
    fingerprints = {}
    for home, (name, role, *rest) in cast.items():
        made = stage.json(home, "party", "new", "--name", name, "--role", role, *rest)
        fingerprints[name] = made["fingerprint"]
        assert stage.json(home, "party", "enrol", str(root / f"{home}.invitation"))["enrolled"]
    assert stage.refused("buyer", "party", "enrol", str(root / "hospital.invitation")) == (
        5,
        "permission-denied",
    )
    working = ("hospital", "developer", "buyer")
    for home in working:
        for name in {cast[other][0] for other in working} - {cast[home][0]}:
            added = stage.json(home, "trust", "add", name, fingerprints[name])
            assert added["fingerprint"] == fingerprints[name]
    assert "第一医院 (you)" in stage.read("hospital", "trust", "list")

    # -- the hospital adopts its enclave; with port 0 it learns the address when that runs
    stage.read("enclave", "enclave", "init", "--name", "盲盒一号", "--listen", "127.0.0.1:0")
    card, adoption = str(root / "enclave" / "card.json"), str(root / "adoption.json")
    stage.json("hospital", "enclave", "adopt", card, "--address", "127.0.0.1:0", "--out", adoption)
    assert stage.json("enclave", "enclave", "accept", adoption)["owner"] == fingerprints["第一医院"]
    enclave = stage.serve("enclave", "enclave", "serve")
    assert enclave.ready["sandbox_tier"].startswith("namespaces")
    moved = ("enclave", "adopt", card, "--address", enclave.ready["listen"], "--out", adoption)
    assert stage.json("hospital", *moved)["custody"] == "own"
    assert stage.json("hospital", "enclave", "status")["datasets"] == []
    assert stage.json("enclave", "enclave", "status")["running"]

    # -- it looks at what becomes public, says no, then yes
    submit = (
        "dataset", "submit", str(root / "细胞学 数据.csv"), "--name", "breast-cancer", "--title", "细针穿刺细胞学",
        "--patient-column", "patient",
    )  # fmt: skip
    declined = stage.run("hospital", *submit, answer="n\n")
    assert declined.returncode == 1
    assert "mean radius" in declined.stdout
    assert declined.stdout.endswith("Nothing was done.\n")
    assert stage.json("developer", "dataset", "list") == {"datasets": []}
    assert "sealed in your enclave" in stage.read("hospital", *submit, answer="y\n")
    (listed,) = stage.json("developer", "dataset", "list")["datasets"]
    assert (listed["dataset"], listed["version"], listed["source_unit_name"]) == (
        "breast-cancer",
        1,
        "第一医院",
    )
    assert "细针穿刺细胞学" in stage.read("developer", "dataset", "list")

    # -- the developer sees description and mock, and asks
    mock = root / "模拟.csv"
    shown = stage.json("developer", "dataset", "show", listed["statement"][:8], "--mock", str(mock))
    assert shown["mock_rows"] == len(mock.read_text(encoding="utf-8").splitlines()) - 1
    broken = root / "broken.toml"
    broken.write_text((root / "job.toml").read_text(encoding="utf-8").replace("epochs = 40", "epochs = 0"))
    done = stage.run("developer", "--lang", "zh", "job", "submit", str(broken))
    assert done.returncode == 2
    assert "train.epochs" in done.stderr
    job = stage.json("developer", "job", "submit", str(root / "job.toml"))["job"]
    assert stage.json("developer", "job", "list")["jobs"][0]["state"] == "waiting"
    assert stage.refused("developer", "job", "grant", job[:8], "--yes")[0] != 0

    # -- the buyer countersigns, the hospital looks and grants
    assert stage.json("buyer", "job", "countersign", job[:10])["job"] == job
    asked = stage.json("hospital", "job", "show", job[:10])
    assert (asked["buyer"]["name"], asked["countersigned"], asked["code"]) == ("市立医院", True, {})
    people = stage.read("hospital", "--lang", "zh", "job", "show", job)
    assert "acme-models" in people
    assert "逻辑回归" in people
    assert "mean radius" in people
    looked = stage.run("hospital", "job", "grant", job, "--threshold", "2", answer="n\n")
    assert looked.returncode == 1
    assert "What they approve can be opened by 市立医院 alone." in looked.stdout
    assert "until 2 of these reviewers approve it: 李医生, Dr Wu" in looked.stdout
    granted = stage.json("hospital", "job", "grant", job, "--threshold", "2", "--yes")
    assert (granted["threshold"], granted["runs"], granted["reviewers"]) == (2, 1, ["李医生", "Dr Wu"])

    # -- broker and enclave do the rest
    broker = stage.serve("hospital", "broker", "serve")
    assert broker.ready["party"] == "第一医院"
    stage.wait_for(job, "in-review")
    assert stage.refused("buyer", "release", "fetch", job, "--into", str(root / "early")) == (
        8,
        "invalid-transition",
    )
    assert not (root / "early").exists()

    # -- four eyes look at the evidence
    assert len(stage.json("hospital", "review", "list", "--reviewer", "Dr Wu")["reviews"]) == 1
    case = stage.json("hospital", "review", "show", job, "--reviewer", "李医生", "--log")
    # Who is withheld is drawn by a secret key, and with so few patients what is measured on them is at times worth a
    # look, and once in some hundred draws red; everything could run, and nothing else is.
    said = {c["name"]: c["status"] for c in case["report"]["checks"]}
    looked_at = {name for name, status in said.items() if status not in ("passed", "not_applicable")}
    assert {said[name] for name in looked_at} <= {"warned", "failed"}, said
    assert looked_at <= {"withheld_metrics", "membership", "references"}, said
    red = "failed" in said.values()
    assert (
        case["report"]["verdict"] == case["verdict"] == ("red" if red else "amber" if looked_at else "green")
    )
    assert case["logs"] == {"run.log": None}  # one of two cannot open it
    assert case["four_eyes"]["required"] == 2
    people = stage.read("hospital", "--lang", "zh", "review", "show", job, "--reviewer", "李医生")
    assert "用未参与训练的患者检验" in people
    assert stage.refused("hospital", "review", "show", job, "--reviewer", "nobody")[0] == 6
    # Red takes a reason of both of them.
    all_the_same = ("--accept-red", "--comment", "抽取所致") if red else ()
    first = stage.json(
        "hospital", "review", "approve", job, "--reviewer", "李医生", "--comment", "可以", *all_the_same
    )
    assert first["state"] == "in-review"
    assert stage.json("hospital", "review", "list", "--reviewer", "李医生") == {"reviews": []}
    people = stage.read("hospital", "review", "show", job, "--reviewer", "Dr Wu")
    # Each judges alone: what the colleague decided is shown once one has decided oneself.
    assert "Reviewers: 2 approvals are needed" in people
    assert "Reviewers: 1 of the 2" not in people
    assert "hidden until you have decided" in people
    people = stage.read("hospital", "review", "show", job, "--reviewer", "李医生")
    assert "Reviewers: 1 of the 2 approvals that are needed" in people
    second = stage.json("hospital", "review", "approve", job, "--reviewer", "Dr Wu", *all_the_same)
    assert (second["state"], second["artifacts"]) == ("released", ["model.safetensors", "metrics.json"])

    # -- a witness cosigns, the buyer fetches, anybody verifies
    key = stage.json("auditor", "witness", "key")["key"]
    stage.json("buyer", "trust", "witness", key, "--quorum", "1")
    witness = stage.serve("auditor", "witness", "serve")
    assert witness.ready["key"] == key
    into = root / "交付"
    delivered = stage.json("buyer", "release", "fetch", job, "--into", str(into))
    assert [item["name"] for item in delivered["artifacts"]] == ["model.safetensors", "metrics.json"]
    audited = stage.json("auditor", "ledger", "verify")
    assert audited["replayed"]
    assert not stage.json("developer", "ledger", "verify")["replayed"]

    # -- an end, cleanly
    assert stage.json("hospital", "dataset", "withdraw", "breast-cancer")["state"] == "withdrawn"
    assert stage.json("developer", "dataset", "list")["datasets"][0]["state"] == "withdrawn"
    assert [server.stop() for server in (witness, broker, enclave, space)] == [0, 0, 0, 0]
    assert stage.refused("buyer", "job", "list") == (12, "unavailable")
    rebuilt = stage.json("space", "space", "rebuild")
    assert rebuilt["statements"] == audited["size"] + 1
    assert rebuilt["differing"] == 0

    # -- with every server gone, and without a home
    verify = ("verify", "certificate", str(into / "certificate.json"), "--trust", str(into / "trust.json"))
    proven = stage.json("nowhere", *verify, "--artifact", str(into / "model.safetensors"))
    assert (proven["verified"], proven["reviewers"]) == (True, ["李医生", "Dr Wu"])
    assert proven["source_units"] == [{"name": "第一医院", "fingerprint": fingerprints["第一医院"]}]
    assert "凭证有效。" in stage.read("nowhere", "--lang", "zh", *verify)
    model = into / "model.safetensors"
    changed = bytearray(model.read_bytes())
    changed[-1] ^= 1
    model.write_bytes(bytes(changed))
    assert stage.refused("nowhere", *verify, "--artifact", str(model)) == (3, "verification-failed")
    other = json.loads((into / "trust.json").read_bytes())
    other["parties"] = [p for p in other["parties"] if p["name"] != "第一医院"]
    (root / "other.json").write_text(json.dumps(other))
    assert stage.refused("nowhere", *verify[:-1], str(root / "other.json")) == (3, "verification-failed")
    assert not (root / "nowhere").exists()


def test_doctor_says_what_this_host_can_do(stage):
    found = stage.json("nowhere", "doctor")
    assert found["tier"].startswith("namespaces")
    assert found["tier"] in stage.read("nowhere", "doctor")
