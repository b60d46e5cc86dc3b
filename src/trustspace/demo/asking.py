"""The first half: the hospital seals its data, the developer asks, the buyer agrees, the hospital grants."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc

from trustspace.client import datasets, jobs
from trustspace.data.description import ColumnDescription
from trustspace.demo.cast import DATASET, Hospital, Play
from trustspace.jobs.sections import METRICS_ARTIFACT, MODEL_ARTIFACT

SHOWN_COLUMNS = 3
EPOCHS = 40
_JOB = """\
[job]
title = {title}
purpose = {purpose}
kind = "train"

[parties]
buyer = {buyer}

[[datasets]]
id = {dataset}
version = 1
columns = {columns}

[train]
model = "logistic_regression"
target = {target}
positive = {positive}
optimiser = "adam"
learning_rate = 0.02
weight_decay = 0.01
epochs = {epochs}
batch_size = 32
seed = 1

[terms]
withheld_percent = 20   # patients that training never sees; the model is judged on them
"""


def seal_data(play: Play) -> None:
    """Each hospital profiles its table, confirms what becomes public, seals, and sends it to its own enclave."""
    stage = play.stage
    stage.scene("scene.data")
    for hospital in play.hospitals:
        file = play.shown(hospital.file)
        title = stage.say("data.title")
        proposal = datasets.propose(hospital.file, title, patient_column=play.cohort.patient)
        columns = [stage.say("col.column"), stage.say("col.officer"), stage.say("col.public")]
        rows = [
            (stage.say("data.rows"), str(len(hospital.rows)), _bucket(play, proposal.description.rows_bucket))
        ]
        shown = proposal.description.columns[: SHOWN_COLUMNS + 1] + proposal.description.columns[-1:]
        rows += [(c.name, _exact(play, hospital.table, c), _public(play, c)) for c in shown]
        rows.append(("…", "…", "…"))
        warnings = "; ".join(problem.text(stage.language) for problem in proposal.problems)
        stage.sees(
            "hospital", "data.profile", stage.table(columns, rows), name=hospital.home.party.name, file=file,
            columns=len(proposal.description.columns), warnings=warnings or stage.say("data.no-warnings"),
        )  # fmt: skip
        hospital.dataset = datasets.submit(hospital.home, proposal, dataset=DATASET)
        held = hospital.door().status()["datasets"][0]
        stage.does(
            "hospital", "data.sealed", size=f"{held['sealed_bytes']:,}", digest=hospital.dataset[:12],
            command=f'trustspace --home {hospital.home.path.name} dataset submit {file} --name {DATASET}'
            f' --title "{title}" --patient-column "{play.cohort.patient}"',
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
    record, mock = datasets.describe(developer, play.hospitals[0].dataset)
    names = [*cohort.features[:SHOWN_COLUMNS], cohort.diagnosis]
    cells = [[str(mock.column(name)[row].as_py()) for name in names] for row in range(3)]
    stage.sees(
        "developer", "ask.mock", stage.table(names, cells, right=range(SHOWN_COLUMNS)),
        title=str(record.body.description["title"]), rows=_bucket(play, int(record.body.description["rows_bucket"])),
        unit=play.hospitals[0].home.party.name, columns=len(cohort.features) + 2, mock=mock.num_rows,
        command=(
            "trustspace --home developer dataset list",
            f"trustspace --home developer dataset show {DATASET} --mock mock.csv",
        ),
    )  # fmt: skip
    play.job_file.write_text(job_text(play, stage.say("name.buyer")), encoding="utf-8")
    play.job = jobs.submit(developer, play.job_file)
    stage.does(
        "developer", "ask.submitted", job=play.job[:12], epochs=EPOCHS, columns=len(cohort.features),
        target=cohort.diagnosis, command=f"trustspace --home developer job submit {play.job_file.name}",
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
        "title": say("job.title"), "purpose": say("job.purpose"), "buyer": buyer, "dataset": DATASET,
        "columns": list(cohort.features), "target": cohort.diagnosis, "positive": cohort.positive, "epochs": EPOCHS,
    }  # fmt: skip
    # A JSON text or list of texts is a TOML one as well.
    return _JOB.format(**{key: json.dumps(value, ensure_ascii=False) for key, value in texts.items()})


def look_and_grant(play: Play) -> None:
    """Every source unit is shown exactly what is asked, proven, and signs a grant: the human act."""
    stage = play.stage
    stage.scene("scene.grant")
    for hospital in play.hospitals:
        _show_request(play, hospital)
    for hospital in play.hospitals:
        jobs.grant(hospital.home, play.job, reviewers=(hospital.reviewer,), runs=1)
        stage.does(
            "hospital", "grant.granted", name=hospital.home.party.name, reviewer=hospital.reviewer,
            command=f'trustspace --home {hospital.home.path.name} job grant {play.job[:12]}'
            f' --reviewer "{hospital.reviewer}" --runs 1',
        )  # fmt: skip


def _show_request(play: Play, hospital: Hospital) -> None:
    stage, home = play.stage, hospital.home
    asked = jobs.request(home, play.job)
    body, parameters, trust = asked.job.body, asked.parameters, home.trust()
    train = parameters.training()
    columns = parameters.columns_of(DATASET)
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
                epochs=train.epochs,
                optimiser=train.optimiser,
            ),
        ),
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
        name=home.party.name, command=f"trustspace --home {home.path.name} job show {play.job[:12]}",
    )  # fmt: skip


def _pinned(play: Play, name: str, fingerprint: str) -> str:
    return play.stage.say("request.pinned", name=name, fingerprint=fingerprint[:12])
