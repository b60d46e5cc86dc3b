"""Marks that need something of the host, and a clean host after every test, also one that fails."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from support import processes

# Before anything imports gRPC: with connections of other tests in use, about one process in 600 that is started as
# another user died in gRPC's fork handlers before its program began (grpc/grpc issue 43055).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# How long an example takes says something of the machine, and nothing of what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, visibly and with the reason, what this host cannot run."""
    # Those that need no namespaces look for themselves what there is.
    isolation = [
        item
        for item in items
        if item.get_closest_marker("isolation") and "confined" not in getattr(item, "fixturenames", ())
    ]
    if isolation:
        from trustspace.sandbox.doctor import probe

        report = probe()
        if report.tier is None:
            reason = f"this host cannot isolate: {report.reasons('en')}"
            for item in isolation:
                item.add_marker(pytest.mark.skip(reason=reason))
    if not os.environ.get("TRUSTSPACE_DATA"):
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(pytest.mark.skip(reason="TRUSTSPACE_DATA does not say where real data is"))


def pytest_sessionfinish() -> None:
    """Whatever a broken test left running or lying about ends here."""
    processes.end_all()
