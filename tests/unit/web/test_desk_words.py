"""Every text of the desk stands in both languages, with the same places, and each is used."""

import re
from pathlib import Path
from typing import get_args

import trustspace.web
from trustspace.cli.i18n import catalogue
from trustspace.cli.words import _WORDS
from trustspace.client.review import REASONS
from trustspace.domain.bodies import EvidenceKind, JobKind
from trustspace.domain.states import JOB_STATES
from trustspace.web.drafts import CHOICES
from trustspace.web.words import TERMS, WORDS, term, words

ROOM = Path(trustspace.web.__file__).parent
SOURCE = "\n".join(
    p.read_text(encoding="utf-8")
    for p in (*ROOM.rglob("*.html"), *ROOM.glob("*.py"))
    if not p.name.startswith("words")
)
ENDS = ("green", "amber", "red", "attention", "calm", "lapsed", "hidden", "")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_each_text_has_the_same_places_in_both_languages():
    for key, text in {**WORDS, **{f"{g}.{k}": t for g, ts in TERMS.items() for k, t in ts.items()}}.items():
        places = {language: set(re.findall(r"\{(\w+)\}", text[language])) for language in ("en", "zh")}
        assert places["en"] == places["zh"], key
        assert CHINESE.search(text["zh"]) or key in {"language", "signed_in", "spending_of", "unit_count"}, (
            key
        )
        assert not CHINESE.search(text["en"]) or key == "language", key


def test_no_text_is_missing_and_none_is_left_over():
    named = set(re.findall(r'(?:\bt|words)\(\s*"(\w+)"(?=[,)])', SOURCE)) | set(
        re.findall(r'(?<!-)key="(\w+)"', SOURCE)
    )
    named |= set(re.findall(r'FormError\(\s*"(\w+)"', SOURCE)) | set(
        re.findall(r'_bare\(\w+(?:\.\w+)?, "(\w+)"', SOURCE)
    )
    named |= set(re.findall(r'_bare\(\d+, "(\w+)"', SOURCE))
    assert named - set(WORDS) == set()
    made = set(re.findall(r'\bt\("(\w+_)" ~', SOURCE))  # a beginning, to which a status or a choice is joined
    joined = {m + end for m in made for end in (*ENDS, *CHOICES)}
    left = {k for k in WORDS if k not in named | joined and f'"{k}"' not in SOURCE}
    assert left == set()


def test_every_word_of_the_protocol_has_one():
    assert set(JOB_STATES) <= set(TERMS["state"])
    assert set(get_args(JobKind)) == set(TERMS["kind"])
    assert set(REASONS) == set(TERMS["reason"])
    assert "software" in get_args(EvidenceKind)
    for decision in ("approve", "changes", "reject", "lapsed", "hidden", ""):
        assert f"decided_{decision}" in WORDS


def test_the_desk_and_the_command_line_call_a_thing_one_name():
    chinese = catalogue()
    for group in ("state", "kind", "reason"):
        for key, said in _WORDS[group].items():
            if key in TERMS[group]:
                assert TERMS[group][key] == {"en": said, "zh": chinese[said]}, f"{group}.{key}"


def test_what_is_not_known_is_shown_as_it_is():
    assert term("state", "<b>", "zh") == "<b>"
    assert words("queue_count", "zh", count=7) == "共 7 项"
