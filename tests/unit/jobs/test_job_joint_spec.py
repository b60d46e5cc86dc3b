from __future__ import annotations

import json
import tomllib

import pytest
from pydantic import ValidationError
from test_job_spec import COMPUTE, TRAIN, check_message

from trustspace.crypto.canonical import canonical_json
from trustspace.domain.bodies import Job
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.agreement import agreed_parameters, sum_terms
from trustspace.jobs.artifacts import declared_artifacts
from trustspace.jobs.messages import InvalidJobFile, problems_of
from trustspace.jobs.spec import JobFile, Parameters, job_schema, parse_job_file

DATASET = '[[datasets]]\nid = "heart"\nsource_unit = "{}"\nversion = 1\ncolumns = ["age", "sex"]\n'
JOINT = (
    TRAIN[: TRAIN.index("[[datasets]]")]
    + "".join(DATASET.format(unit) for unit in ("north", "east", "south", "west"))
    + TRAIN[TRAIN.index("[train]") :]
    + '[federated]\nstrategy = "fedprox"\nrounds = 30\n[terms]\nminimum_participants = 2\n'
)
STATISTICS = """
[job]
title = "Ages"
purpose = "A table."
kind = "statistics"
[parties]
buyer = "clinic"
[[datasets]]
id = "heart"
version = 1
columns = ["age", "sex", "diagnosis"]
[statistics]
numeric = ["age"]
bounds = { age = [0, 120.50] }
tables = [["sex", "diagnosis"], ["sex"]]
categories = { sex = ["female", "male"], diagnosis = ["B", "M"] }
"""
SECOND = STATISTICS.replace(
    "[statistics]",
    '[[datasets]]\nid = "lung"\nversion = 2\ncolumns = ["age", "sex", "diagnosis"]\n[statistics]',
)
FEW = "[terms]\nminimum_participants = 2"
AGE = "bounds = { age = [0, 120.50] }"
TABLES = 'tables = [["sex", "diagnosis"], ["sex"]]'
CATEGORIES = 'categories = { sex = ["female", "male"], diagnosis = ["B", "M"] }'

WRONG_JOINT = [
    ("rounds = 30", "rounds = 0", "federated.rounds must be from 1 to 10000", "rounds = 20"),
    ("rounds = 30", "rounds = true", "federated.rounds must be a whole number", "rounds = 20"),
    ("rounds = 30", "round = 30", "federated.round is not a field", "Did you mean federated.rounds?"),
    ('"fedprox"', '"fedpox"', "federated.strategy must be one of: fedavg", "Did you mean fedprox?"),
    ('"fedprox"', '"fedavg"\nproximal = 0.1', "federated.proximal belongs to", "Remove it"),
    ('"fedprox"', '"scaffold"', 'train.optimiser must be "sgd"', "plain steps"),
    ("rounds = 30", "server_adaptivity = 0.1", "federated.server_adaptivity belongs to", "Remove it"),
    ("rounds = 30", "patience = 5", "federated.patience needs patients", "validation_percent = 10"),
    (
        "rounds = 30",
        "patience = 0\nvalidation_percent = 5",
        "federated.patience must be from 1",
        "patience = 5",
    ),
    ("rounds = 30", "validation_percent = 51", "federated.validation_percent must be from 0 to 50", "= 10"),
    ("rounds = 30", "clip = 0", "federated.clip must be from 0.000001 to 1000000", "clip = 10"),
    ("rounds = 30", 'clip = "nan"', "federated.clip must be a decimal number", "clip = 10"),
    ("rounds = 30", "proximal = -1", "federated.proximal must be from 0 to 1000", "proximal = 0.01"),
    ("rounds = 30", "server_learning_rate = 0", "federated.server_learning_rate must be from 0.0001", "= 1"),
    ("rounds = 30", "weight_cap = 0", "federated.weight_cap must be from 1 to", "= 10000"),
    ("rounds = 30", "local_steps = 0", "federated.local_steps must be from 1 to", "= 10"),
    ("rounds = 30", "wait_seconds = 4", "federated.wait_seconds must be from 5 to 86400", "= 300"),
    (FEW, "[terms]\nminimum_participants = 1", "terms.minimum_participants must be at least 2", "no sum"),
    (FEW, "[terms]\nminimum_participants = 5", "terms.minimum_participants is larger", "add a dataset"),
    ('"north"', '"east"', "datasets names a dataset twice", "say source_unit"),
    ('source_unit = "north"', "source_unit = 1", "datasets[0].source_unit must be text", "north-hospital"),
]
WRONG_STATISTICS = [
    ('numeric = ["age"]', 'numeric = ["age", "age"]', "statistics.numeric names a column twice", "once"),
    (
        'numeric = ["age"]',
        'numeric = ["age", "size"]',
        "statistics names a column that is not among",
        "Add it",
    ),
    (
        f'numeric = ["age"]\n{AGE}',
        "",
        "datasets name a column that [statistics] does not use",
        "only what it needs",
    ),
    (
        f'numeric = ["age"]\n{AGE}\n{TABLES}\n{CATEGORIES}',
        "",
        "statistics.numeric and tables are both",
        "Say what",
    ),
    (
        'numeric = ["age"]',
        'numeric = ["age", "sex"]',
        "statistics.tables names a column of numbers",
        "Take it out",
    ),
    (AGE, "bounds = { sex = [0, 1] }", "statistics.bounds names a column that is not in numeric", "Add it"),
    (AGE, "bounds = { age = [120, 0] }", "statistics.bounds has a range whose end", "Swap"),
    (AGE, "bounds = { age = [5, 5] }", "statistics.bounds has a range whose end", "Swap"),
    (AGE, "bounds = { age = [0] }", "statistics.bounds must have at least 2 entries", "bounds = {"),
    (AGE, "bounds = { age = [0, 1, 2] }", "statistics.bounds must have at most 2 entries", "Leave some out"),
    (AGE, 'bounds = { age = [0, "old"] }', "statistics.bounds[1] must be a decimal number", "bounds[1]"),
    (AGE, "bounds = { age = [0, 1e13] }", "statistics.bounds[1] must be from -1000000000000", "bounds[1]"),
    (AGE, 'quantiles = ["0.5"]', "statistics.quantiles and bounds belong together", "remove both"),
    (AGE, f"{AGE}\nquantiles = []", "statistics.quantiles and bounds belong together", "remove both"),
    (AGE, f"{AGE}\nquantiles = [0.5, 0.50]", "statistics.quantiles names a quantile twice", "once"),
    (AGE, f"{AGE}\nquantiles = [1]", "statistics.quantiles[0] must be from 0.01 to 0.99", ""),
    (AGE, f"{AGE}\nbins = 1", "statistics.bins must be from 2 to 1024", "bins = 64"),
    (
        TABLES,
        'tables = [["sex", "diagnosis", "sex"]]',
        "statistics.tables[0] must have at most 2",
        "Leave some",
    ),
    (
        TABLES,
        'tables = [["sex", "sex"], ["diagnosis"]]',
        "statistics.tables names a column twice",
        "two different",
    ),
    (
        TABLES,
        'tables = [["sex", "diagnosis"], ["diagnosis", "sex"]]',
        "statistics.tables has a table twice",
        "once",
    ),
    (
        TABLES,
        'tables = [["sex"]]',
        "statistics.categories must name exactly the columns in tables",
        "each column",
    ),
    (
        CATEGORIES,
        'categories = { sex = ["f"] }',
        "statistics.categories must name exactly the columns",
        "each",
    ),
    ('"B", "M"', '"B", "B"', "statistics.categories names a category of a column twice", "once"),
    (
        '"B", "M"',
        '"B", "other"',
        "statistics.categories names a category that the platform",
        "other, missing",
    ),
    ('kind = "statistics"', 'kind = "train"', "section [train] is missing", "kind train needs it"),
    ("[statistics]", "[statistic]", "statistic is not a field", "Did you mean statistics?"),
    (
        CATEGORIES,
        CATEGORIES + "\n[terms]\nwithheld_percent = 20",
        "terms.withheld_percent must be 0",
        "Remove it",
    ),
    (
        CATEGORIES,
        CATEGORIES + '\n[code]\npath = "a.py"',
        "section [code] belongs to custom code only",
        "Remove",
    ),
    (
        CATEGORIES,
        CATEGORIES + "\n[federated]",
        "section [federated] does not belong to a job of kind",
        "Remove",
    ),
]


@pytest.mark.parametrize(("old", "new", "message", "fix"), WRONG_JOINT)
def test_a_wrong_field_of_a_joint_training_is_named_with_its_fix(old, new, message, fix):
    check_message(JOINT, old, new, message, fix)


@pytest.mark.parametrize(("old", "new", "message", "fix"), WRONG_STATISTICS)
def test_a_wrong_field_of_statistics_is_named_with_its_fix(old, new, message, fix):
    check_message(STATISTICS, old, new, message, fix)


def test_rounds_belong_to_several_datasets():
    check_message(
        TRAIN, "[train]", "[federated]\n[train]", "[federated] belongs to training over several", "Remove"
    )
    check_message(COMPUTE, "[compute]", "[federated]\n[compute]", "[federated] does not belong", "Remove")


def test_tables_and_histograms_are_bounded():
    labels = json.dumps([f"c{n}" for n in range(256)])
    tables = f"categories = {{ sex = {labels}, diagnosis = {labels} }}"
    with pytest.raises(InvalidJobFile, match="more than 65536 cells"):
        parse_job_file(STATISTICS.replace(CATEGORIES, tables))
    columns = [f"n{n}" for n in range(33)]
    many = STATISTICS.replace('["age", "sex", "diagnosis"]', json.dumps([*columns, "sex", "diagnosis"]))
    many = many.replace('numeric = ["age"]', f"numeric = {json.dumps(columns)}\nbins = 1024")
    bounds = ", ".join(f"{name} = [0, 1]" for name in columns)
    with pytest.raises(InvalidJobFile, match="is more than 32768"):
        parse_job_file(many.replace(AGE, f"bounds = {{ {bounds} }}"))


def test_a_joint_training_is_written_out_in_full():
    value = parse_job_file(JOINT).to_parameters()
    canonical_json(value)  # raises for a float
    assert value["federated"] == {
        "strategy": "fedprox",
        "rounds": 30,
        "proximal": "0.01",
        "server_learning_rate": "1",
        "clip": "10",
        "weight_cap": 10000,
        "validation_percent": 0,
        "wait_seconds": 300,
    }
    again = Parameters.from_json(json.loads(canonical_json(value)))
    assert again.to_json() == value
    assert again.is_joint
    without = JOINT[: JOINT.index("[federated]")]
    default = parse_job_file(without).to_parameters()
    assert default["federated"]["strategy"] == "fedavg"
    assert default["terms"]["minimum_participants"] == 4
    adam = parse_job_file(JOINT.replace("fedprox", "fedadam")).parameters().federation()
    assert (adam.server_learning_rate, adam.server_adaptivity, adam.proximal) == ("0.1", "0.001", None)


def test_whose_a_dataset_is_stands_in_the_file_only():
    file = parse_job_file(JOINT)
    assert [use.source_unit for use in file.datasets] == ["north", "east", "south", "west"]
    value = file.to_parameters()
    assert "north" not in json.dumps(value)
    value["datasets"][0]["source_unit"] = "north"
    with pytest.raises(VerificationFailed, match="in full"):
        Parameters.from_json(value)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("federated"),
        lambda v: v["federated"].pop("rounds"),
        lambda v: v["federated"].pop("proximal"),
        lambda v: v["federated"].update(proximal=None),
        lambda v: v["federated"].update(clip="10.0"),
        lambda v: v["federated"].update(local_steps=None),
        lambda v: v["terms"].pop("minimum_participants"),
        lambda v: v["terms"].update(minimum_participants=1),
        lambda v: v.update(terms=None),
        lambda v: v.update(federated=[]),
        lambda v: v.update(datasets=v["datasets"][:1]),
        lambda v: v.update(datasets={}),
        lambda v: v.update(kind="statistics"),
    ],
)
def test_joint_parameters_have_one_form(change):
    value = json.loads(json.dumps(parse_job_file(JOINT).to_parameters()))
    change(value)
    with pytest.raises(VerificationFailed):
        Parameters.from_json(value)


@pytest.mark.parametrize(("count", "minimum"), [(1, 1), (2, 2), (3, 3), (4, 4), (9, 9)])
def test_all_take_part_unless_the_job_says_fewer(count, minimum):
    datasets = "".join(DATASET.format(f"unit-{n}") for n in range(count))
    job = TRAIN[: TRAIN.index("[[datasets]]")] + datasets + TRAIN[TRAIN.index("[train]") :]
    parameters = parse_job_file(job).parameters()
    assert parameters.terms.minimum_participants == minimum
    assert parameters.is_joint is (count > 1)
    assert (parameters.federated is not None) is (count > 1)
    other = parse_job_file(job + '[terms]\nsandbox_tier = "any"').parameters()
    assert other.terms.minimum_participants == minimum


def test_statistics_are_written_out_in_full():
    parameters = parse_job_file(STATISTICS).parameters()
    value = parameters.to_json()
    assert value["statistics"] == {
        "numeric": ["age"],
        "bounds": {"age": ["0", "120.5"]},
        "quantiles": ["0.25", "0.5", "0.75"],
        "bins": 64,
        "tables": [["sex", "diagnosis"], ["sex"]],
        "categories": {"sex": ["female", "male"], "diagnosis": ["B", "M"]},
    }
    assert (value["terms"]["withheld_percent"], value["terms"]["minimum_participants"]) == (0, 1)
    assert Parameters.from_json(json.loads(canonical_json(value))).to_json() == value
    assert not parameters.is_joint
    assert not parameters.runs_custom_code
    assert parameters.entry is None
    assert parameters.columns_of(0) == ("age", "sex", "diagnosis")
    assert [artifact.name for artifact in declared_artifacts(parameters)] == ["statistics.json"]
    joint = parse_job_file(SECOND).parameters()
    assert joint.is_joint
    assert joint.terms.minimum_participants == 2
    assert parse_job_file(STATISTICS.replace(AGE, "")).parameters().counting().quantiles == ()
    for section in ("training", "federation", "computing"):
        with pytest.raises(InvalidInput):
            getattr(joint, section)()
    with pytest.raises(InvalidInput):
        parse_job_file(TRAIN).parameters().counting()


def test_every_dataset_of_a_statistics_job_has_the_same_columns():
    with pytest.raises(InvalidJobFile, match="datasets name different columns"):
        parse_job_file(
            SECOND.replace(
                'id = "lung"\nversion = 2\ncolumns = ["age",', 'id = "lung"\nversion = 2\ncolumns = ["size",'
            )
        )


def test_a_computation_over_several_is_not_joint():
    second = '[[datasets]]\nid = "ward-b"\nversion = 1\ncolumns = ["weight"]\n[compute]'
    job = parse_job_file(COMPUTE.replace("[compute]", second)).parameters()
    assert not job.is_joint
    assert [job.columns_of(index) for index in (0, 1)] == [("age",), ("weight",)]
    for index in (-1, 2):
        with pytest.raises(InvalidInput):
            job.columns_of(index)


@pytest.mark.parametrize("text", [JOINT, STATISTICS], ids=["joint", "statistics"])
def test_values_are_not_repeated(text):
    sound = tomllib.loads(text)
    section = "federated" if "federated" in sound else "statistics"
    fields = JobFile.model_json_schema()["$defs"][section.capitalize()]["properties"]
    for field in fields:
        for secret in (
            "Zhang San",
            ["Zhang San"],
            {"Zhang San": ["Zhang San"]},
            [["Zhang San"] * 3],
            None,
            -1,
        ):
            try:
                JobFile.model_validate({**sound, section: {**sound[section], field: secret}})
            except ValidationError as error:
                for problem in problems_of(error, JobFile):
                    assert "Zhang" not in problem.public_message
                    assert problem.public_message.isprintable()
                    assert "cannot be used as it is" not in problem.public_message or secret is None


def test_the_schema_hides_defaults_that_follow_from_other_fields():
    definitions = job_schema()["$defs"]
    assert "default" not in definitions["Terms"]["properties"]["minimum_participants"]
    assert "default" not in definitions["Federated"]["properties"]["server_learning_rate"]
    assert definitions["Federated"]["properties"]["rounds"]["default"] == 20
    bound = definitions["Statistics"]["properties"]["bounds"]
    assert "-?[0-9]" in json.dumps(bound)


class _Named:
    """A proven dataset, as far as it is looked at."""

    dataset, version = "heart", 1


def test_a_source_unit_has_one_part_in_a_job():
    file = parse_job_file(JOINT)
    parameters = file.parameters()
    units = [letter * 64 for letter in "abcd"]

    def job(owners):
        uses = [
            {"dataset": f"{n:064x}", "source_unit": owner, "columns": parameters.columns_of(n)}
            for n, owner in enumerate(owners)
        ]
        return Job.model_construct(
            kind="train", code="", datasets=[type("Use", (), use)() for use in uses],
            parameters=parameters.to_json(), minimum_participants=2, release_quorum="all",
            evidence_kind="software", sums=sum_terms(parameters),
        )  # fmt: skip

    assert agreed_parameters(job(units), lambda _: _Named()) == Parameters.from_json(parameters.to_json())
    with pytest.raises(VerificationFailed, match=r"datasets\.source_unit"):
        agreed_parameters(job([*units[:3], units[0]]), lambda _: _Named())
