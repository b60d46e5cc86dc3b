"""Nothing that a person may read exists in English only."""

import re
import unicodedata

from cli_texts import all_texts, error_texts, help_texts, report, spoken_texts

from trustspace.cli.i18n import catalogue

# Expressions that hand on a text which stands, and is collected, elsewhere.
HANDED_ON = {
    "context['message']",
    "context['fix']",
    "shown",
    "problems_of(error, JobFile)",
    "error.message",
    "error.fix",
}
FIELDS = re.compile(r"\{(\w+)\}")
# The same in both languages.
SAME = re.compile(r"[\W\d_]*(\{\w+\}[\W\d_]*)*")


def test_the_collector_sees_the_kinds_of_texts_that_there_are():
    errors, _unresolved = error_texts()
    assert "There is no party in {home}." in errors  # a message
    assert "Run `trustspace party new` first." in errors  # its fix
    assert "Add it. For example: {example}" in errors  # put together from two
    assert "Name each class once." in errors  # a rule between fields of a job file
    assert "{name} (you)" in spoken_texts()
    assert "Print the JSON Schema of a job file." in help_texts()
    assert "Do not ask." in help_texts()


def test_every_error_text_can_be_read_from_the_source():
    _found, unresolved = error_texts()
    unknown = [entry for entry in unresolved if entry.partition(": ")[2] not in HANDED_ON]
    assert not unknown, "write these messages as constants, so that they can be translated"


TEXTS = all_texts()


def test_every_text_has_a_chinese_translation():
    missing = [f"{where}: {text!r}" for text, where in TEXTS.items() if text not in catalogue()]
    assert not missing, "add them to src/trustspace/cli/zh.json:\n" + "\n".join(missing)


def test_translations_fill_the_same_places_and_are_chinese():
    wrong = []
    for text, where in TEXTS.items():
        translated = catalogue().get(text, text)
        chinese = any(unicodedata.east_asian_width(character) == "W" for character in translated)
        if set(FIELDS.findall(translated)) != set(FIELDS.findall(text)) or not (
            chinese or SAME.fullmatch(text)
        ):
            wrong.append(f"{where}: {text!r}")
    assert not wrong


def test_the_catalogue_holds_nothing_in_vain():
    _missing, stale = report()
    assert not stale


def test_translations_are_safe_for_a_terminal_and_well_set():
    for text, translated in catalogue().items():
        assert not any(unicodedata.category(c) in ("Cf", "Co", "Cs") for c in translated), text
        assert not re.search(r"[\u4e00-\u9fff][,;:?!]", translated), translated
        assert translated.strip(" \n") or not text.strip(), text
