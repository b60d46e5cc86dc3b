from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trustspace.crypto.canonical import canonical_json
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed
from trustspace.jobs.artifacts import declared_artifacts
from trustspace.jobs.messages import InvalidJobFile, problems_of
from trustspace.jobs.spec import JobFile, Parameters, job_schema, load_job_file, parse_job_file, read_code

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples" / "jobs").glob("*.toml"))
TRAIN = """
[job]
title = "Malignancy"
purpose = "A second opinion."
kind = "train"
[parties]
buyer = "clinic"
[[datasets]]
id = "ward-a"
version = 1
columns = ["age", "sex"]
[train]
model = "mlp"
target = "outcome"
positive = "M"
epochs = 5
"""
COMPUTE = """
[job]
title = "Ages"
purpose = "A table."
kind = "compute"
[parties]
buyer = "clinic"
[[datasets]]
id = "ward-a"
version = 1
columns = ["age"]
[compute]
outputs = [{ name = "ages.csv", media_type = "text/csv", max_bytes = 1000 }]
[code]
path = "main.py"
"""

# What is changed in the file, what it becomes, the field named in the message, and a part of the fix.
WRONG = [
    ('title = "Malignancy"', 'title = ""', "job.title must not be empty", "title = "),
    ('title = "Malignancy"', "title = 5", "job.title must be text in quotes", "title = "),
    ('title = "Malignancy"', "title = 1979-05-27", "job.title must be text in quotes", "title = "),
    ('title = "Malignancy"', 'title = "a\\u202eb"', "job.title has characters", "Remove"),
    ('title = "Malignancy"', 'title = "a\\nb"', "job.title has characters", "Remove line breaks"),
    ('title = "Malignancy"', f'title = "{"x" * 201}"', "job.title must be at most 200 characters", "Shorten"),
    ('kind = "train"', 'kind = "trian"', "job.kind must be one of: train, statistics, compute", "Did you mean train?"),
    ('kind = "train"', 'kind = "compute"', "[train] does not belong to a job of kind compute", "Remove it"),
    ('kind = "train"', 'kind = "train"\nexpires_days = 0', "job.expires_days must be from 1 to 365", "= 30"),
    ("[job]", "job = 1\n[jobs]", "job must be a table", "[job]"),
    ("[parties]", "[party]", "section [parties] is missing", "Add it"),
    ("[parties]", "[party]", "party is not a field", "Did you mean parties?"),
    ('buyer = "clinic"', "", "parties.buyer is missing", 'buyer = "city-clinic"'),
    ('id = "ward-a"', 'id = "Ward A"', "datasets[0].id has characters", "lower-case"),
    ("version = 1", "version = 0", "datasets[0].version must be from 1 to", "version = 1"),
    ("version = 1", "version = true", "datasets[0].version must be a whole number", "version = 1"),
    ('columns = ["age", "sex"]', "columns = []", "datasets[0].columns must not be empty", "columns = ["),
    ('columns = ["age", "sex"]', 'columns = "age"', "datasets[0].columns must be a list", "columns = ["),
    ('columns = ["age", "sex"]', 'columns = ["age", 3]', "datasets[0].columns[1] must be text", "columns = ["),
    ('columns = ["age", "sex"]', 'columns = ["age", "age"]', "datasets[0].columns names a column twice", "once"),
    ('columns = ["age", "sex"]', 'columns = ["outcome"]', "train.target is also among the columns", "Take it out"),
    ('model = "mlp"', 'model = "mpl"', "train.model must be one of: logistic_regression", "Did you mean mlp?"),
    ('model = "mlp"', 'model = "custom"', "section [code] is missing", 'model = "custom" needs it'),
    ('model = "mlp"', 'model = "small_cnn"', "train.image_size is missing", "image_size = 28"),
    ('target = "outcome"', "", "train.target is missing", 'target = "diagnosis"'),
    ('positive = "M"', "positive = 1.5", "train.positive must be text in quotes", 'positive = "M"'),
    ('positive = "M"', 'positive = "M"\nclasses = ["M", "B"]', "train.positive and train.classes exclude", "Keep"),
    ('positive = "M"', 'classes = ["M"]', "train.classes must have at least 2 entries", "classes = ["),
    ('positive = "M"', 'classes = ["M", "M"]', "train.classes names a class twice", "once"),
    ('positive = "M"', 'loss = "cross_entropy"', "train.loss does not fit the target", "Leave it out"),
    ('positive = "M"', "", "train.positive is missing", "positive (two classes), classes (several) or loss"),
    ('positive = "M"', 'positive = "M"\nloss = "hinge"', "train.loss must be one of: binary_cross", ""),
    ("epochs = 5", "", "train.epochs is missing", "epochs = 20"),
    ("epochs = 5", "epochs = 0", "train.epochs must be from 1 to 10000", "epochs = 20"),
    ("epochs = 5", 'epochs = "5"', "train.epochs must be a whole number", "epochs = 20"),
    ("epochs = 5", "epochs = 5.0", "train.epochs must be a whole number", "epochs = 20"),
    ("epochs = 5", "epochs = 5\nepoch = 5", "train.epoch is not a field", "Did you mean train.epochs?"),
    ("epochs = 5", "epochs = 5\nzzz = 5", "train.zzz is not a field", "the fields here are: model, target"),
    ("epochs = 5", 'epochs = 5\n"od\\u001b.d" = 5', "train holds an unknown field", "model, target"),
    ("epochs = 5", "epochs = 5\nhidden = [0]", "train.hidden[0] must be at least 1", "hidden = [32]"),
    ("epochs = 5", "epochs = 5\nhidden = [4096, 4096]", "limits.output_mib is smaller than the model", "Raise it"),
    ("epochs = 5", "epochs = 5\nlearning_rate = 0", "train.learning_rate must be from 0.0000001 to 10", "= 0.01"),
    ("epochs = 5", "epochs = 5\nlearning_rate = inf", "train.learning_rate must be a decimal number", "= 0.01"),
    ("epochs = 5", 'epochs = 5\nlearning_rate = "fast"', "train.learning_rate must be a decimal number", "= 0.01"),
    ("epochs = 5", 'epochs = 5\nstandardise = "yes"', "train.standardise must be true or false", "= true"),
    ("epochs = 5", "epochs = 5\nbatch_size = 70000", "train.batch_size must be from 1 to 65536", "batch_size = 32"),
    ("epochs = 5", "epochs = 5\nimage_size = 28", "train.image_size belongs to models of images", "small_cnn"),
    ("epochs = 5", "epochs = 5\nchannels = 1", "train.channels belongs to models of images", "Remove it"),
    ("epochs = 5", "epochs = 5\nchannels = 2", "train.channels must be one of: 1, 3", ""),
    ("epochs = 5", "epochs = 5\nmax_parameters = 9", 'train.max_parameters belongs to model = "custom"', "Remove"),
    ("epochs = 5", "epochs = 5\ncategories = { sex = [] }", "train.categories must not be empty", "categories = {"),
    ("epochs = 5", 'epochs = 5\ncategories = { sex = ["f", "f"] }', "train.categories names a category", "once"),
    ("epochs = 5", 'epochs = 5\ncategories = { ward = ["f"] }', "train.categories names a column that is not", "Add"),
    ("epochs = 5", "epochs = 5\n[terms]\nwithheld_percent = 0", "terms.withheld_percent must be from 5", "Without"),
    ("epochs = 5", "epochs = 5\n[terms]\ncanaries = 51", "terms.canaries must be from 0 to 50", "canaries = 20"),
    ("epochs = 5", "epochs = 5\n[terms]\nwithheld_percent = 0\ncanaries = 5", "terms.withheld_percent must be", ""),
    ("epochs = 5", "epochs = 5\n[terms]\nwithheld_percent = 25\ncanaries = 38", "more than one in eight", "to 37"),
    ("epochs = 5", "epochs = 5\n[terms]\nwithheld_percent = 50\ncanaries = 13", "more than one in eight", "to 12"),
    ("epochs = 5", "epochs = 5\n[terms]\nminimum_participants = 2", "terms.minimum_participants is larger", "add a"),
    ("epochs = 5", 'epochs = 5\n[terms]\nrelease_quorum = "any"', "terms.release_quorum must be one of: all", ""),
    ("epochs = 5", 'epochs = 5\n[terms]\nevidence_kind = "hw"', "terms.evidence_kind must be one of: software", ""),
    ("epochs = 5", "epochs = 5\n[limits]\nmemory_mib = 1", "limits.memory_mib must be from 256 to", "= 2048"),
    ("epochs = 5", 'epochs = 5\n[code]\npath = "m.py"', "section [code] belongs to custom code", "Remove it"),
]  # fmt: skip
WRONG_COMPUTE = [
    (
        "[compute]",
        "[terms]\nwithheld_percent = 20\ncanaries = 5\n[compute]",
        "terms.canaries must be 0 unless",
        "Remove",
    ),
    ("[compute]", "[computer]", "computer is not a field", "Did you mean compute?"),
    (
        COMPUTE[COMPUTE.index("[compute]") : COMPUTE.index("[code]")],
        "",
        "section [compute] is missing",
        "kind compute",
    ),
    ('[code]\npath = "main.py"', "", "section [code] is missing", 'kind = "compute" needs it'),
    ('"ages.csv"', '"ages.txt"', "compute.outputs[0].name does not end", ".csv"),
    ('"ages.csv"', '"../ages.csv"', "compute.outputs[0].name has characters", "lower-case"),
    ('"text/csv"', '"text/html"', "compute.outputs[0].media_type must be one of", ""),
    (
        "max_bytes = 1000",
        "max_bytes = 99000000",
        "limits.output_mib is smaller than all declared outputs",
        "95",
    ),
    ("[code]", "[code]\nfile = 1", "code.file is not a field", "path"),
    ("[compute]", "[compute]\narguments = { a = 1.5 }", "compute.arguments", ""),
]


@pytest.mark.parametrize(("old", "new", "message", "fix"), WRONG)
def test_a_wrong_field_is_named_with_its_fix(old, new, message, fix):
    check_message(TRAIN, old, new, message, fix)


@pytest.mark.parametrize(("old", "new", "message", "fix"), WRONG_COMPUTE)
def test_a_wrong_field_of_a_compute_job_is_named_with_its_fix(old, new, message, fix):
    check_message(COMPUTE, old, new, message, fix)


def check_message(text, old, new, message, fix):
    assert text.count(old) == 1
    with pytest.raises(InvalidJobFile) as caught:
        parse_job_file(text.replace(old, new))
    said = caught.value.public_message
    assert message in said
    assert any(
        message in problem.public_message and fix in problem.public_message
        for problem in caught.value.problems
    )
    for jargon in (
        "validation error",
        "Input should",
        "pydantic",
        "type=",
        "Extra inputs",
        "tuple",
        "dictionary",
        "None",
    ):
        assert jargon not in said


def test_the_jobs_that_these_tests_spoil_are_sound():
    assert parse_job_file(TRAIN).parameters().features == ("age", "sex")
    assert parse_job_file(COMPUTE).parameters().entry == ("main.py", "run")


def test_all_problems_are_told_at_once():
    text = TRAIN.replace("epochs = 5", "epochs = 0\nsedd = 3").replace('buyer = "clinic"', "")
    with pytest.raises(InvalidJobFile) as caught:
        parse_job_file(text)
    assert [p.details["field"] for p in caught.value.problems] == [
        "parties.buyer",
        "train.epochs",
        "train.sedd",
    ]
    assert "3 problems" in str(caught.value)


def _places(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, (*path, index))
    else:
        yield path


@pytest.mark.parametrize("path", list(_places(tomllib.loads(TRAIN))), ids=lambda p: ".".join(map(str, p)))
@pytest.mark.parametrize(
    "secret", ["Zhang San 13800138000", "\x1b[31mZhang San", ["Zhang San"], {"Zhang San": "Zhang San"}]
)
def test_values_are_not_repeated(path, secret):
    value = tomllib.loads(TRAIN)
    place = value
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = secret
    try:
        JobFile.model_validate(value)
    except ValidationError as error:
        for problem in problems_of(error, JobFile):
            assert "Zhang" not in problem.public_message
            assert problem.public_message.isprintable()


FIELDS = [
    "job",
    "title",
    "kind",
    "datasets",
    "columns",
    "train",
    "model",
    "hidden",
    "categories",
    "terms",
    "limits",
]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.decimals()
tables = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(FIELDS) | st.text(), tables, max_size=5),
    st.sampled_from(["", "train", "compute"]),
)
def test_whatever_is_wrong_is_said_in_one_printable_line(value, section):
    sound = tomllib.loads(COMPUTE if section == "compute" else TRAIN)
    spoilt = {**sound, section: {**sound[section], **value}} if section else {**sound, **value}
    try:
        JobFile.model_validate(spoilt)
    except ValidationError as error:
        problems = problems_of(error, JobFile)
        assert problems
        assert all(problem.public_message.isprintable() for problem in problems)


def test_broken_toml_names_the_line_only():
    with pytest.raises(InvalidInput, match="line 2, column 19") as caught:
        parse_job_file('[job]\ntitle = "Zhang San\nkind = 1')
    assert "Zhang" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"gone\.toml"):
        load_job_file(tmp_path / "gone.toml")
    (tmp_path / "latin.toml").write_bytes(b'[job]\ntitle = "\xe9"')
    with pytest.raises(InvalidInput, match="UTF-8"):
        load_job_file(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (300 << 10))
    with pytest.raises(InvalidInput, match="larger than"):
        load_job_file(tmp_path / "large.toml")


def test_what_is_signed_is_written_out_and_canonical():
    value = parse_job_file(TRAIN.replace("epochs = 5", "epochs = 5\nlearning_rate = 5e-2")).to_parameters()
    canonical_json(value)  # raises for a float
    assert value["format"] == "trustspace-parameters-v1"
    assert value["train"]["learning_rate"] == "0.05"
    assert value["train"]["loss"] == "binary_cross_entropy"
    assert value["train"]["hidden"] == [32]
    assert value["terms"]["withheld_percent"] == 20
    assert "title" not in json.dumps(value)
    assert Parameters.from_json(json.loads(canonical_json(value))).to_json() == value


@pytest.mark.parametrize("written", ["0.05", "0.050", '"0.05"', '"5E-2"', "5e-2"])
def test_a_decimal_has_one_form(written):
    job = parse_job_file(TRAIN.replace("epochs = 5", f"epochs = 5\nlearning_rate = {written}"))
    assert job.parameters().training().learning_rate == "0.05"


@pytest.mark.parametrize(
    ("written", "label"), [("1", "1"), ("true", "1"), ("false", "0"), ('"true"', "true")]
)
def test_labels_are_text(written, label):
    job = parse_job_file(TRAIN.replace('positive = "M"', f"positive = {written}"))
    assert job.parameters().training().positive == label


def test_parameters_have_one_form():
    value = parse_job_file(TRAIN).to_parameters()
    for change in (
        lambda v: v["train"].pop("seed"),
        lambda v: v["train"].update(learning_rate="0.010"),
        lambda v: v["train"].update(learning_rate=1),
        lambda v: v["terms"].pop("release_quorum"),
        lambda v: v.update(extra=1),
        lambda v: v.update(format="trustspace-parameters-v2"),
        lambda v: v.update(compute=None),
        lambda v: v["train"].update(epochs=0),
        lambda v: v.clear(),
    ):
        changed = json.loads(json.dumps(value))
        change(changed)
        with pytest.raises(VerificationFailed):
            Parameters.from_json(changed)
    for other in (None, [], "x", 3):
        with pytest.raises(VerificationFailed):
            Parameters.from_json(other)


def test_a_run_sees_the_columns_asked_for_and_the_target():
    job = parse_job_file(TRAIN).parameters()
    assert job.columns_of(0) == ("age", "sex", "outcome")
    assert parse_job_file(COMPUTE).parameters().columns_of(0) == ("age",)
    with pytest.raises(InvalidInput, match="fewer than 2"):
        job.columns_of(1)


def test_every_dataset_of_a_training_has_the_same_columns():
    second = '\n[[datasets]]\nid = "ward-b"\nversion = 2\ncolumns = ["age", "{}"]\n[train]'
    assert len(parse_job_file(TRAIN.replace("\n[train]", second.format("sex"))).parameters().datasets) == 2
    with pytest.raises(InvalidJobFile, match="datasets name different columns"):
        parse_job_file(TRAIN.replace("\n[train]", second.format("weight")))
    with pytest.raises(InvalidJobFile, match="names a dataset twice"):
        parse_job_file(TRAIN.replace("\n[train]", second.format("sex").replace("ward-b", "ward-a")))


def test_canaries_are_signed_and_for_the_platforms_own_models_of_classes():
    assert parse_job_file(TRAIN).to_parameters()["terms"]["canaries"] == 0
    asked = parse_job_file(TRAIN + "[terms]\ncanaries = 50").parameters()
    assert asked.to_json()["terms"]["canaries"] == 50
    assert Parameters.from_json(asked.to_json()) == asked
    several = TRAIN.replace('positive = "M"', 'classes = ["A", "B", "C"]')
    assert parse_job_file(several + "[terms]\ncanaries = 20").parameters().terms.canaries == 20
    pictures = TRAIN.replace('"mlp"', '"small_cnn"\nimage_size = 28').replace('["age", "sex"]', '["picture"]')
    assert parse_job_file(pictures + "[terms]\ncanaries = 20").parameters().terms.canaries == 20
    number = TRAIN.replace('positive = "M"', 'loss = "mean_squared_error"') + "[terms]\ncanaries = 5"
    with pytest.raises(InvalidJobFile, match=r"terms\.canaries must be 0 for a target that is a number"):
        parse_job_file(number)
    own = TRAIN.replace('"mlp"', '"custom"') + "[code]\npath = 'model.py'\n[terms]\ncanaries = 5"
    with pytest.raises(InvalidJobFile, match="developer's own model"):
        parse_job_file(own)


def test_a_compute_job_withholds_nobody_unless_it_says_so():
    assert parse_job_file(COMPUTE).parameters().terms.withheld_percent == 0
    assert (
        parse_job_file(COMPUTE + "[terms]\nwithheld_percent = 10").parameters().terms.withheld_percent == 10
    )


def test_code_is_read_beside_the_job_file_and_must_have_its_function(tmp_path):
    job_path = tmp_path / "job.toml"
    job_path.write_text(COMPUTE)
    job = load_job_file(job_path)
    with pytest.raises(InvalidInput, match="missing"):
        read_code(job, job_path)
    (tmp_path / "main.py").write_text("def start(inputs, outputs):\n    pass\n")
    with pytest.raises(InvalidInput, match=r"does not define run\(\)"):
        read_code(job, job_path)
    (tmp_path / "main.py").write_text("def run(inputs, outputs):\n    pass\n")
    assert b"def run" in read_code(job, job_path)
    assert read_code(parse_job_file(TRAIN), job_path) == b""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_examples_load(path):
    job = load_job_file(path)
    code = read_code(job, path)
    assert bool(code) == job.parameters().runs_custom_code
    assert declared_artifacts(job.parameters())


def test_there_is_an_example_of_each_kind():
    jobs = [load_job_file(path).parameters() for path in EXAMPLES]
    models = {job.train.model for job in jobs if job.train is not None}
    assert models == {"logistic_regression", "mlp", "small_cnn", "custom"}
    assert any(job.kind == "compute" for job in jobs)


def test_the_published_schema_is_fresh():
    published = json.loads((ROOT / "docs" / "job.schema.json").read_text(encoding="utf-8"))
    assert published == job_schema(), "run: python tools/write_schemas.py"


def test_the_schema_shows_every_bound_and_meaning():
    schema = job_schema()
    definitions = schema["$defs"]
    assert definitions["Train"]["properties"]["epochs"]["maximum"] == 10_000
    assert definitions["DatasetUse"]["properties"]["columns"]["maxItems"] == 4096
    assert definitions["Train"]["properties"]["hidden"]["items"]["maximum"] == 4096
    assert definitions["Train"]["properties"]["learning_rate"]["anyOf"][0]["maximum"] == 10
    for name, definition in definitions.items():
        assert definition["additionalProperties"] is False, name
        for field, entry in definition["properties"].items():
            assert entry.get("description"), f"{name}.{field}"


def test_errors_are_ours():
    with pytest.raises(TrustspaceError):
        parse_job_file("")
