"""The first half: hospitals seal their data, the developer asks, the buyer agrees, the hospitals grant."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from trustspace.client import datasets, jobs
from trustspace.data.description import ColumnDescription
from trustspace.demo.cast import DATASET, Hospital, Play
from trustspace.jobs.sections import METRICS_ARTIFACT, MODEL_ARTIFACT

SHOWN_COLUMNS = 3
# Together enough for about the model of all rows in one place, and few enough that it keeps no patient in mind.
ROUNDS = 8
EPOCHS = 2
WITHHELD_PERCENT = 35
_JOB = """\
[job]
title = {title}
purpose = {purpose}
kind = "train"

[parties]
buyer = {buyer}
{datasets}
[train]
model = "logistic_regression"
target = {target}
positive = {positive}
optimiser = "adam"
learning_rate = 0.015
weight_decay = 0.02
epochs = {epochs}   # of each round, over a hospital's own patients
batch_size = 32
seed = 1

[federated]
strategy = "fedavg"
rounds = {rounds}

[sums]
scheme = "lattice-l"   # updates are encrypted homomorphically; left out, a few hospitals use masks

[terms]
minimum_participants = 3   # no sum is ever opened over fewer hospitals
withheld_percent = {withheld}   # patients that training never sees; the model is judged on them
"""
_DATASET = """
[[datasets]]
id = {dataset}
version = 1
source_unit = {unit}
columns = {columns}
"""


def seal_data(play: Play) -> None:
    """Each hospital profiles its table, confirms what becomes public, seals, and sends it to its own enclave."""
    stage, title = play.stage, play.stage.say("data.title")
    stage.scene("scene.data")
    held = []
    for hospital in play.hospitals:
        proposal = datasets.propose(hospital.file, title, patient_column=play.cohort.patient)
        if hospital is play.hospitals[0]:
            _show_profile(play, hospital, proposal)
        hospital.dataset = datasets.submit(hospital.home, proposal, dataset=DATASET)
        sealed = hospital.door().status()["datasets"][0]["sealed_bytes"]
        held.append((
            hospital.name, stage.say(f"mix.{play.cohort.sites[hospital.number - 1].key}"), str(len(hospital.rows)),
            str(int(hospital.rows.malignant.sum())), _bucket(play, proposal.description.rows_bucket), f"{sealed:,}",
        ))  # fmt: skip
    first = play.hospitals[0]
    names = ("col.party", "col.mix", "col.patients", "col.malignant", "col.public-rows", "col.sealed")
    stage.does(
        "hospital", "data.sealed", stage.table([stage.say(name) for name in names], held, right=(2, 3, 5)),
        command=f"trustspace --home {first.folder} dataset submit {play.shown(first.file)} --name {DATASET}"
        f' --title "{title}" --patient-column "{play.cohort.patient}"',
    )  # fmt: skip


def _show_profile(play: Play, hospital: Hospital, proposal: datasets.Proposal) -> None:
    stage, found = play.stage, proposal.description
    columns = [stage.say("col.column"), stage.say("col.officer"), stage.say("col.public")]
    rows = [(stage.say("data.rows"), str(len(hospital.rows)), _bucket(play, found.rows_bucket))]
    shown = found.columns[: SHOWN_COLUMNS + 1] + found.columns[-1:]
    rows += [(c.name, _exact(play, hospital.table, c), _public(play, c)) for c in shown]
    rows.append(("…", "…", "…"))
    warnings = "; ".join(problem.text(stage.language) for problem in proposal.problems)
    stage.sees(
        "hospital", "data.profile", stage.table(columns, rows), name=hospital.name, file=play.shown(hospital.file),
        columns=len(found.columns), warnings=warnings or stage.say("data.no-warnings"),
    )  # fmt: skip


def _bucket(play: Play, rows: int) -> str:
    return play.stage.say("data.at-least", rows=rows)


def _exact(play: Play, table: pa.Table, column: ColumnDescription) -> str:
    values = table.column(column.name)
    if column.kind == "number":
        bounds = pc.min_max(values).as_py()
        return f"{bounds['min']:g} – {bounds['max']:g}"
    counts = {str(pair["values"]): int(pair["counts"]) for pair in pc.value_counts(values).to_pylist()}
    if len(counts) > 3:
        return play.stage.say("data.each-different", count=len(counts))
    return ", ".join(f"{value} {count}" for value, count in sorted(counts.items()))


def _public(play: Play, column: ColumnDescription) -> str:
    if column.kind == "number":
        return f"{column.low} – {column.high}"
    return ", ".join(column.categories) or play.stage.say("data.no-values")


def ask(play: Play) -> None:
    """The developer sees descriptions and made-up rows, and writes a job; the buyer countersigns."""
    stage, cohort, developer = play.stage, play.cohort, play.developer
    stage.scene("scene.ask")
    unit = play.hospitals[0].name
    record, mock = datasets.describe(developer, play.hospitals[0].dataset)
    names = [*cohort.features[:SHOWN_COLUMNS], cohort.diagnosis]
    cells = [[str(mock.column(name)[row].as_py()) for name in names] for row in range(3)]
    stage.sees(
        "developer", "ask.mock", stage.table(names, cells, right=range(SHOWN_COLUMNS)),
        title=str(record.body.description["title"]), rows=_bucket(play, int(record.body.description["rows_bucket"])),
        unit=unit, others=len(play.hospitals) - 1, columns=len(cohort.features) + 2, mock=mock.num_rows,
        command=(
            "trustspace --home developer dataset list",
            f'trustspace --home developer dataset show "{unit}/{DATASET}" --mock mock.csv',
        ),
    )  # fmt: skip
    play.job_file.write_text(job_text(play, stage.say("name.buyer")), encoding="utf-8")
    play.job = jobs.submit(developer, play.job_file)
    stage.does(
        "developer", "ask.submitted", job=play.job[:12], rounds=ROUNDS, epochs=EPOCHS,
        columns=len(cohort.features), target=cohort.diagnosis, hospitals=len(play.hospitals),
        withheld=WITHHELD_PERCENT, command=f"trustspace --home developer job submit {play.job_file.name}",
    )  # fmt: skip
    jobs.countersign(play.buyer, play.job)
    stage.does(
        "buyer", "ask.countersigned", name=play.buyer.party.name,
        command=f"trustspace --home buyer job countersign {play.job[:12]}",
    )  # fmt: skip


def job_text(play: Play, buyer: str) -> str:
    """The developer's job file, naming this buyer (a pinned name or a fingerprint)."""
    cohort, say = play.cohort, play.stage.say
    texts = {
        "title": say("job.title"), "purpose": say("job.purpose"), "buyer": buyer, "target": cohort.diagnosis,
        "positive": cohort.positive, "rounds": ROUNDS, "epochs": EPOCHS, "withheld": WITHHELD_PERCENT,
    }  # fmt: skip
    uses = [
        {"dataset": DATASET, "unit": hospital.name, "columns": list(cohort.features)}
        for hospital in play.hospitals
    ]
    return _JOB.format(**_toml(texts), datasets="".join(_DATASET.format(**_toml(use)) for use in uses))


def _toml(values: Mapping[str, object]) -> dict[str, str]:
    # A JSON text, number or list of texts is a TOML one as well.
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def look_and_grant(play: Play) -> None:
    """Every source unit is shown exactly what is asked, proven, and signs a grant: the human act."""
    stage = play.stage
    stage.scene("scene.grant")
    first = play.hospitals[0]
    _show_request(play, first, jobs.request(first.home, play.job))
    grant(play)


def grant(play: Play) -> None:
    """Every hospital grants the job, for one run."""
    stage, first = play.stage, play.hospitals[0]
    for hospital in play.hospitals:
        jobs.grant(hospital.home, play.job, reviewers=(hospital.reviewer,), runs=1)
    stage.does(
        "hospital", "grant.granted",
        stage.table([stage.say("col.party"), stage.say("who.reviewer")],
                    [(hospital.name, hospital.reviewer) for hospital in play.hospitals]),
        command=f"trustspace --home {first.folder} job grant {play.job[:12]}"
        f' --reviewer "{first.reviewer}" --runs 1',
    )  # fmt: skip


def _show_request(play: Play, hospital: Hospital, asked: jobs.Request) -> None:
    """What the officer reads before a grant."""
    stage, home = play.stage, hospital.home
    body, parameters, trust = asked.job.body, asked.parameters, home.trust()
    train, federated = parameters.training(), parameters.federation()
    columns = parameters.columns_of(0)
    # Its own name stands in nobody's own trust file.
    names = {unit: trust.name_of(unit) for unit in body.source_units} | {home.fingerprint: hospital.name}
    facts = [
        ("request.title", body.title),
        ("request.purpose", body.purpose),
        ("request.developer", _pinned(play, trust.name_of(body.developer), body.developer)),
        ("request.buyer", _pinned(play, trust.name_of(body.buyer), body.buyer)),
        ("request.countersigned", stage.say("yes" if asked.job.countersigned else "no")),
        ("request.dataset", f"{asked.datasets[0].body.dataset} {asked.datasets[0].body.version}"),
        (
            "request.columns",
            stage.say("request.columns-of", count=len(columns), first=columns[0], last=columns[-1]),
        ),
        (
            "request.model",
            stage.say(
                "request.model-of",
                model=train.model,
                target=train.target,
                positive=str(train.positive),
                optimiser=train.optimiser,
            ),
        ),
        (
            "request.rounds",
            stage.say(
                "request.rounds-of",
                rounds=federated.rounds,
                epochs=train.epochs,
                strategy=federated.strategy,
                clip=federated.clip,
            ),
        ),
        ("request.units", ", ".join(names.get(unit, unit[:12]) for unit in body.source_units)),
        ("request.minimum", stage.say("request.minimum-of", minimum=body.minimum_participants)),
        ("request.code", stage.say("request.no-code" if not asked.code else "request.own-code")),
        ("request.withheld", f"{parameters.terms.withheld_percent} %"),
        ("request.outputs", f"{MODEL_ARTIFACT}, {METRICS_ARTIFACT}"),
        (
            "request.platform",
            stage.say("request.platform-of", kind=body.evidence_kind, tier=parameters.terms.sandbox_tier),
        ),
    ]
    rows = [(stage.say(key), value) for key, value in facts]
    stage.sees(
        "hospital", "grant.request", stage.box(stage.facts(rows), title=stage.say("request", job=play.job[:12])),
        name=hospital.name, command=f"trustspace --home {hospital.folder} job show {play.job[:12]}",
    )  # fmt: skip


def _pinned(play: Play, name: str, fingerprint: str) -> str:
    return play.stage.say("request.pinned", name=name, fingerprint=fingerprint[:12])
