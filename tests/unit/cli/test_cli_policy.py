"""The policy file: what it prints is what it reads, and what cannot be meant is refused where it stands."""

import json
import tomllib

import pytest

from trustspace.cli import i18n
from trustspace.cli.policy_file import FORMAT, parse, policy_document, policy_rows, render
from trustspace.client import datasets
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.domain.bodies import Policy
from trustspace.errors import InvalidInput, Unavailable
from trustspace.evidence.words_policy import MEANINGS, POLICY, SECTIONS, in_words
from trustspace.evidence.words_policy import policy_rows as in_both

HEAD = f'format = "{FORMAT}"\n'
STRICT = Policy(
    custom_code="refuse", reviewers=2, reexecution="skip", auc_warned_permille=550, minimum_cell_count=0,
    privacy_millis=2**53 - 1, not_applicable=("references", "withheld_metrics:statistics"),
)  # fmt: skip


@pytest.fixture(params=["en", "zh"])
def spoken(request):
    i18n.use(request.param)
    yield request.param
    i18n.use("en")


def test_every_field_has_words_in_both_languages():
    fields = set(Policy.model_fields)
    assert set(POLICY) == set(MEANINGS) == fields
    listed = [field for _, group in SECTIONS for field in group]
    assert sorted(listed) == sorted(fields)
    for words in (*POLICY.values(), *MEANINGS.values(), *(heading for heading, _ in SECTIONS)):
        assert words["en"].strip()
        assert any("\u4e00" <= letter <= "\u9fff" for letter in words["zh"])
    for policy in (DEFAULT_POLICY, STRICT):
        for field in fields:
            for language in ("en", "zh"):
                assert in_words(policy, field, language)
                assert "{" not in in_words(policy, field, language)


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, STRICT, Policy()])
def test_what_is_printed_is_what_is_read(spoken, policy):
    text = render(policy, DEFAULT_POLICY)
    assert parse(text, DEFAULT_POLICY) == policy
    values = tomllib.loads(text)
    assert set(values) == {"format", *Policy.model_fields}
    # Every field is explained: some comment stands right above it.
    lines = text.splitlines()
    for field in Policy.model_fields:
        (place,) = [n for n, line in enumerate(lines) if line.startswith(f"{field} =")]
        assert lines[place - 1].startswith("# ")
        assert lines[place - 2].startswith("# ")
    assert max(map(len, lines)) <= 102


def test_what_is_left_out_is_as_by_default():
    assert parse(HEAD, DEFAULT_POLICY) == DEFAULT_POLICY
    found = parse(HEAD + "reviewers = 2\n", DEFAULT_POLICY)
    assert found == DEFAULT_POLICY.model_copy(update={"reviewers": 2})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "format"), ('format = "trustspace-policy-v2"', "format"), (HEAD + "\nreviewers = ", "Line 3"),
        (HEAD + "reviewers = 1\nreviewers = 2", "Line 3"), (HEAD + "reviewers = 3", "1 to 2 (line 2)"),
        (HEAD + "# two\nreviewers = 2.0", "(line 3)"), (HEAD + 'reviewers = "2"', "(line 2)"),
        (HEAD + "reviewers = true", "(line 2)"), (HEAD + "\n\nreviewer = 2", "(line 4)"),
        (HEAD + "[models]\nreviewers = 2", "models (line 2)"), (HEAD + "reviewers.count = 2", "1 to 2 (line 2)"),
        (HEAD + 'custom_code = "maybe"', "accept, refuse (line 2)"), (HEAD + "custom_code = true", "(line 2)"),
        (HEAD + 'custom_code = ["accept"]', "accept, refuse (line 2)"),
        (HEAD + "minimum_cell_count = -1", "from 0 to"), (HEAD + "privacy_millis = 9007199254740992", "(line 2)"),
        (HEAD + 'not_applicable = "references"', "a list"), (HEAD + "not_applicable = [1]", "a list"),
        (HEAD + 'not_applicable = ["referenzes"]', "referenzes"),
        (HEAD + 'not_applicable = ["references:training"]', "references:training"),
        (HEAD + 'not_applicable = [":train"]', ":train"),
        (HEAD + "auc_failed_permille = 590", "auc_warned_permille is above auc_failed_permille (line 2)"),
        (HEAD + "tail_warned_permille = 300\ntail_failed_permille = 200", "(line 3)"),
        (HEAD + "audit_warned_millis = 5000", "audit_warned_millis"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_where_it_stands(text, says):
    with pytest.raises(InvalidInput) as caught:
        parse(text, DEFAULT_POLICY)
    message = caught.value.public_message
    assert says in message, message
    assert caught.value.fix


@pytest.mark.parametrize(
    ("text", "meant"),
    [("reviewer = 2", "reviewers"), ('not_applicable = ["referenzes"]', "references")],
)
def test_a_slip_is_answered_with_what_was_meant(text, meant):
    with pytest.raises(InvalidInput) as caught:
        parse(HEAD + text, DEFAULT_POLICY)
    assert caught.value.fix == "Did you mean {suggestion}?"
    assert caught.value.details["suggestion"] == meant


def test_a_policy_shows_what_is_not_as_by_default():
    assert [row.default for row in in_both(DEFAULT_POLICY, DEFAULT_POLICY, "en")] == [""] * len(POLICY)
    changed = dict(policy_rows(STRICT, only_changed=True))
    assert changed["People who must approve"] == "at least 2 (by default: at least 1)"
    assert "Reference trainings" not in changed
    # Blind code is own code: refusing the one refuses the other, whatever its field says.
    assert "Blind code" not in changed
    assert len(policy_rows(STRICT)) == len(POLICY)
    assert policy_document(DEFAULT_POLICY)["policy_changes"] == []
    assert set(policy_document(STRICT)["policy_changes"]) == {
        "custom_code", "reviewers", "reexecution", "auc_warned_permille", "minimum_cell_count", "privacy_millis",
        "not_applicable",
    }  # fmt: skip


@pytest.fixture
def submitted(invoke, tmp_path, monkeypatch):
    """Submit a small table with a policy file and these options; returns the policy that would be signed."""
    home, file, policy = tmp_path / "h", tmp_path / "table.csv", tmp_path / "policy.toml"
    invoke("--home", home, "party", "new", "--name", "A", "--role", "source-unit")
    file.write_text("\n".join(["size", *(str(n % 40) for n in range(200))]) + "\n", encoding="utf-8")
    found = []

    def submit(_home, _proposal, **options):
        found.append(options["policy"])
        raise Unavailable("The sealing would begin now.")

    monkeypatch.setattr(datasets, "submit", submit)

    def call(text, *options):
        policy.write_text(text, encoding="utf-8")
        given = ("--name", "d", "--title", "t", "--yes", "--policy", policy, *options)
        shown = invoke("--json", "--home", home, "dataset", "submit", file, *given)
        return found.pop() if found else shown

    return call


def test_a_dataset_is_submitted_with_a_policy_file(submitted):
    text = render(STRICT, DEFAULT_POLICY)
    assert submitted(text) == STRICT
    # What is given beside it overrides it, and nothing else of it.
    assert submitted(text, "--minimum-cell", "7") == STRICT.model_copy(update={"minimum_cell_count": 7})
    code, out, err = submitted(text, "--accept-blind-code")
    assert code == 2
    code, out, err = submitted(HEAD + "reviewers = 9")
    assert code == 2
    assert "line 2" in json.loads(out)["error"]["message"]


def test_the_command_prints_the_template(invoke, tmp_path):
    for language in ("en", "zh"):
        code, out, err = invoke("--lang", language, "--home", tmp_path / "none", "dataset", "policy")
        assert (code, err) == (0, "")
        i18n.use(language)
        assert out == render(DEFAULT_POLICY, DEFAULT_POLICY)
        i18n.use("en")
    code, out, _ = invoke("--json", "dataset", "policy")
    said = json.loads(out)
    assert parse(said["file"], DEFAULT_POLICY) == DEFAULT_POLICY
    assert said["policy"] == DEFAULT_POLICY.model_dump(mode="json")
