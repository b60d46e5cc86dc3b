from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.jobs.metrics import NOT_MEASURABLE, auc, decimal_text, is_decimal_text, quality


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=30))
def test_auc_is_the_chance_of_a_right_order(rows):
    target = np.array([float(ill) for ill, _ in rows])
    score = np.array([float(value) for _, value in rows])
    pairs = [(a, b) for a, ill in zip(score, target, strict=True) for b, other in zip(score, target, strict=True)
             if ill == 1 and other == 0]  # fmt: skip
    found = auc(target, score)
    if not pairs:
        assert found is None
    else:
        assert found == pytest.approx(np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs]))


def test_binary():
    measured = quality("binary", np.array([[2.0], [-1.0], [0.5], [-3.0]]), np.array([1.0, 0.0, 0.0, 1.0]))
    chances = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.5, -3.0])))
    expected = -np.mean(
        [np.log(chances[0]), np.log(1 - chances[1]), np.log(1 - chances[2]), np.log(chances[3])]
    )
    assert measured.loss == pytest.approx(expected)
    assert (measured.auc, measured.accuracy) == (0.5, 0.5)


def test_several_classes():
    logits = np.array([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0], [3.0, 0, 0]])
    measured = quality("multiclass", logits, np.array([0.0, 1.0, 2.0, 1.0]))
    right, wrong = np.log(1 + 2 * np.exp(-3)), np.log(np.exp(3) + 2)
    assert measured.loss == pytest.approx((3 * right + wrong) / 4)
    assert measured.accuracy == 0.75
    assert measured.auc == pytest.approx((5 / 6 + 3 / 4 + 1.0) / 3)


def test_a_number():
    measured = quality("regression", np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 4.0]))
    assert measured.loss == pytest.approx(1 / 3)
    assert measured.r2 == pytest.approx(1 - 1 / (14 / 3))
    assert set(measured.to_json()) == {"rows", "loss", "r2"}


def test_nothing_to_measure_is_said_in_words():
    one_class = quality("binary", np.zeros((3, 1)), np.ones(3)).to_json()
    assert one_class == {"rows": 3, "loss": "0.693147", "auc": NOT_MEASURABLE, "accuracy": "0.000000"}
    assert quality("binary", np.zeros((0, 1)), np.zeros(0)).to_json()["loss"] == NOT_MEASURABLE
    assert quality("regression", np.zeros((2, 1)), np.ones(2)).to_json()["r2"] == NOT_MEASURABLE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.500000"),
        (-2.25, "-2.250000"),
        (-0.0, "0.000000"),
        (-1e-9, "0.000000"),
        (float("nan"), NOT_MEASURABLE),
        (float("inf"), NOT_MEASURABLE),
        (1e13, NOT_MEASURABLE),
        (None, NOT_MEASURABLE),
    ],
)
def test_numbers_as_text(value, text):
    assert decimal_text(value) == text
    assert is_decimal_text(text) == (text != NOT_MEASURABLE)
