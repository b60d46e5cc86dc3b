"""Real sandboxes: skipped, visibly and with the reason, on a host that cannot isolate."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from support.sandboxes import bench

from trustspace.sandbox.config import SandboxConfig
from trustspace.sandbox.doctor import probe


@pytest.fixture(scope="session")
def report():
    found = probe()
    if found.tier is None:
        pytest.skip(f"this host cannot isolate: {found.reasons('en')}")
    return found


@pytest.fixture(scope="session")
def programs():
    """The attack programs, where the sandbox's user can read them (the repository may be in a home)."""
    folder = Path(tempfile.mkdtemp(prefix="trustspace-programs-"))
    folder.chmod(0o755)
    for path in (Path(__file__).parent / "programs").glob("*.py"):
        shutil.copyfile(path, folder / path.name)
        (folder / path.name).chmod(0o644)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sandbox(report, programs):
    """One launcher for most tests; each run is a sandbox of its own."""
    with bench(programs) as one:
        yield one


@pytest.fixture
def own_sandbox(report, programs):
    """A launcher that the test may break; called with changes to the configuration."""
    with contextlib.ExitStack() as stack:
        yield lambda **changes: stack.enter_context(bench(programs, **changes))


@pytest.fixture(scope="session")
def confined(programs):
    """A launcher whose sandboxes have no namespaces."""
    found = probe(SandboxConfig(backend="landlock"))
    if found.tier is None:
        pytest.skip(f"this host has no Landlock: {found.reasons('en')}")
    with bench(programs, backend="landlock") as one:
        yield one


@pytest.fixture
def canary_file():
    """A file that everyone on the host can read."""
    folder = Path(tempfile.mkdtemp(prefix="trustspace-canary-"))
    folder.chmod(0o755)
    path = folder / "canary.txt"
    path.write_text("a patient's name", encoding="utf-8")
    path.chmod(0o644)
    yield path
    shutil.rmtree(folder)
