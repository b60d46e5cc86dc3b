"""Encrypted scoring, piece by piece: what is signed, integer weights, groups that are too small, and the file's one form."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import scores as small
from support.cast import Cast

from trustspace.aggregation.paillier.keys import PrivateKey
from trustspace.aggregation.paillier.scoring import open_blinded, open_scores, unblind
from trustspace.domain.budget import sums_of
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.artifacts import check_artifacts, encode_json, parse_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.encrypted_model import encrypt_model, open_model
from trustspace.jobs.messages import InvalidJobFile
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.scores import SCORES_ARTIFACT, Blinds, carried, read_scores
from trustspace.jobs.scoring import (
    blinded_rows,
    group_sums,
    groups_of,
    hidden_groups,
    run,
    steps,
)
from trustspace.jobs.spec import parse_job_file
from trustspace.jobs.weights import Quantised, quantise, read_weights, sigmoid

TEXT = """
[job]
title = "Risk"
purpose = "A study."
kind = "score"

[parties]
buyer = "clinic"

[[datasets]]
id = "ward"
version = 1
columns = ["sex", "age", "size"]

[score]
model = "logistic"
weights = "w.json"
features = { age = [0, 100], size = ["-1.5", 2.5] }
group = "sex"
groups = ["f", "m"]
"""
ROWS = TEXT.replace('"sex", ', "").replace('group = "sex"\ngroups = ["f", "m"]', 'result = "rows"')
CONTEXT = b"job one".ljust(32)


@pytest.fixture(scope="module")
def key():
    with pytest.MonkeyPatch.context() as patch:
        small.small_keys(patch)
        yield PrivateKey.generate(1024)


def parameters(text=TEXT):
    return parse_job_file(text).parameters()


def table(rows=60, seed=3):
    draw = np.random.default_rng(seed)
    return pa.table({
        "sex": pa.array(np.where(draw.random(rows) < 0.5, "f", "m")),
        "age": draw.integers(0, 101, rows).astype(float),
        "size": draw.normal(0.5, 1, rows),
    })  # fmt: skip


def proven(key, integers, asked, context=CONTEXT):
    score = asked.scoring()
    return open_model(encrypt_model(key, integers, score, context), score, context)


# -- what is signed


def test_the_path_of_the_weights_is_not_signed():
    asked = parameters()
    assert "w.json" not in json.dumps(asked.to_json())
    assert Parameters.from_json(asked.to_json()) == asked
    assert asked.terms.withheld_percent == 0
    assert not asked.runs_custom_code
    assert asked.brings_blob


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ('groups = ["f", "m"]', "", "groups"),
        ('group = "sex"\n', "", "groups"),
        ('["f", "m"]', '["f", "f"]', "groups"),
        ('["f", "m"]', '["f", "other"]', "groups"),
        ("[0, 100]", "[100, 0]", "features"),
        ('group = "sex"', 'group = "age"', "group"),
        ('groups = ["f", "m"]', 'groups = ["f", "m"]\nresult = "rows"', "group"),
        ('"size"]', '"size", "weight"]', "datasets"),
        ('"sex", ', "", "datasets"),
        ("[score]", "[terms]\nwithheld_percent = 10\n[score]", "terms.withheld_percent"),
        ('weights = "w.json"', "", "weights"),
        ('groups = ["f", "m"]', 'groups = ["f", "m"]\nweight_bits = 25', "weight_bits"),
        ("[score]", '[code]\npath = "x.py"\n[score]', "code"),
    ],
)
def test_rules_name_their_field(before, after, field):
    assert before in TEXT
    with pytest.raises(InvalidJobFile) as caught:
        parse_job_file(TEXT.replace(before, after, 1))
    assert any(field in str(problem.details["field"]) for problem in caught.value.problems)


def test_a_job_costs_as_many_sums_as_it_may_decrypt():
    cast = Cast(units=1, reviewers=1, threshold=1)
    cast.enrol()
    cast.put(cast.sign(cast.units[0], "act", cast.dataset_body(cast.units[0])))
    body = cast.job_body(kind="score")
    for text, sums in (
        (TEXT, 4),
        (ROWS, 0),
        (TEXT.replace('group = "sex"\ngroups = ["f", "m"]', "").replace('"sex", ', ""), 1),
    ):
        asked = parameters(text)
        assert (
            (len(asked.scoring().labels) if sums else 0)
            == sums
            == sums_of(body.model_copy(update={"parameters": asked.to_json()}))
        )
    assert sums_of(body.model_copy(update={"parameters": {}})) > 10**15
    assert sums_of(body.model_copy(update={"kind": "statistics"})) == 0


# -- weights


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), st.floats(-1e6, 1e6), st.integers(4, 24))
@settings(max_examples=60, deadline=None)
def test_integer_weights_give_the_scores_back(weights, intercept, bits):
    asked = parameters(TEXT.replace("[score]", f"[score]\nweight_bits = {bits}\nfeature_bits = 16"))
    data = json.dumps(
        {"weights": dict(zip(("age", "size"), weights, strict=True)), "intercept": intercept}
    ).encode()
    score, columns = asked.scoring(), asked.weighed
    assert columns == ("age", "size")
    try:
        model = quantise(score, columns, read_weights(data, score))
    except InvalidInput:
        return  # weights so small that no step is left
    assert max(map(abs, model.integers)) <= (1 << (bits - 1)) - 1
    rows = table()
    found = steps(rows, asked) @ np.array(model.integers)
    size = np.clip(rows.column("size").to_numpy(), -1.5, 2.5)
    exact = intercept + weights[0] * rows.column("age").to_numpy() + weights[1] * size
    spans = np.abs(np.array(weights)) * np.array([100, 4])
    # Half a step of each feature, and half a step of each weight over its whole range.
    allowed = spans.sum() / 65535 / 2 + 2 * model.step * 65535 / 2
    assert np.abs(np.array([model.score(int(f)) for f in found]) - exact).max() <= allowed * 1.01 + 1e-6


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b'{"weights": 1}', b'{"weights": {"age": 1}}', b'{"weights": {"age": 1, "size": 1, "x": 1}}',
     b'{"weights": {"age": 1, "size": NaN}}', b'{"weights": {"age": 1, "size": "1"}}', b'{"weights": {"age": true, "size": 1}}',
     b'{"weights": {"age": 1, "size": 1}, "bias": 1}', b'{"weights": {"age": 1, "size": 1e999}}', b"\xff"],
)  # fmt: skip
def test_a_file_of_weights_is_what_it_must_be(data):
    with pytest.raises(InvalidInput):
        read_weights(data, parameters().scoring())


def test_all_zero_weights_are_weights():
    model = quantise(
        parameters().scoring(),
        ("age", "size"),
        read_weights(b'{"weights": {"age": 0, "size": 0}}', parameters().scoring()),
    )
    assert model.integers == (0, 0)
    assert model.score(0, 5) == 0.0


def test_the_sigmoid_takes_any_number():
    assert [sigmoid(x) for x in (-1e4, 0.0, 1e4)] == [0.0, 0.5, 1.0]


# -- features and groups


def test_values_are_cut_to_their_range_and_a_missing_one_is_its_middle():
    rows = pa.table(
        {
            "sex": ["f", "m", None, "x", "f"],
            "age": [-5.0, 250.0, None, float("nan"), 40.0],
            "size": [2.5, -1.5, 0.5, 0.5, 0.5],
        }
    )
    assert steps(rows, parameters())[:, 0].tolist() == [0, 255, 128, 128, 102]
    assert groups_of(rows, parameters().scoring()).tolist() == [0, 1, 3, 2, 0]


def _large(values, minimum):
    if len(values) < minimum:
        return False
    most = [max(list(c).count(v) for v in c) for c in values.T.tolist()]
    return all(len(values) == m or len(values) - m >= minimum for m in most)


@given(st.data(), st.integers(1, 6), st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_no_shown_group_and_no_difference_to_all_rows_is_small(data, count, minimum):
    rows = data.draw(st.integers(1, 80))
    groups = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=rows, max_size=rows)), np.int64)
    values = np.array(
        data.draw(st.lists(st.integers(0, 3), min_size=2 * rows, max_size=2 * rows)), np.int64
    ).reshape(-1, 2)
    hidden = hidden_groups(values, groups, count, minimum)
    for group in range(count):
        if not hidden[group] and (groups == group).any():
            assert _large(values[groups == group], minimum)
    rest = values[hidden[groups]]
    if hidden.any() and len(rest) < rows:
        assert hidden.sum() > 1
        assert _large(rest, minimum)


def test_a_rare_mark_makes_a_large_group_small():
    """Whoever weighs that feature alone would read how many have it."""
    values = np.zeros((40, 1), np.int64)
    values[:3] = 255
    groups = np.repeat(np.array([0, 1], np.int64), 20)
    assert hidden_groups(values, groups, 2, 10).tolist() == [True, True]
    assert hidden_groups(values, groups, 2, 3).tolist() == [False, False]
    values[:12] = 255
    assert hidden_groups(values, np.zeros(40, np.int64), 1, 10).tolist() == [False]


# -- under encryption


def test_sums_are_those_of_the_plain_rows(key):
    asked, rows, integers = parameters(), table(), (123, -32767)
    found = group_sums(proven(key, integers, asked), rows, asked, 10)
    totals = steps(rows, asked) @ np.array(integers)
    groups = groups_of(rows, asked.scoring())
    assert found.rows == (int((groups == 0).sum()), int((groups == 1).sum()), 0, 0)
    assert open_scores(key, found.slots, found.ciphertexts, 2) == [
        int(totals[groups == g].sum()) for g in (0, 1)
    ]
    again = group_sums(proven(key, integers, asked), rows, asked, 10)
    assert again.ciphertexts != found.ciphertexts, "fresh randomness every time"


def test_blinded_rows_open_with_the_masks_alone(key):
    asked, rows, integers = parameters(ROWS), table(), (123, -32767)
    found, blinds = blinded_rows(proven(key, integers, asked), rows, asked)
    totals = (steps(rows, asked) @ np.array(integers)).tolist()
    numbers = open_blinded(key, found.ciphertexts)
    assert unblind(key.public, blinds.slots, numbers, blinds.numbers, blinds.rows) == totals
    assert Blinds.from_json(json.loads(encode_json(blinds.to_json()))) == blinds


def emitted(key, asked, rows, minimum=10):
    out = {}
    inputs = {
        "parameters": json.dumps(asked.to_json()).encode(), "code": encrypt_model(key, (5, -7), asked.scoring(), CONTEXT),
        "context": CONTEXT, "minimum": str(minimum).encode(), "data": stream(rows),
    }  # fmt: skip
    run(
        {name: memoryview(data) for name, data in inputs.items()},
        lambda name, kind, data: out.update({name: (kind, data)}),
    )
    return out


def stream(rows):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()


def test_the_program_emits_what_the_enclave_takes(key):
    asked = parameters()
    ((name, (kind, data)),) = emitted(key, asked, table()).items()
    check_artifacts([RawArtifact(name, kind, data)], asked)
    told = carried(parse_json(data), asked)
    assert (told.key, told.key_bits, told.sums, told.hidden, told.rows) == (
        key.public.digest(),
        1024,
        2,
        0,
        0,
    )
    assert told.smallest >= 10
    assert told.weight_bits > 15
    # A score of 2 features below 2^value_bits and proven weights fits into what is said, and into little less.
    value_bits = parse_json(data)["value_bits"]
    assert told.sum_bits == 1 + 15 + value_bits + 1
    rows = emitted(key, parameters(ROWS), table())
    assert sorted(rows) == ["blinds.json", "scores.json"]
    blinded = carried(parse_json(rows["scores.json"][1]), parameters(ROWS))
    assert (blinded.sums, blinded.sum_bits, blinded.rows) == (0, 0, 60)


def test_no_row_and_hidden_groups_give_a_file_without_sums(key):
    asked = parameters()
    for rows in (table(0), table(9)):
        data = emitted(key, asked, rows)[SCORES_ARTIFACT][1]
        assert carried(parse_json(data), asked).sums == 0
        assert parse_json(data)["ciphertexts"] == ""


def _more_ciphertexts(value):
    value["ciphertexts"] = value["ciphertexts"] * 2


def _small_group(value):
    value["groups"][0]["rows"] = 3


def _another_label(value):
    value["groups"][0]["group"] = "M"


def _narrow_weights(value):
    value["weight_bits"] = 15


def _true_bits(value):
    value["value_bits"] = True


def _more_fields(value):
    value["note"] = "hello"


def _loose_text(value):
    value["ciphertexts"] = value["ciphertexts"][:-4] + "AAA="


def _other_key(value):
    value["key"] = value["key"][:-8] + "AAAAAAA="


@pytest.mark.parametrize(
    "change",
    [_more_ciphertexts, _small_group, _another_label, _narrow_weights, _true_bits, _more_fields, _loose_text, _other_key],
)  # fmt: skip
def test_a_file_of_scores_has_one_form(key, change):
    asked = parameters()
    value = json.loads(emitted(key, asked, table())[SCORES_ARTIFACT][1])
    read_scores(value, asked)
    change(value)
    with pytest.raises(VerificationFailed):
        read_scores(value, asked)


def test_quantised_means_divide_by_the_rows():
    assert Quantised((), 0.5, 1.0).score(40, 10) == 3.0
