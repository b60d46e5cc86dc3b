"""One arena for all attacks: starting a launcher for each would take longer than the attacks."""

import signal

import pytest

from redteam.arena import Arena


@pytest.fixture(scope="session")
def arena():
    def ended(*_):
        pytest.exit("ended from outside")

    # Bait and launcher go then too.
    before = signal.signal(signal.SIGTERM, ended)
    try:
        with Arena() as one:
            yield one
    finally:
        signal.signal(signal.SIGTERM, before)
