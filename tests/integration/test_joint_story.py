"""The joint story end to end: several hospitals, one result, and nobody who saw another's part of it.

The space, the clients, the brokers and the enclaves are real, over mutual TLS; sandboxes are simulated.
"""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.enclaves import publish, until
from support.hospitals import TRAIN, USE, Joint
from support.world import World

from trustspace.client import datasets, jobs, releases, review
from trustspace.domain.certificate import load, verify
from trustspace.domain.trust import TrustFile
from trustspace.errors import InvalidTransition, PermissionDenied, PolicyRefused
from trustspace.jobs.counting import count_table
from trustspace.jobs.models import build
from trustspace.jobs.spec import Parameters
from trustspace.jobs.statistics import HIDDEN, result
from trustspace.jobs.tensors import read_tensors
from trustspace.jobs.training import fit, prepare, read_rows, set_up

SIZES = (120, 260, 90, 190)


def ward(count: int, seed: int, ill_share: float, older: float) -> pa.Table:
    """A hospital's patients: how many are ill and how old they are differs from one to the next."""
    draw = np.random.default_rng(seed)
    ill = draw.random(count) < ill_share
    return pa.table({
        "size": draw.normal(10 + older / 8, 2, count) + 3 * ill,
        "texture": draw.normal(1, 0.2, count) + 0.25 * ill,
        "age": np.clip(draw.normal(50 + older, 12, count).round(), 18, 95).astype(int),
        "sex": pa.array(draw.choice(["female", "male"], count)),
        "stage": pa.array(draw.choice(["I", "II", "III", "IV"], count, p=[0.52, 0.4, 0.05, 0.03])),
        "diagnosis": pa.array(np.where(ill, "M", "B")),
        "patient": pa.array([f"patient-{seed}-{n:05d}" for n in range(count)]),
    })  # fmt: skip


TABLES = [
    ward(count, 11 + n, share, older)
    for n, (count, share, older) in enumerate(zip(SIZES, (0.3, 0.5, 0.6, 0.4), (0, 6, -4, 10), strict=True))
]


@pytest.fixture(scope="module")
def joint():
    """Four hospitals of two reviewers each, whose brokers and enclaves attend by themselves."""
    world = World()
    made = Joint(world, tables=TABLES, reviewers=2)
    made.attend()
    yield made
    made.close()
    world.close()


@pytest.fixture(autouse=True)
def afresh(joint):
    for hospital in joint.hospitals:
        hospital.launcher.seen.clear()


def seen(hospital, program, name):
    """What this program was handed last in a hospital's sandbox."""
    return next(inputs[name] for told, inputs in reversed(hospital.launcher.seen) if told == program)


def parameters_of(joint):
    return Parameters.from_json(joint.record().body.parameters)


def delivered(joint):
    """What the buyer opens, by name."""
    return {d.name: d.content for d in releases.fetch(joint.buyer, joint.job)[0]}


def model_of(joint, hospitals):
    """The joint model, which every enclave judged on its own: the same bytes everywhere."""
    models = {bytes(seen(hospital, "evaluate", "model")) for hospital in hospitals}
    assert len(models) == 1
    return read_tensors(models.pop())


def trained_on(hospitals):
    return pa.concat_tables([seen(hospital, "train_rounds", "data") for hospital in hospitals])


def ready(joint):
    record = joint.until("in-review", "failed")
    failures = [f.log for h in joint.hospitals for f in h.enclave.failures() if f.job == joint.job]
    assert (record.state, failures) == ("in-review", [])
    return record


# -- one story from the request to the certificate


def test_three_hospitals_with_two_reviewers_each(joint, tmp_path):
    three = joint.hospitals[:3]
    joint.ask(hospitals=three, threshold=2)
    ready(joint)
    output = joint.output().body
    everybody = tuple(sorted(h.unit for h in three))
    assert output.members == everybody
    assert [a.name for a in output.artifacts if a.role != "log"] == ["metrics.json", "model.safetensors"]
    for artifact in output.artifacts:
        holders = {unit.source_unit for unit in artifact.units}
        assert holders == set(everybody) if artifact.role != "log" else len(holders) == 1
    for hospital in three:
        report = review.open_case(hospital.home, joint.job, hospital.people[1]).report
        assert report.check("sums").status == "passed"
        assert report.check("sums").facts["smallest"] == 3
        assert report.check("digests").status == "passed"
    # Two people of every hospital must agree, and until the last of them has, the buyer has nothing.
    assert joint.approve(*three, person=0) == "in-review"
    assert joint.approve(*three[:2], person=1) == "in-review"
    with pytest.raises(InvalidTransition):
        releases.fetch(joint.buyer, joint.job)
    assert joint.approve(three[2], person=1) == "released"
    found, certificate = releases.fetch(joint.buyer, joint.job)
    assert {d.name for d in found} == {"metrics.json", "model.safetensors"}
    model = next(d.content for d in found if d.name == "model.safetensors")
    assert {bytes(seen(h, "evaluate", "model")) for h in three} == {model}
    # What the buyer keeps is enough to prove it to anybody, with no connection to anything.
    releases.save(joint.buyer, found, certificate, tmp_path)
    trust = TrustFile.model_validate_json((tmp_path / "trust.json").read_bytes())
    proven = verify(load((tmp_path / "certificate.json").read_bytes()), trust)
    assert set(proven.reviewers) == {person for h in three for person in h.people}
    assert len(proven.source_units) == 3


def test_a_log_is_for_its_own_hospital_alone(joint):
    three = joint.hospitals[:3]
    joint.ask(hospitals=three, threshold=1)
    ready(joint)
    for number, hospital in enumerate(three, 1):
        case = review.open_case(hospital.home, joint.job, hospital.reviewer)
        log = review.open_artifact(hospital.home, case, f"{number}.run.log")
        rows = seen(hospital, "train_rounds", "data").num_rows
        assert f"{rows} rows to train on".encode() in log
        other = f"{number % 3 + 1}.run.log"
        with pytest.raises(PermissionDenied):
            review.open_artifact(hospital.home, case, other)


def test_four_hospitals(joint):
    joint.ask()
    ready(joint)
    assert joint.output().body.members == tuple(sorted(h.unit for h in joint.hospitals))
    for number, hospital in enumerate(joint.hospitals, 1):
        case = review.open_case(hospital.home, joint.job, hospital.reviewer)
        with pytest.raises(
            PermissionDenied, match="holds no share"
        ):  # another hospital's log is not theirs to give
            review.approve(
                hospital.home, case, (f"{number % 4 + 1}.run.log",), comment="curious", accept_red=True
            )
    states = [joint.approve(hospital) for hospital in joint.hospitals]
    assert states == ["in-review"] * 3 + ["released"]
    assert not [name for name in delivered(joint) if name.endswith(".log")]
    metrics = json.loads(delivered(joint)["metrics.json"])
    assert metrics["participants_per_round"] == [4, 4, 4]
    assert metrics["rows"] == trained_on(joint.hospitals).num_rows
    # The withheld patients of all four, measured together: those that were trained on are not among them.
    assert metrics["withheld"]["rows"] == sum(SIZES) - metrics["rows"]


def test_two_hospitals_only_with_the_words(joint):
    two = joint.hospitals[:2]
    joint.submit(minimum=2, hospitals=two)
    with pytest.raises(PolicyRefused, match="two source units alone"):
        jobs.grant(two[0].home, joint.job)
    for hospital in two:
        jobs.grant(hospital.home, joint.job, small_sums=True, threshold=2)
    ready(joint)
    facts = review.open_case(two[0].home, joint.job, two[0].reviewer).report.check("sums").facts
    assert (facts["smallest"], facts["minimum"], facts["source_units"]) == (2, 2, 2)
    assert joint.approve(*two) == "released"


# -- many approvals


def test_one_refusal_ends_it_before_it_begins(joint):
    three = joint.hospitals[:3]
    joint.submit(hospitals=three)
    for hospital in three[:2]:
        jobs.grant(hospital.home, joint.job)
    jobs.refuse(three[2].home, joint.job)
    assert joint.record().state == "refused"
    # What the first two permitted is worth nothing by itself: no data was opened.
    assert not any(hospital.launcher.seen for hospital in joint.hospitals)
    assert joint.record().offers == {}


def test_one_rejection_ends_it_at_the_end(joint):
    three = joint.hospitals[:3]
    joint.ask(hospitals=three)
    ready(joint)
    assert joint.approve(*three[:2], person=0) == "in-review"
    last = three[2]
    review.reject(last.home, review.open_case(last.home, joint.job, last.reviewer), comment="not with us")
    assert joint.record().state == "rejected"
    with pytest.raises(InvalidTransition):
        releases.fetch(joint.buyer, joint.job)
    with pytest.raises(InvalidTransition):
        joint.approve(three[0], person=1)


# -- as good as pooled


LEARN = TRAIN.replace("epochs = 1\nlearning_rate = 0.05", 'epochs = 1\noptimiser = "sgd"\nlearning_rate = 0.3').replace(
    "rounds = 3", "rounds = {rounds}\n{extra}"
)  # fmt: skip
STRATEGIES = {
    "fedavg": (8, 'strategy = "fedavg"'),
    "fedprox": (8, 'strategy = "fedprox"'),
    "fedadam": (30, 'strategy = "fedadam"'),
    "fedyogi": (30, 'strategy = "fedyogi"'),
    "scaffold": (8, 'strategy = "scaffold"'),
}
STRANGERS = ward(4000, 99, 0.45, 3)


def pooled(joint, hospitals):
    """The same model trained by the platform's own loop on everybody's rows in one place."""
    parameters = parameters_of(joint)
    train = parameters.training().model_copy(update={"epochs": 20})
    parameters = parameters.model_copy(update={"train": train})
    set_up(parameters)
    module = build(parameters, None)
    trained = fit(module, read_rows(trained_on(hospitals), parameters), parameters)
    weights = {f"model.{n}": t.detach().numpy() for n, t in module.state_dict().items()}
    return {**trained.platform, **weights}


def untrained(joint, hospitals):
    parameters = parameters_of(joint)
    set_up(parameters)
    module = build(parameters, None)
    platform = prepare(read_rows(trained_on(hospitals), parameters), parameters)
    return {**platform, **{f"model.{n}": t.detach().numpy() for n, t in module.state_dict().items()}}


def says(model, table=STRANGERS):
    """The probability of a malignant finding, of every row."""
    rows = np.stack([table["size"].to_numpy(), table["texture"].to_numpy()], axis=1)
    scaled = (rows - model["input.mean"]) / model["input.scale"]
    return 1 / (1 + np.exp(-(scaled @ model["model.weight"].T[:, 0] + model["model.bias"][0])))


def auc(model, table=STRANGERS):
    ill = np.array(table["diagnosis"].to_pylist()) == "M"
    ranks = np.argsort(np.argsort(says(model, table))) + 1
    return (ranks[ill].sum() - ill.sum() * (ill.sum() + 1) / 2) / (ill.sum() * (~ill).sum())


@pytest.mark.parametrize(
    "strategy", ["fedavg", *(pytest.param(s, marks=pytest.mark.slow) for s in STRATEGIES if s != "fedavg")]
)
def test_as_good_as_on_pooled_rows(joint, strategy):
    rounds, extra = STRATEGIES[strategy]
    three = joint.hospitals[:3]
    joint.ask(LEARN.replace("{rounds}", str(rounds)).replace("{extra}", extra), hospitals=three)
    ready(joint)
    assert parameters_of(joint).federation().strategy == strategy
    together, best, start = model_of(joint, three), pooled(joint, three), untrained(joint, three)
    # Standardised by what all rows together are like, which nobody has seen.
    for name in ("input.mean", "input.scale", "input.fill"):
        assert together[name] == pytest.approx(best[name], rel=1e-5)
    # Hospitals differ, and each takes several steps by itself before it is heard: near, not the same.
    assert np.abs(says(together) - says(best)).mean() < 0.08
    assert np.abs(says(start) - says(best)).mean() > 0.2
    # Who is withheld differs from run to run; with an adaptive server's larger steps the difference does by 0.001.
    assert auc(together) > auc(best) - 0.015
    assert auc(best) > 0.85 > auc(start)


def test_it_stops_when_nothing_gets_better(joint):
    three = joint.hospitals[:3]
    extra = "validation_percent = 20\npatience = 2"
    # Steps so large that they soon jump to and fro around the best model.
    text = LEARN.replace("learning_rate = 0.3", "learning_rate = 10").replace("{rounds}", "60")
    joint.ask(text.replace("{extra}", extra), hospitals=three)
    ready(joint)
    joint.approve(*three)
    metrics = json.loads(delivered(joint)["metrics.json"])
    losses = [float(text) for text in metrics["validation_loss_per_round"]]
    assert len(losses) == metrics["rounds"] < 60
    best = losses.index(min(losses))
    assert len(losses) - 1 - best >= 2
    # And not later than it had to.
    for n in range(2, len(losses) - 1):
        assert min(losses[n - 1 : n + 1]) < min(losses[: n - 1])
    asked = [h.launcher.seen for h in three]
    assert all("validation" in next(i for p, i in told if p == "train_rounds") for told in asked)


# -- other models


CUSTOM = """
from torch import nn


def build(parameters):
    width = parameters["input_shape"][0]
    return nn.Sequential(nn.Linear(width, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, parameters["outputs"]))
"""


def test_a_developers_own_model(joint):
    code = joint.world.path / "job" / "code"
    code.mkdir(parents=True, exist_ok=True)
    (code / "model.py").write_text(CUSTOM, encoding="utf-8")
    text = TRAIN.replace('model = "logistic_regression"', 'model = "custom"\nmax_parameters = 200')
    text = text.replace("epochs = 1\nlearning_rate = 0.05", "epochs = 2\nlearning_rate = 0.02")
    text += '\n[code]\npath = "code"\n'
    three = joint.hospitals[:3]
    try:
        joint.ask(text, hospitals=three)
    finally:
        (code / "model.py").unlink()
    ready(joint)
    model = model_of(joint, three)
    assert model["model.0.weight"].shape == (6, 2)
    # Running statistics travelled with the sums: those of a network that saw nobody's rows are 0 and 1.
    assert np.abs(model["model.1.running_mean"]).max() > 1e-3
    report = review.open_case(three[0].home, joint.job, three[0].reviewer).report
    assert report.check("custom_code").status in ("warned", "failed")
    joint.approve(*three)
    assert read_tensors(delivered(joint)["model.safetensors"]).keys() == model.keys()


IMAGES = """
[job]
title = "Bright corners"
purpose = "Put likely findings to the top of the list."
kind = "train"

[parties]
buyer = "City Clinic"

[train]
model = "small_cnn"
image_size = 8
target = "finding"
positive = "some"
learning_rate = 0.01
epochs = 2

[federated]
rounds = 3
wait_seconds = 60
"""


def pictures(count, seed):
    """Noise that is brighter in one corner when there is a finding."""
    draw = np.random.default_rng(seed)
    found = draw.random(count) < 0.5
    images = []
    for bright in found:
        pixels = draw.integers(60 + 10 * seed, 120 + 10 * seed, (12, 12))
        pixels[:6, :6] += 90 * int(bright)
        out = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, format="PNG")
        images.append(out.getvalue())
    return pa.table({
        "image": pa.array(images, pa.binary()),
        "finding": pa.array(np.where(found, "some", "none")),
        "patient": [f"patient-{seed}-{n:05d}" for n in range(count)],
    })  # fmt: skip


def test_images(joint):
    three = joint.hospitals[:3]
    tables = [pictures(count, seed) for seed, count in enumerate((50, 70, 60))]
    for hospital, table in zip(three, tables, strict=True):
        path = joint.world.path / "radiographs.parquet"
        pq.write_table(table, path)
        proposal = datasets.propose(path, "Radiographs", patient_column="patient")
        datasets.submit(hospital.home, proposal, dataset="radiographs")
    use = USE.replace("cytology", "radiographs").replace('["size", "texture"]', '["image"]')
    joint.ask(IMAGES, hospitals=three, use=use)
    ready(joint)
    model = model_of(joint, three)
    parameters = parameters_of(joint)
    best = prepare(read_rows(trained_on(three), parameters), parameters)
    assert model["input.mean"] == pytest.approx(best["input.mean"], rel=1e-5)
    assert model["input.scale"] == pytest.approx(best["input.scale"], rel=1e-5)
    joint.approve(*three)
    found = delivered(joint)
    metrics = json.loads(found["metrics.json"])
    assert float(metrics["loss_per_round"][-1]) < float(metrics["loss_per_round"][0])
    pixels = [t["image"][0].as_py()[-60:-30] for t in tables]
    assert not any(part in content for part in pixels for content in found.values())


# -- counting, and computing each by oneself


STATISTICS = """
[job]
title = "Who comes to us"
purpose = "Planning a study."
kind = "statistics"

[parties]
buyer = "City Clinic"

[statistics]
numeric = ["age", "size"]
bounds = { age = [0, 120] }
quantiles = ["0.25", "0.5", "0.75"]
bins = 60
tables = [["sex", "stage"], ["diagnosis"]]
categories = { sex = ["female", "male"], stage = ["I", "II", "III", "IV"], diagnosis = ["B", "M"] }
"""
REGISTER = """
[[datasets]]
id = "register"
version = 1
columns = ["age", "size", "sex", "stage", "diagnosis"]
source_unit = "{unit}"
"""


def test_statistics_over_three_hospitals(joint):
    three = joint.hospitals[:3]
    for hospital, smallest in zip(three, (10, 25, 5), strict=True):
        policy = datasets.DEFAULT_POLICY.model_copy(update={"minimum_cell_count": smallest})
        publish(hospital.home, joint.world, hospital.table, "register", policy=policy)
    joint.ask(STATISTICS, hospitals=three, use=REGISTER)
    ready(joint)
    assert joint.approve(*three) == "released"
    found = delivered(joint)
    assert set(found) == {"statistics.json"}
    content, value = found["statistics.json"], json.loads(found["statistics.json"])
    everybody = pa.concat_tables([h.table for h in three])
    # The sum of the parts is the whole: the very bytes that the pooled table gives, by the strictest policy.
    parameters = parameters_of(joint)
    assert content == result(parameters, list(count_table(everybody, parameters)), 3, 25)
    # And by other means: what is shown is true, and what is small is not shown.
    assert (value["minimum_cell_count"], value["source_units"], value["rows"]) == (25, 3, everybody.num_rows)
    ages = everybody["age"].to_numpy()
    age = next(one for one in value["numeric"] if one["column"] == "age")
    assert float(age["mean"]) == pytest.approx(ages.mean(), abs=0.5)
    assert float(age["variance"]) == pytest.approx(ages.var(ddof=1), rel=0.05)
    for part, told in age["quantiles"]:
        assert float(told) == pytest.approx(np.quantile(ages, float(part)), abs=2.5)
    table = value["tables"][0]
    hidden = small = 0
    for row, sex in zip(table["counts"], table["categories"][0], strict=True):
        for told, stage in zip(row, table["categories"][1], strict=True):
            both = zip(everybody["sex"].to_pylist(), everybody["stage"].to_pylist(), strict=True)
            true = sum(pair == (sex, stage) for pair in both)
            small += 0 < true < 25
            hidden += told == HIDDEN
            assert told == HIDDEN or int(told) == true
            assert told == HIDDEN or not 0 < true < 25
    assert hidden >= small > 0


COMPUTE = """
[job]
title = "Mean size of each"
purpose = "Planning a study."
kind = "compute"

[parties]
buyer = "City Clinic"

[code]
path = "code"

[compute]
outputs = [{ name = "summary.json", media_type = "application/json", max_bytes = 4096 }]
"""


def test_computing_each_by_itself(joint):
    three = joint.hospitals[:3]
    joint.ask(COMPUTE, hospitals=three)
    ready(joint)
    artifacts = {a.name: a for a in joint.output().body.artifacts}
    for number, hospital in enumerate(three, 1):
        assert [u.source_unit for u in artifacts[f"{number}.summary.json"].units] == [hospital.unit]
        case = review.open_case(hospital.home, joint.job, hospital.reviewer)
        with pytest.raises(PermissionDenied):
            review.approve(
                hospital.home, case, (f"{number % 3 + 1}.summary.json",), comment="x", accept_red=True
            )
    assert [joint.approve(hospital) for hospital in three] == ["in-review", "in-review", "released"]
    found = delivered(joint)
    for number, hospital in enumerate(three, 1):
        told = json.loads(found[f"{number}.summary.json"])
        given = seen(hospital, "compute", "data")
        assert told == {"rows": given.num_rows, "mean": f"{np.mean(given['size'].to_numpy()):.3f}"}
    assert len(found) == 3


# -- and nothing stays behind


def test_what_is_left(joint):
    """After all of the above: no checkpoint, no vector, no run, no worker."""
    assert all(hospital.is_idle for hospital in joint.hospitals)
    assert not list((joint.world.home / "rounds").iterdir())
    until(
        lambda: not [p for h in joint.hospitals for p in (h.enclave.path / "rounds").glob("*.checkpoint-*")]
    )
