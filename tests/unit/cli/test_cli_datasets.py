"""What an officer is shown before anything becomes public, and how datasets are named."""

import json
from types import SimpleNamespace

import pytest

from trustspace.cli import dataset as command
from trustspace.client import datasets
from trustspace.errors import InvalidInput, NotFound

UNIT, OTHER = "a" * 64, "b" * 64


def entry(name, version, statement, unit=UNIT):
    return {"dataset": name, "version": version, "statement": statement, "source_unit": unit}


LISTED = [
    entry("breast-cancer", 1, "11" * 32),
    entry("breast-cancer", 2, "12" * 32),
    entry("xray", 1, "33" * 32, OTHER),
    entry("xray", 1, "34" * 32),
    entry("beef", 1, "55" * 32),
]


@pytest.fixture
def home(monkeypatch):
    """A party that trusts what the space lists, so that only the naming is under test."""
    monkeypatch.setattr(datasets, "listing", lambda _home: LISTED)

    def proven(statement):
        found = next(d for d in LISTED if d["statement"] == statement)
        body = SimpleNamespace(dataset=found["dataset"], version=found["version"])
        return SimpleNamespace(statement=statement, source_unit=found["source_unit"], body=body)

    trust = SimpleNamespace(resolve=lambda name: {"医院": UNIT, "other": OTHER}.get(name, name))
    session = SimpleNamespace(dataset=proven)
    return SimpleNamespace(fingerprint=UNIT, session=session, trust=lambda: trust)


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("breast-cancer", "12" * 32), ("breast-cancer@1", "11" * 32), ("医院/xray", "34" * 32),
        ("other/xray@1", "33" * 32), ("11", "11" * 32), ("33" * 32, "33" * 32), ("BEEF", None), ("beef", "55" * 32),
    ],
)  # fmt: skip
def test_a_dataset_is_found_by_name_version_unit_or_digits(home, text, statement):
    if statement is None:
        with pytest.raises(NotFound):
            command.resolve(home, text)
    else:
        assert command.resolve(home, text).statement == statement


@pytest.mark.parametrize(
    ("text", "error"),
    [("xray", InvalidInput), ("1", InvalidInput), ("3", InvalidInput), ("nothing", NotFound), ("x@y", InvalidInput),
     ("breast-cancer@3", NotFound), ("", InvalidInput)],
)  # fmt: skip
def test_what_is_ambiguous_or_missing_is_said(home, text, error):
    with pytest.raises(error):
        command.resolve(home, text)


def test_ones_own_is_found_among_several_of_a_name(home):
    assert command.resolve(home, "xray", own=True).statement == "34" * 32
    with pytest.raises(NotFound):
        command.resolve(home, "33", own=True)


# -- the officer's look


@pytest.fixture
def officer(invoke, tmp_path, monkeypatch):
    """A source unit whose submissions stop where the sealing would begin."""
    home = tmp_path / "h"
    invoke("--home", home, "party", "new", "--name", "A", "--role", "source-unit", "--reviewer", "R")
    sealed = []
    monkeypatch.setattr(datasets, "submit", lambda *_a, **_k: sealed.append(1) or pytest.fail("sealed"))
    file = tmp_path / "检验 结果.csv"
    lines = ["patient,指标,group,visit"]
    lines += [f"p{i},{i % 50 + 10}.5,{'[bold]甲[/bold]' if i % 2 else '乙'},{i % 3}" for i in range(200)]
    lines += ["p200,99999.25,稀有病例,1"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return home, file


def test_the_officer_sees_exactly_what_becomes_public_and_is_asked(invoke, officer, monkeypatch):
    import io

    home, file = officer
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, _err = invoke(
        "--home",
        home,
        "dataset",
        "submit",
        file,
        "--name",
        "d",
        "--title",
        "检验[red]x",
        "--patient-column",
        "patient",
    )
    assert code == 1
    assert "Nothing was done." in out
    assert "检验[red]x" in out
    assert "[bold]甲[/bold], 乙, other" in out
    assert "at least 200" in out
    # A rare category and an extreme value belong to somebody.
    assert "稀有病例" not in out
    assert "99999" not in out
    assert "accepted, and flagged to the reviewer" in out
    code, out, _err = invoke("--home", home, "dataset", "submit", file, "--name", "d", "--title", "t",
                             "--patient-column", "patient", "--refuse-custom-code")  # fmt: skip
    row = next(line for line in out.splitlines() if line.startswith("Developers' own code"))
    assert row.endswith("refused (by default: accepted, and flagged to the reviewer)")
    row = next(line for line in out.splitlines() if line.startswith("Rows behind a shown count"))
    assert row.endswith("  at least 10")
    code, out, _err = invoke("--home", home, "--lang", "zh", "dataset", "submit", file, "--name", "d", "--title", "t",
                             "--patient-column", "patient", "--minimum-cell", "30")  # fmt: skip
    assert "所示计数的最少行数" in out
    assert "至少 30" in out


def test_programs_must_say_yes(invoke, officer):
    home, file = officer
    arguments = ("dataset", "submit", file, "--name", "d", "--title", "t", "--patient-column", "patient")
    code, out, _err = invoke("--home", home, "--json", *arguments)
    assert code == 2
    assert "--yes" in json.loads(out)["error"]["fix"]


def test_identifying_columns_are_refused_and_shown_when_allowed(invoke, officer, monkeypatch):
    import io

    home, file = officer
    text = file.read_text(encoding="utf-8").replace("visit", "手机号", 1)
    lines = [text.splitlines()[0]]
    lines += [line.rpartition(",")[0] + f",138{i:08d}" for i, line in enumerate(text.splitlines()[1:])]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ("dataset", "submit", file, "--name", "d", "--title", "t", "--patient-column", "patient")
    code, out, err = invoke("--home", home, *arguments)
    assert code == 9
    assert "手机号" in err
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, err = invoke("--home", home, "--lang", "zh", *arguments, "--allow", "手机号")
    assert code == 1
    assert "! 手机号：电话号码" in out
