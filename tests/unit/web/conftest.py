"""One hospital whose desk has one output on it, made once for all tests of a module."""

import pytest
from support.enclaves import CODE, JOB
from support.story import Story
from support.visitor import MARKUP, Visitor

from trustspace.cli.i18n import catalogue

HOSTILE_JOB = JOB.replace('title = "Mean size by diagnosis"', f'title = "Mean size {MARKUP}"').replace(
    'purpose = "Planning a study."', 'purpose = "Planning\\n<svg onload=alert(3)> a study"'
)
HOSTILE_CODE = CODE.replace(
    'print("looked at"',
    'print("</p><svg/onload=alert(4)>\\u202e\\x1b[31m\\\\u{202e}")\n    print("looked at"',
)


@pytest.fixture(scope="session")
def story():
    """Dr Li alone may approve; the developer's title, purpose, code and log are hostile."""
    made = Story()
    made.until_review(text=HOSTILE_JOB, code=HOSTILE_CODE, reviewers=("Dr Li", "Dr Wang"), threshold=2)
    yield made
    made.close()


@pytest.fixture
def visitor(story):
    """A browser that Dr Li has let in."""
    return Visitor(story.hospital, "Dr Li", chinese=catalogue()).enter()
