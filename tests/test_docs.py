"""The documentation keeps up with the source: what is drawn is fresh, what is linked exists, what is typed parses."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

from trustspace.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if path.name != "CHANGELOG.md"
)
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(text: str, language: str = "sh") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def section(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def bullets(text: str) -> list[str]:
    return [
        " ".join(item.split())
        for item in re.findall(r"^- (.*?)(?=^- |^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    ]


def test_what_is_drawn_from_the_source_is_fresh():
    writer = tool("write_docs")
    for page in writer.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert "<!-- drawn:" in text, page
        assert writer.redraw(text) == text, f"{page}: run tools/write_docs.py"


def test_a_stale_page_would_be_noticed():
    writer = tool("write_docs")
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    stale = text.replace("submitted --> refused", "submitted --> granted")
    assert stale != text
    assert writer.redraw(stale) != stale


def test_the_limits_are_the_same_words_everywhere():
    model = bullets(section((ROOT / "docs/trust-model.md").read_text(encoding="utf-8"), "Limits"))
    readme = bullets(section(READMES[0].read_text(encoding="utf-8"), "Limits"))
    assert len(model) == 6
    assert readme[: len(model)] == model


def test_both_readmes_have_the_same_commands_and_the_same_shape():
    english, chinese = (path.read_text(encoding="utf-8") for path in READMES)
    first, *rest = blocks(english)
    first_zh, *rest_zh = blocks(chinese)
    assert rest == rest_zh
    assert [line.split("#")[0].strip() for line in first.splitlines()] == [
        line.split("#")[0].strip() for line in first_zh.splitlines()
    ]
    for mark in (r"^#+ ", r"^- ", r"^\d\. ", r"^\|", r"^\*\*\d"):
        counts = [len(re.findall(mark, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], mark


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor and found.suffix == ".md":
            heads = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{page.name}: {target}"


def commands(text: str) -> list[list[str]]:
    """Every call of trustspace in a page's shell blocks, as words."""
    found = []
    for block in blocks(text):
        joined = re.sub(r"\\\n\s*", " ", block)
        # What stands in $(...) is a call of its own.
        for line in [*joined.splitlines(), *re.findall(r"\$\((trustspace [^()]*)\)", joined)]:
            bare = re.sub(r"\$\([^()]*\)", "VALUE", line).split("  #")[0]
            for part in re.split(r"[;|&]| 2?>", bare):
                called = re.search(
                    r"(?:^|[ /(])trustspace ((?:--\w+ \S+ |--json )*[a-z]+ .*|doctor|demo)", part
                )
                if called:
                    found.append(shlex.split(called[1]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_types_is_what_the_command_line_takes(page):
    for words in commands(page.read_text(encoding="utf-8")):
        with cli.make_context("trustspace", list(words), resilient_parsing=True) as context:
            command, rest = cli, [*context._protected_args, *context.args]
        while isinstance(command, click.Group):
            name = rest.pop(0)
            assert name in command.commands, f"{page.name}: {' '.join(words)}"
            command = command.commands[name]
        command.make_context(name, rest).close()


def test_the_tutorial_really_has_commands():
    # A positive control for the test above: were nothing found, nothing would be checked.
    assert len(commands(READMES[0].read_text(encoding="utf-8"))) > 30
    with pytest.raises(click.UsageError):
        cli.commands["job"].commands["grant"].make_context("grant", ["abc", "--treshold", "2"])


@pytest.mark.parametrize("picture", sorted((ROOT / "docs/images").glob("*.svg")), ids=lambda path: path.name)
def test_pictures_are_well_formed_and_explain_themselves(picture):
    root = ElementTree.parse(picture).getroot()
    names = {child.tag.rpartition("}")[2] for child in root}
    assert {"title", "desc"} <= names
    assert "prefers-color-scheme: dark" in picture.read_text(encoding="utf-8")
