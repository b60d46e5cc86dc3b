"""The story through real processes and real sandboxes: a space, an enclave, and clients who restart and are killed.

One space and one enclave serve the whole module.
"""

import contextlib
import json
import os
import signal
import threading
from pathlib import Path

import pytest
from support import processes, scores
from support.enclaves import CODE, JOB, TRAIN, door, patients, publish, until, write_job
from support.world import World, trio

from trustspace.client import audit, jobs, releases, review, scoring
from trustspace.client.broker import Broker
from trustspace.client.code_broker import CodeBroker
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.client.enclaves import adopt, move, own_enclave
from trustspace.domain.certificate import load, verify
from trustspace.domain.statements import read
from trustspace.enclave import home as enclave_home

pytestmark = pytest.mark.isolation
SLOW = JOB.replace('title = "Mean size by diagnosis"', 'title = "Slow"')
SLOW_CODE = CODE.replace(
    "def run(inputs, outputs):", "def run(inputs, outputs):\n    import time\n    time.sleep(3)"
)


class Real:
    """A hospital with its enclave and its broker at work, a developer, a buyer and an auditor."""

    def __init__(self):
        self.world = World(subprocess=True)
        self.hospital, self.developer, self.buyer = trio(self.world, ("Dr Li", "Dr Wang"))
        self.auditor = self.world.party("Auditor", "auditor")
        self.world.introduce()
        self.path = self.world.path / "enclave"
        enclave_home.initialise(self.path, "Enclave A", "127.0.0.1:0", ())
        card = json.loads((self.path / "card.json").read_bytes())
        enclave_home.accept(
            self.path, read(enclave_home.Adoption, adopt(self.hospital, card, "127.0.0.1:0"), "adoption")
        )
        self.start_enclave()
        accepts = DEFAULT_POLICY.model_copy(update={"blind_code": "accept"})
        self.dataset = publish(self.hospital, self.world, patients(200), policy=accepts)
        self.stop = threading.Event()
        self.broker = threading.Thread(
            target=Broker(self.world.again(self.hospital)).serve, args=(self.stop,)
        )
        self.broker.start()

    def start_enclave(self):
        self.enclave = processes.enclave(self.path)
        move(self.hospital, own_enclave(self.hospital, None), self.enclave.said[0])

    def ask(self, text=JOB, code=CODE, **grant):
        job = jobs.submit(self.developer, write_job(self.world, text, code))
        jobs.countersign(self.buyer, job)
        # Two must approve, so that they may also if so few patients make it red.
        jobs.grant(self.hospital, job, **{"threshold": 2, **grant})
        return job

    def state(self, job):
        return next(j["state"] for j in self.hospital.session.link.view("jobs") if j["statement"] == job)

    def wait(self, job, *states, seconds=120):
        return until(lambda: (state := self.state(job)) in states and state, seconds)

    def close(self):
        self.stop.set()
        self.enclave.end()
        self.world.close()
        self.broker.join(30)


@pytest.fixture(scope="module")
def real():
    made = Real()
    yield made
    made.close()


def finish(real, job):
    assert real.wait(job, "in-review", "failed") == "in-review", door(real.hospital).status()["failures"]
    for person in ("Dr Li", "Dr Wang")[
        : review.open_case(real.hospital, job, "Dr Li").grant.body.reviewer_threshold
    ]:
        review.approve(
            real.hospital, review.open_case(real.hospital, job, person), comment="fine", accept_red=True
        )
    return releases.fetch(real.buyer, job)


def test_a_model_is_trained_reviewed_and_released(real):
    job = real.ask(TRAIN)
    delivered, certificate = finish(real, job)
    assert [d.name for d in delivered] == ["model.safetensors", "metrics.json"]
    found = verify(load(certificate.to_bytes()), real.auditor.trust())
    assert found.sandbox_tier == real.enclave.said[1]
    assert audit.verify_ledger(real.auditor).replayed
    # It ran where it says it ran: the source unit sees its own host's answer.
    status = door(real.hospital).status()
    assert status["evidence"]["sandbox_tier"] == real.enclave.said[1]
    assert job in status["first_row_ms"]


@pytest.mark.slow
def test_hidden_weights_score_the_rows_where_nobody_reads_them(real):
    """With a key of full size: nothing in the enclave's sandbox is quicker than Python's own integers."""
    scoring.generate_key(real.developer, 2048)
    path = write_job(real.world, scores.score_text(real))
    path.with_name("weights.json").write_text(json.dumps(scores.WEIGHTS), encoding="utf-8")
    job = jobs.submit(real.developer, path)
    jobs.countersign(real.buyer, job)
    jobs.grant(real.hospital, job)
    ((delivered,), certificate) = finish(real, job)
    assert verify(load(certificate.to_bytes()), real.auditor.trust()).sandbox_tier == real.enclave.said[1]
    found = {group.label: group for group in scoring.decrypt(real.developer, job, delivered.content)}
    assert found["B"].rows + found["M"].rows == 200
    assert found["M"].mean > found["B"].mean


def test_a_failing_job_says_why_to_its_source_unit_alone(real):
    job = real.ask(
        code="def run(inputs, outputs):\n    raise ValueError(f'value {inputs.table().column(0)[0]}')\n"
    )
    assert real.wait(job, "failed") == "failed"
    failures = [f for f in door(real.hospital).status()["failures"] if f["job"] == job]
    assert "ValueError" in failures[0]["log"]
    said = b"".join(s.envelope.payload for s in real.hospital.session.job(job).statements)
    assert b"ValueError" not in said
    assert b"job-failed" in said
    told = next(j for j in real.developer.session.link.view("jobs") if j["statement"] == job)
    # Coarsely, and not before the current slot of time has passed.
    assert told["state"] in ("waiting", "not released")
    assert set(told) == {
        "statement",
        "title",
        "kind",
        "state",
        "source_units",
        "developer",
        "buyer",
        "expires",
        "changes",
        "revoked",
    }


BLIND = JOB.replace('path = "code"', 'path = "code"\nblind = true\nhost_can_read = true')


def test_blind_code_runs_where_nobody_reads_it(real):
    """In the sandbox, and nowhere on a disk: not in the space's, not in the enclave's, not in the hospital's home."""
    code = CODE.replace("def run", "# canary-e3b8\ndef run")
    job = real.ask(BLIND, code)
    broker = CodeBroker(real.developer)
    until(lambda: (broker.attend(), real.state(job) in ("in-review", "failed"))[-1], 120)
    delivered, _ = finish(real, job)
    assert b'"mean"' in delivered[0].content
    folders = [real.world.home, real.path, real.hospital.path, real.buyer.path]

    def holding(text):
        return [p for f in folders for p in f.rglob("*") if p.is_file() and text in p.read_bytes()]

    assert holding(b"canary-e3b8") == []
    # Control: open code lies on the space's disk.
    real.wait(real.ask(JOB, code), "in-review", "failed")
    assert holding(b"canary-e3b8")


def test_blind_code_that_fails_leaves_no_line_in_the_log(real):
    code = "def run(inputs, outputs):\n    import traceback\n    try:\n        1 / 0  # canary-0c77\n"
    code += "    except ZeroDivisionError:\n        traceback.print_exc()\n        raise\n"
    logs = []
    for text in (BLIND, JOB):
        job, broker = real.ask(text, code), CodeBroker(real.developer)
        until(lambda broker=broker, job=job: (broker.attend(), real.state(job) == "failed")[-1], 120)
        logs += [f["log"] for f in door(real.hospital).status()["failures"] if f["job"] == job]
    assert all("ZeroDivisionError" in log for log in logs)
    assert ["canary-0c77" in log for log in logs] == [False, True]


@pytest.mark.slow
def test_a_space_that_restarts_meanwhile_loses_nothing(real):
    """Broker and enclave dial out: they come back by themselves when the space does."""
    job = real.ask(SLOW, SLOW_CODE)
    real.wait(job, "running")
    listen = real.world.listen
    real.world.child.kill()
    text = (real.world.home / "space.toml").read_text()
    fixed = "\n".join(
        f'listen = "{listen}"' if line.startswith("listen") else line for line in text.splitlines()
    )
    (real.world.home / "space.toml").write_text(fixed + "\n")
    real.world.child = None
    real.world.start()
    assert real.world.listen == listen
    delivered, _ = finish(real, job)
    assert [d.name for d in delivered] == ["summary.json"]


def test_an_enclave_killed_in_a_run_runs_again_while_the_grant_lasts(real):
    job = real.ask(SLOW, SLOW_CODE, runs=2)
    real.wait(job, "running")
    real.enclave.kill()
    real.start_enclave()
    delivered, _ = finish(real, job)
    assert [d.name for d in delivered] == ["summary.json"]
    kinds = [s.type for s in real.hospital.session.job(job).statements]
    assert kinds.count("run-failed") == 1
    assert kinds.count("key-release") == 2


def descendants(pid):
    """Every process below that one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
    found, layer = set(), {pid}
    while layer := {child for child, parent in parents.items() if parent in layer} - found:
        found |= layer
    return found


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_a_killed_enclave_leaves_no_sandbox_behind(real):
    idle = len(descendants(real.enclave.pid))
    job = real.ask(SLOW, SLOW_CODE.replace("sleep(3)", "sleep(60)"))
    real.wait(job, "running")
    until(lambda: len(descendants(real.enclave.pid)) > idle, 20)
    below = descendants(real.enclave.pid)
    os.kill(real.enclave.pid, signal.SIGKILL)
    real.enclave.process.wait(20)
    until(lambda: not any(alive(pid) for pid in below), 20)
    real.start_enclave()
    assert real.wait(job, "failed") == "failed"


def test_nothing_of_the_data_is_on_the_enclaves_disk(real):
    """Datasets lie there sealed; what a run opens lives in memory that is no file."""
    table = patients(200)
    needles = [b"patient-00007", *(repr(v).encode() for v in table.column("size").to_pylist()[:20])]
    assert all(n in (real.world.path / "cytology.csv").read_bytes() for n in needles)
    files = [p for p in real.path.rglob("*") if p.is_file() and p.suffix != ".py"]
    assert any(p.suffix == ".sealed" for p in files)
    for path in files:
        data = path.read_bytes()
        assert not any(needle in data for needle in needles), path.name
