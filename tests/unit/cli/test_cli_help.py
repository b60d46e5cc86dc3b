"""Help pages and usage errors, in both languages."""

import json
import subprocess
import sys

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.cli import i18n
from trustspace.cli.help import display_width, wrap
from trustspace.cli.main import cli


def every_command(command=cli, path=()):
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from every_command(child, (*path, name))


@pytest.mark.parametrize("path", list(every_command()), ids=" ".join)
def test_every_command_has_help_in_both_languages(invoke, path):
    code, english, _ = invoke(*path, "--help")
    assert code == 0
    code, chinese, _ = invoke("--lang", "zh", *path, "--help")
    assert code == 0
    assert english.startswith("Usage: trustspace")
    assert chinese.startswith("用法：trustspace")
    # Nothing of the prose is left in English: every line that is not a term alone has Chinese in it.
    prose = [line for line in chinese.splitlines()[1:] if line.strip() and "--" not in line]
    described = [line for line in prose if display_width(line) > 40]
    assert all(display_width(line) != len(line) for line in described if "," not in line)


def test_the_fixed_command_line_is_there():
    lines = {" ".join(path) for path in every_command()}
    wanted = """
    space init|space serve|space invite|space show|space rebuild|party new|party enrol|party show|trust add|
    trust list|trust witness|enclave init|enclave adopt|enclave accept|enclave serve|enclave status|broker serve|
    dataset submit|dataset list|dataset show|dataset withdraw|job submit|job list|job show|job countersign|
    job grant|job refuse|job schema|review list|review show|review approve|review reject|release fetch|
    verify certificate|ledger verify|witness key|witness serve|doctor|demo"""
    assert {line.strip() for line in wanted.split("|")} <= lines


def test_help_needs_none_of_the_heavy_libraries():
    # What takes the time of a start: `trustspace --help` answers at once without them. gRPC would also start
    # threads before the enclave's launcher is forked.
    program = (
        "import sys; sys.argv=['trustspace','--help']\n"
        "from trustspace.cli.main import run\n"
        "assert run(['--help']) == 0 and run(['enclave', 'serve', '--help']) == 0\n"
        "import threading; assert threading.active_count() == 1\n"
        "heavy = {'grpc', 'pydantic', 'pyarrow', 'numpy', 'rich', 'cryptography', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_enclaves_command_imports_nothing_that_starts_threads_before_its_launcher():
    program = (
        "import sys, threading\n"
        "import trustspace.sandbox.launcher as launcher\n"
        "def start(config):\n"
        "    assert 'grpc' not in sys.modules and threading.active_count() == 1, 'too late'\n"
        "    raise SystemExit(77)\n"
        "launcher.Launcher.start = start\n"
        "from trustspace.cli.main import run\n"
        "run(['--home', sys.argv[1], 'enclave', 'serve'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "/nowhere"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 77, done.stderr


@pytest.mark.parametrize(
    ("arguments", "english", "chinese"),
    [
        (("datset",), "There is no command datset. Did you mean dataset?", "没有命令 datset。 您是否想输入 dataset？"),
        (("job", "show"), "ID is missing. See `trustspace job show --help`.", "缺少 ID。"),
        (("job", "show", "a", "b"), "There are more arguments than trustspace job show takes.", "给出的参数多于"),
        (("job", "grant", "a", "--runz"), "There is no option --runz. Did you mean --runs?", "没有选项 --runz。"),
        (("job", "grant", "a", "--runs", "0"), "--runs must be from 1 to 1000.", "--runs 须在 1 到 1000 之间。"),
        (("job", "grant", "a", "--runs"), "--runs needs a value.", "--runs 需要一个值。"),
        (("job", "grant", "a", "--tier", "no"), "--tier must be one of: any, ", "--tier 须为以下之一：any, "),
        (("dataset", "list", "--json"), "The option --json does not belong here.", "选项 --json 不应出现在此处。"),
        (("--lang", "fr", "job"), "--lang must be one of: en, zh.", "--lang 须为以下之一：en, zh。"),
        (("--json",), "A command is missing.", "缺少命令。"),
    ],
)  # fmt: skip
def test_usage_errors_are_ours_in_both_languages(invoke, monkeypatch, arguments, english, chinese):
    for language, text in (("C.UTF-8", english), ("zh_CN.UTF-8", chinese)):
        monkeypatch.setenv("LC_ALL", language)
        code, out, err = invoke(*arguments)
        assert code == 2
        said = json.loads(out)["error"]["message"] if out else err
        assert text in " ".join(said.replace("What to do: ", "").replace("解决办法：", "").split())


def test_an_error_before_the_language_is_parsed_is_in_that_language(invoke):
    _code, out, err = invoke("--lang", "zh", "--passphrase-file")
    assert not out
    assert err.startswith("错误：--passphrase-file 需要一个值。")


def test_a_bare_command_shows_its_help(invoke):
    for path in ((), ("job",)):
        code, out, err = invoke(*path)
        assert (code, err) == (0, "")
        assert out.startswith("Usage: trustspace")


def test_version(invoke):
    code, out, _err = invoke("--version")
    assert code == 0
    assert out.startswith("trustspace ")


@given(st.text(alphabet="ab 中文，。 xyz", max_size=200), st.integers(4, 40))
def test_wrapped_lines_fit_and_lose_nothing(text, width):
    lines = wrap(text, width)
    longest_word = max((display_width(word) for word in text.split()), default=0)
    # Closing punctuation hangs over rather than begin a line.
    hanging = 2 * max(len(text), 1) if "，" in text or "。" in text else 0
    assert all(display_width(line) <= max(width, longest_word) + hanging for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_chinese_lines_are_measured_by_columns():
    assert display_width("盲盒ab") == 6
    assert wrap("可信操作空间，数据不出域。", 12) == ["可信操作空间，", "数据不出域。"]


def test_options_say_what_they_need(invoke):
    _code, out, _err = invoke("space", "init", "--help")
    assert "[required]" in out
    assert "[default: 127.0.0.1:7443]" in " ".join(out.split())
    assert isinstance(cli, click.Group)
    assert i18n.language() == "en"
