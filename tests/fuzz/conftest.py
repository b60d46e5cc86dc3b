"""Marks these tests as slow, and hunts: a fixed number of examples, or for as long as one asks.

Without ``TRUSTSPACE_FUZZ_SECONDS`` every run tries the same examples. With it, new ones are tried until that much time,
shared evenly among the tests that run, is over; hypothesis prints what failed and how to repeat it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
SECONDS = float(os.environ.get("TRUSTSPACE_FUZZ_SECONDS") or 0)
CHECKS = list(HealthCheck)
Hunt = Callable[..., None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            if SECONDS:
                item.add_marker(pytest.mark.timeout(300 + 2 * SECONDS))


@pytest.fixture
def hunt(request: pytest.FixtureRequest) -> Hunt:
    """``hunt(strategy, attack, examples)`` calls ``attack`` with examples of the strategy."""
    here = [item for item in request.session.items if HERE in item.path.parents]

    def hunted(strategy: st.SearchStrategy[Any], attack: Callable[[Any], Any], examples: int = 400) -> None:
        def tried(**options: Any) -> None:
            @settings(
                deadline=None,
                database=None,
                report_multiple_bugs=False,
                suppress_health_check=CHECKS,
                **options,
            )
            @given(strategy)
            def attacked(example: Any) -> None:
                attack(example)

            attacked()

        if not SECONDS:
            tried(max_examples=examples, derandomize=True)
            return
        end = time.monotonic() + SECONDS / len(here)
        while time.monotonic() < end:
            tried(max_examples=200, print_blob=True)

    return hunted
