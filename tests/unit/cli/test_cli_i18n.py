"""Languages, templates, and text from others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.cli import i18n
from trustspace.cli.i18n import _, clean, clean_lines, explain, fill, from_locale
from trustspace.errors import InvalidInput, NotFound
from trustspace.jobs.spec import parse_job_file


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW.Big5"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LC_ALL": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        ({}, "en"),
    ],
)
def test_the_locale_chooses_the_language(environment, language):
    assert from_locale(environment) == language


def test_a_template_is_looked_up_before_its_details_are_filled_in():
    error = NotFound("There is no party in {home}.", fix="Run `trustspace party new` first.", home="/家")
    assert explain(error) == ("There is no party in /家.", "Run `trustspace party new` first.")
    i18n.use("zh")
    assert explain(error) == ("/家 中没有参与方。", "请先执行 `trustspace party new`。")


def test_words_of_ours_are_translated_in_details_and_names_of_somebodys_are_not():
    i18n.use("zh")
    ours = NotFound("There is no {what} at {path}.", what="invitation", path="invitation")
    assert explain(ours)[0] == "invitation 处没有邀请函。"


def test_what_the_catalogue_lacks_is_shown_in_english():
    i18n.use("zh")
    assert explain(InvalidInput("Quite new: {x}.", x=3)) == ("Quite new: 3.", "")


@pytest.mark.parametrize(
    "template", ["{x.__class__}", "{x!r}", "{x:>99999999}", "{}", "{0}", "{missing}", "{x", "{{x}}"]
)
def test_a_template_from_the_network_is_no_program(template):
    # str.format would read attributes, pad to any width or raise; nothing but plain names is filled in.
    shown = explain(InvalidInput(template, x="value"))[0]
    assert shown in (template, "{value}")


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_filling_never_fails(template, details):
    fill(template, details)


def test_control_characters_never_reach_a_terminal():
    hostile = "a\x1b[2J\u202eb\r\u200b\x9bc"
    for shown in (clean(hostile), _("{name} (you)", name=hostile), explain(InvalidInput(hostile))[0]):
        assert not any(character in shown for character in "\x1b\u202e\r\u200b\x9b")
        assert "\\u{1b}" in shown


def test_names_in_chinese_and_with_brackets_are_left_alone():
    assert clean("第一医院（东区） [bold]A[/bold]") == "第一医院（东区） [bold]A[/bold]"


@given(st.text())
def test_every_line_is_kept_whole(text):
    lines = clean_lines(text).split("\n")
    assert len(lines) == text.replace("\r\n", "\n").count("\n") + 1
    assert not any(character in line for line in lines for character in "\x1b\x00\u202e\r\t")


def test_long_lines_are_not_cut():
    # Code beyond a cut would run unread.
    assert clean_lines("é" * 9000) == "é" * 9000


def test_several_problems_of_a_job_file_are_translated_one_by_one():
    with pytest.raises(InvalidInput) as caught:
        parse_job_file('[job]\ntitle = 1\npurpose = "x"\nkind = "train"\n')
    i18n.use("zh")
    message, fix = explain(caught.value)
    lines = message.split("\n")
    assert lines[0].startswith("任务文件有 ")
    assert "  - job.title 必须是带引号的文本。例如：title = " in message
    assert fix == ""
    with pytest.raises(InvalidInput) as caught:
        parse_job_file("[[[")
    assert explain(caught.value)[0].startswith("任务文件不是有效的 TOML：")
