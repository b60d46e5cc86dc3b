"""What a review of the evidence found: ways to make a report unreadable, late, or quieter than what was seen."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from trustspace.domain.bodies import Policy
from trustspace.enclave import run
from trustspace.enclave.failure import Control
from trustspace.enclave.federated import JointTraining, Progress
from trustspace.enclave.history import History, Record, counted
from trustspace.enclave.judging import Judge
from trustspace.enclave.opening import Rows, Side
from trustspace.errors import VerificationFailed
from trustspace.evidence.facts import PartMetrics, RunFacts, read_evaluation
from trustspace.evidence.figures import MAX_ROWS
from trustspace.evidence.report import MAX_BYTES, Report, build_report
from trustspace.jobs import stored
from trustspace.jobs.artifacts import ArtifactFacts, DeclaredArtifact, encode_json
from trustspace.jobs.container import RawArtifact, pack
from trustspace.jobs.federation import SUMS_ARTIFACT, RoundMetrics, measure, write_sums
from trustspace.jobs.losses import LOSSES_ARTIFACT
from trustspace.jobs.metrics import EVALUATION_FORMAT
from trustspace.jobs.people import CountTable
from trustspace.jobs.sections import METRICS_ARTIFACT
from trustspace.jobs.spec import Parameters
from trustspace.jobs.stored import StoredRows
from trustspace.jobs.tensors import write_tensors
from trustspace.privacy import overlap, stored_rows
from trustspace.privacy.overlap import Counts, Earlier, Trace, compare
from trustspace.sandbox.config import Limits

A = "a" * 64


def computed(**changes) -> RunFacts:
    """Facts of a run of a developer's own code that handed out one file."""
    facts = RunFacts(
        kind="compute", model="", custom_code=True, declared=(DeclaredArtifact("out.json", "application/json", 1 << 20),),
        observed=(ArtifactFacts("out.json", "application/json", 900),), digests=(), commitments=(("out.json", A),),
        datasets=("ward-a",), rows=455, patients=455, withheld_patients=0, record_bytes=240, judged=run.Judgement(),
        sandbox_tier="bubblewrap", sandbox_tier_demanded="any", evidence_kind="software",
        evidence_kind_demanded="software", custody="own", stored=StoredRows("yes"),
    )  # fmt: skip
    return replace(facts, **changes)


def is_read_by_a_reviewer(report: Report) -> bool:
    return Report.from_bytes(report.to_bytes()) == report


# -- a report that nobody can read is none


@pytest.mark.parametrize(("rows", "columns"), [(190, 100), (60, 60)])
def test_a_table_with_many_small_counts_is_reported(rows, columns):
    """More marked cells than a picture holds ended the run without a report."""
    cells = tuple((row, column) for row in range(rows) for column in range(columns))
    table = CountTable("out.csv", tuple(map(str, range(columns))), (("1",) * columns,) * rows, cells, True)
    report = build_report(computed(counts=(table,)))
    assert is_read_by_a_reviewer(report)
    assert report.check("small_cells").facts["small"] == rows * columns


def test_released_tables_with_many_hidden_counts_are_reported():
    labels = [f"c{place}" for place in range(60)]
    hidden = {"counts": [["hidden"] * 60] * 60, "totals": [["hidden"] * 60] * 2, "columns": ["a", "b"]}
    released = {
        "format": "trustspace-statistics-v1", "minimum_cell_count": 10, "source_units": 1, "rows": 455, "numeric": [],
        "tables": [hidden | {"categories": [labels, labels]}],
    }  # fmt: skip
    assert is_read_by_a_reviewer(build_report(computed(kind="statistics", released=released)))


def test_long_names_cut_a_report_short_but_never_off():
    long = "x" * (MAX_BYTES // 2) + ".support_vectors"
    report = build_report(computed(stored=StoredRows("yes", named=(long, long + "_"))))
    assert report.check("stored_rows").status == "failed"
    assert is_read_by_a_reviewer(report)
    short = build_report(computed(stored=StoredRows("yes", named=("svm.support_vectors",))))
    assert "svm.support_vectors" in short.check("stored_rows").summary.en


def test_many_large_pictures_are_left_out_of_a_report_that_has_no_room():
    tables = tuple(
        CountTable(f"{n}.csv", (*"abcdefgh", "n"), (("字" * 4000,) * 8 + ("1",),) * MAX_ROWS, ((0, 8),), True)
        for n in range(4)
    )
    report = build_report(computed(counts=tables))
    assert is_read_by_a_reviewer(report)
    assert report.check("small_cells").status == "failed"


@pytest.mark.parametrize("rows", [1 << 53, 10**40])
def test_no_rows_beyond_what_a_report_can_say_are_believed(rows):
    part = {"rows": rows, "loss": "0.100000", "auc": "0.900000", "accuracy": "0.900000"}
    told = {"format": EVALUATION_FORMAT, "withheld": part}
    with pytest.raises(VerificationFailed):
        read_evaluation(encode_json(told))
    assert read_evaluation(encode_json(told | {"withheld": part | {"rows": 7}}))[1] == PartMetrics(
        7, 0.1, 0.9, 0.9
    )


# -- what a sandbox says of rows, and how long it may take to


class Program:
    """A launcher whose one program hands out what it is told to; ``asked`` are the tasks it was given."""

    def __init__(
        self, artifacts: list[RawArtifact], clock: list[float] | None = None, seconds: float = 0.0
    ) -> None:
        self._output, self.asked, self._clock, self._seconds = pack(artifacts), [], clock, seconds

    def submit(self, task):
        self.asked.append(task)
        if self._clock is not None:
            self._clock[0] += self._seconds
        ended = _Ended(self._output)
        return SimpleNamespace(result=lambda: ended, cancel=lambda: None)


class _Ended:
    status, reason, log, first_row_ms = "finished", "", b"", 1

    def __init__(self, output: bytes) -> None:
        self._output = output

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_output(self, _: int) -> bytes:
        return self._output


def joint(kind: str = "train") -> Parameters:
    sections = {
        "train": {
            "train": {"model": "logistic_regression", "target": "sick", "positive": "1", "epochs": 1},
            "federated": {"rounds": 2},
        },
        "statistics": {"statistics": {"numeric": ["size"]}, "terms": {"withheld_percent": 0}},
    }[kind]
    datasets = [{"id": f"ward-{unit}", "version": 1, "columns": ["size"]} for unit in "abc"]
    return Parameters.model_validate(
        {"kind": kind, "datasets": datasets, "limits": {"wall_seconds": 100}} | sections
    )


def rows_of(count: int) -> Rows:
    table = pa.table({"size": np.arange(2.0 * count), "sick": ["0", "1"] * count})
    patients = np.arange(2 * count)
    inside, outside = (
        Side(table.slice(start, count), patients[start : start + count]) for start in (0, count)
    )
    names = tuple(map(str, patients))
    return Rows(inside, outside, names, np.ones(2 * count, dtype=bool), 16, b"k" * 32, b"e" * 32)


def evaluated(parameters: Parameters, count: int, said: int) -> list[RawArtifact]:
    """What the evaluation of a model on ``count`` rows of either side hands out, if it says that they were ``said``."""
    sums = write_sums(measure(parameters, np.array([[1.0], [-1.0]]), np.array([0.0, 1.0])) * (said // 2))
    part = {"rows": count, "loss": "0.100000", "auc": "0.900000", "accuracy": "0.900000"}
    metrics = {"format": EVALUATION_FORMAT, "training": part, "withheld": part}
    losses = {
        f"{side}.{name}": values
        for side in ("training", "withheld")
        for name, values in (("loss", np.linspace(0, 1, count)), ("used", np.ones(count, dtype=np.uint8)))
    }
    return [
        RawArtifact(SUMS_ARTIFACT, "application/json", sums),
        RawArtifact(LOSSES_ARTIFACT, "application/x-safetensors", write_tensors(losses)),
        RawArtifact(METRICS_ARTIFACT, "application/json", encode_json(metrics)),
    ]


def judge(parameters: Parameters, launcher: Program, rows: Rows) -> Judge:
    limits = Limits(wall_seconds=100, cpu_seconds=100, memory_bytes=1 << 30, output_bytes=1 << 20)
    return Judge(launcher, Control(), parameters, rows, {"parameters": 0, "data": 0}, limits, Policy())


@pytest.mark.parametrize("said", [20, 18, 20_000_000])
def test_a_worker_cannot_count_other_rows_into_everybodys_metrics(said):
    """The number of rows goes into metrics that leave: whatever it chose, a developer's own code could say there."""
    parameters = joint()
    launcher = Program(evaluated(parameters, 20, said))
    judged, numbers = judge(parameters, launcher, rows_of(20)).evaluate(b"m", b"m")
    assert (numbers[0] == 20, judged.membership is not None) == (said == 20, said == 20)
    assert any(numbers) == (said == 20)


def test_judging_reads_no_more_than_losses_take():
    """64 models' worth of losses was read of an evaluation of one: a gibibyte of a million rows."""
    parameters = joint()
    launcher = Program(evaluated(parameters, 20, 20))
    judging = judge(parameters, launcher, rows_of(20))
    judging.complete(judging.evaluate(b"m", b"m")[0])
    one, several = (task.limits.output_bytes for task in launcher.asked)
    assert one == (4 << 20) + 40 * 9
    assert several == (4 << 20) + 40 * (1 + 8 * 16)


def test_repeating_and_adding_up_have_one_wall_clock_limit_together(monkeypatch):
    """A run takes at most two (leakage.py): the sum began its own after the repetition had used up another."""
    clock, until = [1000.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    launcher = Program([], clock, 90.0)

    class Met(Exception):
        pass

    def meet(_order, _parameters, deadline, _stopped):
        until.append(deadline)
        raise Met

    made = run._Run.__new__(run._Run)
    made._parameters, made._control, made._inputs, made._rows = (
        joint("statistics"),
        Control(),
        {},
        rows_of(20),
    )
    made._limits = made._without_gpu = Limits(
        wall_seconds=100, cpu_seconds=100, memory_bytes=1 << 30, output_bytes=1 << 20
    )
    made._host = SimpleNamespace(launcher=launcher, meet=meet)
    made._order = SimpleNamespace(source_unit="A", policy=lambda _: Policy(reexecution="demand"))
    made._read = lambda _: [RawArtifact(SUMS_ARTIFACT, "application/json", write_sums(np.zeros(6)))]
    monkeypatch.setattr(run, "read_sums", lambda *_: [0.0])
    with pytest.raises(Met):
        made.statistics()
    assert len(launcher.asked) == 2
    assert until == [1000.0 + 90.0 + 100.0]


# -- comparing what leaves with the rows takes bounded time, however many tables there are


def listed(tables: int, columns: int) -> RawArtifact:
    """A file with so many tables of a few rows, each of another length."""
    draw = np.random.default_rng(3)
    value = [
        {name: float(draw.integers(0, 9)) for name in [*"abcd"[:columns], f"more{n}"]} for n in range(tables)
    ]
    return RawArtifact("out.json", "application/json", encode_json(value))


def computing() -> Parameters:
    datasets = [{"id": "ward-a", "version": 1, "columns": ["a", "b", "c", "d"]}]
    outputs = [{"name": "out.json", "media_type": "application/json", "max_bytes": 1 << 20}]
    return Parameters.model_validate(
        {
            "kind": "compute",
            "datasets": datasets,
            "compute": {"outputs": outputs},
            "terms": {"withheld_percent": 0},
        }
    )


def test_many_tables_share_one_budget_of_pairs(monkeypatch):
    """Each table, and each piece of one, had 2^27 pairs of its own: hours, for a file of some megabytes."""
    draw = np.random.default_rng(1)
    table = pa.table({name: draw.integers(0, 9, 200).astype(float) for name in "abcd"})
    job = computing()

    def compared(tables: int) -> str:
        found = stored.stored_rows(job, [listed(tables, 4)], table, 200)
        assert found is not None
        return found.compared

    assert compared(1) == compared(8) == "yes"
    monkeypatch.setattr(stored_rows, "MOST_PAIRS", 120)
    assert (compared(1), compared(8)) == ("yes", "too_large")


def test_how_many_columns_are_looked_at_is_bounded(monkeypatch):
    """Of each table all columns were compared with all of the data's, which had no limit but the tables' number."""
    table = pa.table({name: np.arange(200.0) for name in "abcd"})
    monkeypatch.setattr(stored, "MOST_COMPARED", 4 * 4 * 3)
    for tables, said in ((1, "yes"), (8, "too_large")):
        found = stored.stored_rows(computing(), [listed(tables, 4)], table, 200)
        assert found is not None
        assert found.compared == said


def test_a_column_is_ranked_as_it_was_by_comparing_every_value():
    draw = np.random.default_rng(2)
    values = np.where(draw.random(300) < 0.1, np.nan, draw.normal(size=300))
    column = stored._Column.of(values)
    for cells in (
        values,
        np.where(draw.random(300) < 0.3, 1e30, values),
        np.full(9, np.nan),
        values[:1] * np.inf,
    ):
        found = column.rank(cells.astype(float), True, 0)
        if found is not None:
            assert found[0] == -round(float(np.isin(cells.astype(np.float32), column.exact).mean()), 1)
    assert column.rank(values, True, 0) is not None


# -- what nobody compared has not passed


@pytest.mark.parametrize("kind", ["compute", "statistics", "score"])
def test_tables_whose_counts_nobody_knows_are_not_said_to_be_compared(kind):
    """Two tables by a developer's own code, or too large to keep, of the same patients: their difference is one's."""
    people = np.arange(50, dtype=np.uint64)
    old, new = (
        Trace(Earlier(name * 64, name, 0), kind, ("A",), "cytology", "v1", ("size",), people) for name in "on"
    )
    found = compare(new, [old], 10, 3)
    assert [one.job for one in found.unlike] == ["o" * 64]
    models = compare(replace(new, kind="train"), [replace(old, kind="train")], 10, 3)
    assert models.unlike == ()


def test_of_very_many_earlier_tables_the_newest_are_compared_one_by_one(monkeypatch):
    """Each takes up to seconds, and their number had no limit."""
    people, asked = np.arange(50, dtype=np.uint64), []

    def revealed(_new, earlier, _block):
        asked.append(len(earlier))
        raise overlap.TooManyCounts

    monkeypatch.setattr(overlap, "revealed", revealed)
    counts = Counts(np.arange(50, dtype=np.int32), np.zeros((1, 50), dtype=np.int32), (((0,),),), ("rows",))
    made = [
        Trace(
            Earlier(f"{n:064x}", "a table", n), "statistics", ("A",), "cytology", "v1", ("size",), people,
            counts=counts,
        )
        for n in range(overlap.MOST_SINGLE + 40)
    ]  # fmt: skip
    found = compare(made[-1], made[:-1], 10, 3)
    assert asked == [overlap.MOST_SINGLE + 39] + [1] * overlap.MOST_SINGLE
    assert found.too_many


# -- the same round again, also after a restart


@pytest.mark.parametrize("patience", [None, 2])
@pytest.mark.parametrize("done", [0, 3, 5])
def test_a_training_that_goes_on_is_repeated_in_a_round_to_come(done, patience):
    """The round to repeat could be one before the restart: then none was, and an honest run's report was red."""
    asked = []

    class Resumed(JointTraining):
        def _begin(self) -> Progress:
            return Progress(done, b"", {}, 20)

        def _round(self, progress: Progress) -> None:
            progress.round += 1
            progress.history.append(RoundMetrics(3, "0.500000", "0.500000"))
            asked.append(progress.round == self._twice)

        def _keep(self, progress: Progress) -> None:
            pass

    terms = SimpleNamespace(rounds=6, patience=patience, clip="1")
    parameters = SimpleNamespace(federation=lambda: terms)
    rounds = SimpleNamespace(scheme=SimpleNamespace(largest=1 << 30))
    for _ in range(9):
        asked.clear()
        Resumed(None, rounds, parameters, "r", 3, None, repeat=True).train()
        assert sum(asked) == 1


# -- what an enclave remembers can be read again


def test_a_table_of_long_labels_leaves_a_record_that_can_be_read(tmp_path):
    """Its record was longer than may be read back, and then no job at all could run in that enclave again."""
    long = [chr(0x4E00 + n) * 200 for n in range(256)]
    names = [f"b{n}" for n in range(64)]
    job = Parameters.model_validate(
        {
            "kind": "statistics",
            "datasets": [{"id": "ward-a", "version": 1, "columns": ["a", *names]}],
            "statistics": {
                "tables": [["a", name] for name in names],
                "categories": {"a": long, **{name: ["1"] for name in names}},
            },
            "terms": {"withheld_percent": 0},
        }
    )
    table = pa.table({"a": long[:4], **{name: ["1"] * 4 for name in names}})
    rows = SimpleNamespace(train=table, training=SimpleNamespace(patients=np.arange(4)))
    start = Trace(Earlier(A, "tables", 0), "statistics", ("A",), "ward-a", A, ("a", *names))
    trace = counted(start, job, rows)
    assert trace.counts is not None
    history = History(tmp_path / "history")
    history.record(Record(A, "buyer", "developer", "tables", ("ward-a",), 9, 0, trace))
    (kept,) = history.records()
    assert kept.trace.counts.keys == trace.counts.keys
    assert len(set(trace.counts.keys)) == 1 + len(names)


@pytest.mark.parametrize(("custom", "status"), [(False, "passed"), (True, "warned")])
def test_a_test_in_which_the_developers_code_ran_is_amber_at_best(custom, status):
    """How well a model does on patients it never saw is told by a process in which its own code ran."""
    part = PartMetrics(100, 0.1, 0.9, 0.9)
    judged = run.Judgement(training=part, withheld=part)
    facts = computed(kind="train", model="custom", custom_code=custom, withheld_patients=100, judged=judged)
    assert build_report(facts).check("withheld_metrics").status == status
