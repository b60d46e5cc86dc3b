"""Real hospitals' data: what is learned together is as good as what is published, and worth more than alone.

The four hospitals of the UCI heart-disease data, split and measured as in FLamby, and PneumoniaMNIST dealt out
to three. Once through the whole platform; otherwise through the product's rounds in this process, seed by seed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.hospitals import Joint
from support.world import World

from trustspace.client import releases, review
from trustspace.jobs.released import load_released
from trustspace.jobs.spec import Parameters

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.data


@pytest.fixture
def data():
    return Path(os.environ["TRUSTSPACE_DATA"])


@pytest.fixture
def heart(monkeypatch):
    """What the benchmark of the same name is made of."""
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.heart

    return benchmarks.heart


@pytest.fixture
def pneumonia(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.pneumonia

    return benchmarks.pneumonia


def everybody(hospitals):
    return pa.concat_tables([hospital.test for hospital in hospitals])


def test_the_split_is_the_published_one(heart, data):
    found = heart.hospitals(data / "heart")
    assert [(h.train.num_rows, h.test.num_rows) for h in found] == [(199, 104), (172, 89), (30, 16), (85, 45)]
    # Every patient on one side, and in Switzerland's training part the ill alone.
    assert set(found[2].train[heart.TARGET].to_pylist()) == {"yes"}
    # More than counts: an exact solver on the pooled rows gets FLamby's own result, 202 of 254.
    from sklearn.linear_model import LogisticRegression

    def inputs(table):
        numbers = [table[name].to_numpy() for name in heart.COLUMNS if name not in heart.CATEGORIES]
        kinds = [table[k].to_numpy() == int(v) for k, values in heart.CATEGORIES.items() for v in values]
        return np.stack([*numbers, *kinds], axis=1).astype(float), table[heart.TARGET].to_numpy()

    train = inputs(heart.pooled([h.train for h in found]))
    assert train[0].shape == (486, 13)
    fitted = LogisticRegression(max_iter=20_000).fit(*train)
    rows, diagnoses = inputs(everybody(found))
    assert int((fitted.predict(rows) == diagnoses).sum()) == 202


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_heart_disease_together_is_as_good_as_the_best_published(heart, data):
    found = heart.hospitals(data / "heart")
    tables, test = [h.train for h in found], everybody(found)

    def mean(tables, settings):
        judged = [heart.Judged.of(heart.learn(tables, settings, seed), test) for seed in range(1, 6)]
        return np.mean([j.accuracy for j in judged]), np.mean([j.auc for j in judged])

    # The strategy that training patients alone chose, five seeds as in what is published.
    accuracy, auc = mean(tables, heart.CHOSEN[heart.BEST])
    assert accuracy >= heart.BEST_PUBLISHED
    pooled_accuracy, pooled_auc = mean([heart.pooled(tables)], heart.CHOSEN["pooled"])
    assert accuracy >= pooled_accuracy - 0.01
    assert auc >= pooled_auc - 0.01
    for hospital in found:
        alone, _ = mean([hospital.train], heart.CHOSEN[f"alone, {hospital.name}"])
        assert accuracy > alone, hospital.name


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedadam", "fedyogi"])
def test_every_strategy_is_as_good_as_it_is_published(heart, data, strategy):
    found = heart.hospitals(data / "heart")
    tables, test = [h.train for h in found], everybody(found)
    settings = heart.CHOSEN[strategy]
    accuracies = [heart.Judged.of(heart.learn(tables, settings, seed), test).accuracy for seed in range(1, 6)]
    assert np.mean(accuracies) >= float(heart.PUBLISHED[strategy].split()[0])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_four_real_hospitals_through_the_whole_platform(heart, data):
    """Sealed datasets, a space over mutual TLS, enclaves, reviewers, a buyer: then the test patients."""
    found = heart.hospitals(data / "heart")

    def named(hospital):
        patients = [f"{hospital.name}-{n:04d}" for n in range(hospital.train.num_rows)]
        return hospital.train.append_column("patient", pa.array(patients))

    world, joint = World(), None
    try:
        joint = Joint(world, tables=[named(h) for h in found], dataset="patients")
        joint.attend()
        names = [h.name for h in joint.hospitals]
        joint.ask(heart.job(names, heart.CHOSEN[heart.BEST], seed=1), use="")
        assert joint.until("in-review", "failed", seconds=300).state == "in-review", [
            failure.log for h in joint.hospitals for failure in h.enclave.failures()
        ]
        sums = review.open_case(joint.hospitals[2].home, joint.job, joint.hospitals[2].reviewer).report.check(
            "sums"
        )
        assert (sums.status, sums.facts["smallest"]) == ("passed", 4)
        assert joint.approve() == "released"
        delivered = {d.name: d.content for d in releases.fetch(joint.buyer, joint.job)[0]}
        parameters = Parameters.from_json(joint.record().body.parameters)
    finally:
        if joint is not None:
            joint.close()
        world.close()
    metrics = json.loads(delivered["metrics.json"])
    assert metrics["participants_per_round"] == [4] * heart.ROUNDS
    # About 5 % of each hospital's patients were withheld, by fair coins, and measured together.
    withheld = metrics["withheld"]["rows"]
    assert metrics["rows"] + withheld == 486
    assert 4 <= withheld <= 60
    test = everybody(found)
    ill = np.array(test[heart.TARGET].to_pylist()) == "yes"
    said = load_released(delivered["model.safetensors"], parameters).predict(test) > 0.5
    # One run, and who is withheld follows from a secret key: the accuracy of such runs differs by 0.007 (one
    # deviation). That they reach the published on average is the test above.
    assert (said == ill).mean() >= heart.BEST_PUBLISHED - 0.03


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_benchmark_writes_what_it_measured(heart, data, tmp_path, monkeypatch):
    file = tmp_path / "heart.json"
    monkeypatch.setattr(sys, "argv", ["heart", "--turns", "2", "--work", str(tmp_path), "--json", str(file)])
    assert heart.main() == 0
    content = json.loads(file.read_text(encoding="utf-8"))
    measured = {row["name"]: row["values"] for row in content["rows"]}
    shown = {row[0]: row for row in content["tables"][0]["rows"]}
    assert set(heart.STRATEGIES) | {"pooled", "alone, switzerland"} <= set(shown)
    for name, row in shown.items():
        assert row[1].startswith(f"{np.mean(measured[f'{name}, accuracy']):.3f} ± "), name
        assert all(0 < value < 1 for value in measured[f"{name}, accuracy"] + measured[f"{name}, AUC"])
        assert row[2] == heart.PUBLISHED[name]
    # A seed is measured once more: the same number, whatever else ran meanwhile.
    found = heart.hospitals(data / "heart")
    again = heart.learn([h.train for h in found], heart.CHOSEN["fedadam"], seed=2)
    accuracy = heart.Judged.of(again, everybody(found)).accuracy
    assert measured["fedadam, accuracy"][1] == pytest.approx(accuracy, abs=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pneumonia_together_beats_the_smallest_and_comes_close_to_pooled(pneumonia, data):
    found = pneumonia.images(data / "pneumoniamnist" / "pneumoniamnist.npz")
    sizes = [table.num_rows for table in found.hospitals]
    smallest = found.hospitals[sizes.index(min(sizes))]

    def auc(*tables):
        return pneumonia.Judged.of(pneumonia.learn(tables, seed=1), found.test).auc

    together = auc(*found.hospitals)
    assert together > auc(smallest)
    assert together >= auc(pa.concat_tables(found.hospitals)) - 0.02
