import pytest

from trustspace.cli import i18n
from trustspace.cli.main import run


@pytest.fixture(autouse=True)
def english(monkeypatch):
    """No setting of the person who runs the tests reaches them."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for name in ("TRUSTSPACE_HOME", "TRUSTSPACE_PASSPHRASE", "TRUSTSPACE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    i18n.use("en")
    yield
    i18n.use("en")


@pytest.fixture
def invoke(capsys):
    """Run a command line in this process; gives its exit code, standard output and standard error."""

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
