"""What leaves the command line: one document for programs, harmless text for people."""

import io
import json
import os
import subprocess
import sys

import pytest
from rich.cells import cell_len

from trustspace.cli import main as main_module
from trustspace.cli.output import Declined, Output
from trustspace.errors import BY_CODE, CATALOGUE, InvalidInput, NotFound

HOSTILE = "[bold red]x[/bold red]\x1b[31m\u202e:smile:"


@pytest.fixture
def answering(monkeypatch):
    def answer(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return answer


def test_for_programs_there_is_one_document_and_nothing_else(capsys):
    out = Output(as_json=True)
    out.say("text")
    out.heading("text")
    out.fields([("a", "b")])
    out.table(("a",), [("b",)])
    with out.progress({}) as report:
        report("seal", 1, 2)
    out.document({"名称": "盲盒"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"名称": "盲盒"}
    assert captured.out.count("\n") == 1
    assert captured.err == ""


def test_a_document_holds_nothing_that_a_terminal_acts_on(capsys):
    value = {"title": HOSTILE + "\x7f\x9b\ud800\u2066"}
    Output(as_json=True).document(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert all(character.isprintable() for character in printed.rstrip("\n"))


def test_for_people_there_is_no_document(capsys):
    out = Output(as_json=False)
    out.document({"a": 1})
    out.table(("列", "B"), [("第一医院", "2"), ("x", "y")])
    assert capsys.readouterr().out.splitlines() == [
        "列         B",
        "────────────",
        "第一医院   2",
        "x          y",
    ]


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_error_has_its_exit_code_and_form(capsys, code):
    error = BY_CODE[code]("Broken: {what}.", fix="Mend {what}.", what="it")
    assert Output(as_json=True).error(error) == CATALOGUE[code].exit_code
    captured = capsys.readouterr()
    expected = {"code": str(code), "message": "Broken: it.", "fix": "Mend it."}
    assert json.loads(captured.out) == {"error": expected}
    assert captured.err == ""
    assert Output(as_json=False).error(error) == CATALOGUE[code].exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error: Broken: it.\nWhat to do: Mend it.\n"


def test_an_error_after_the_document_goes_to_standard_error(capsys):
    # A server has said its ready line already.
    out = Output(as_json=True)
    out.document({"listen": "127.0.0.1:1"})
    out.error(NotFound("Gone."))
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"listen": "127.0.0.1:1"}
    assert "Gone." in captured.err


def test_untrusted_text_is_shown_as_text(capsys):
    out = Output(as_json=False)
    out.table((HOSTILE,), [(HOSTILE,)])
    out.fields([(HOSTILE, HOSTILE)])
    out.block(HOSTILE)
    shown = capsys.readouterr().out
    # Neither markup nor emoji codes nor control characters do anything.
    assert shown.count("[bold red]x[/bold red]") == 5
    assert shown.count(":smile:") == 5
    assert "\x1b" not in shown
    assert "\u202e" not in shown


class Wide(io.StringIO):
    """A terminal that somebody looks at; how wide it is, the environment says."""

    encoding, errors = "utf-8", "strict"

    def isatty(self):
        return True


@pytest.mark.parametrize("show", ["block", "report"])
@pytest.mark.parametrize(
    "text", ["." * 36 + "Verdict: GREEN", "    " + "批" * 20, "short", "", " " * 90 + "x"]
)
def test_on_a_terminal_text_of_others_never_begins_a_line_of_ours(monkeypatch, show, text):
    stream = Wide()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("COLUMNS", "40")
    getattr(Output(as_json=False), show)(f"    {text}")
    lines = stream.getvalue().splitlines()
    assert all(cell_len(line) <= 40 for line in lines)
    assert all(line.startswith("    ") for line in lines if line)
    assert "".join("".join(lines).split()) == text.replace(" ", ""), "nothing is cut away"


def test_elsewhere_lines_stay_whole(capsys):
    Output(as_json=False).block("." * 500)
    assert capsys.readouterr().out == "    " + "." * 500 + "\n"


def test_a_line_of_ours_to_be_copied_stays_whole_on_a_terminal(monkeypatch):
    stream = Wide()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("COLUMNS", "40")
    Output(as_json=False).block("." * 100, fold=False)
    assert stream.getvalue() == "    " + "." * 100 + "\n"


def test_rich_alone_would_have_obeyed(capsys):
    # The positive control: printed carelessly, the same text loses its markup and turns its emoji.
    from rich.console import Console

    Console(file=sys.stdout, force_terminal=False).print(HOSTILE)
    assert "[bold red]" not in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["y\n", "YES\n", "是\n", " y \n", "y"])
def test_yes_goes_on(answering, answer):
    answering(answer)
    Output(as_json=False).ask("Sure?", yes=False)


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "maybe\n", "yy\n", "否\n"])
def test_anything_else_stops(answering, answer):
    answering(answer)
    with pytest.raises(Declined):
        Output(as_json=False).ask("Sure?", yes=False)


def test_yes_beforehand_asks_nothing(answering, capsys):
    answering("n\n")
    Output(as_json=False).ask("Sure?", yes=True)
    assert capsys.readouterr().out == ""


def test_programs_cannot_be_asked(answering):
    answering("y\n")
    with pytest.raises(InvalidInput, match="--yes"):
        Output(as_json=True).ask("Sure?", yes=False)


def test_progress_is_drawn_on_a_terminal_only(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Output(as_json=False).progress({"seal": "Sealing", "upload": "Uploading"}) as report:
        report("seal", 5, 10)
        report("upload", 10, 10)
    assert "Sealing" in terminal.getvalue()
    assert "Uploading" in terminal.getvalue()
    assert capsys.readouterr().out == ""


# -- the whole command line


def test_an_unexpected_exception_is_one_line_without_a_traceback(invoke, monkeypatch, tmp_path):
    def fail(*_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("trustspace.space.home.SpaceHome.__init__", fail)
    code, out, err = invoke("--home", tmp_path, "space", "show")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "Error: Something went wrong inside trustspace (ZeroDivisionError).",
        "What to do: Run it again with TRUSTSPACE_DEBUG=1 to see where, and report that.",
    ]
    code, out, err = invoke("--home", tmp_path, "--json", "space", "show")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "internal"
    monkeypatch.setenv("TRUSTSPACE_DEBUG", "1")
    code, out, err = invoke("--home", tmp_path, "space", "show")
    assert "Traceback" in err
    assert "secret detail" in err


@pytest.mark.parametrize(
    ("error", "code"), [(FileNotFoundError, 6), (PermissionError, 5), (IsADirectoryError, 12)]
)
def test_files_that_cannot_be_used_are_named(invoke, monkeypatch, tmp_path, error, code):
    def fail(*_):
        raise error(21, "x", "名单.csv")

    monkeypatch.setattr("trustspace.space.home.SpaceHome.__init__", fail)
    got, _out, err = invoke("--home", tmp_path, "space", "show")
    assert got == code
    assert "名单.csv" in err


@pytest.mark.parametrize("error", [KeyboardInterrupt, EOFError])
def test_interrupted(invoke, monkeypatch, tmp_path, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("trustspace.space.home.SpaceHome.__init__", fail)
    code, out, _err = invoke("--home", tmp_path, "space", "show")
    assert (code, out) == (main_module.INTERRUPTED, "")


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "trustspace", "job", "schema"], stdout=write, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


def test_a_terminal_that_cannot_show_a_character_gets_its_number():
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "trustspace", "--lang", "zh", "--json", "job"]
    done = subprocess.run([*command, "x"], capture_output=True, text=True, check=False, env=environment)
    assert json.loads(done.stdout)["error"]["message"] == "没有命令 x。"
    done = subprocess.run(
        [*command[:-2], "job", "x"], capture_output=True, text=True, check=False, env=environment
    )
    assert "\\u6ca1" in done.stderr
    assert "Traceback" not in done.stderr
