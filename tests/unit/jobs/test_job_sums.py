"""The section [sums] of a job file: what is chosen, what is signed, and what is said where it cannot be."""

import pytest
from test_job_joint_spec import JOINT, SECOND, STATISTICS
from test_job_spec import COMPUTE, TRAIN, check_message

from trustspace.domain.bodies import SumTerms
from trustspace.jobs.agreement import sum_terms
from trustspace.jobs.messages import InvalidJobFile
from trustspace.jobs.spec import Parameters, parse_job_file

TERMS = "[terms]\nminimum_participants = 2\n"
# Four source units, all of which are needed if nothing is said.
FOUR = JOINT.replace(TERMS, "")


def signed(text):
    return parse_job_file(text).parameters()


def with_sums(lines, text=FOUR):
    return text + "[sums]\n" + lines


@pytest.mark.parametrize(
    ("lines", "minimum", "scheme", "needed"),
    [
        ("", 4, "pairwise-masks-v1", 0),
        ('scheme = "lattice-s"', 4, "lattice-sum-s-v1", 0),
        ('scheme = "lattice-l"', 4, "lattice-sum-l-v1", 0),
        ('scheme = "pairwise-masks"', 4, "pairwise-masks-v1", 0),
        ("dropouts = 1", 3, "lattice-sum-l-v1", 3),
        ('dropouts = 1\nscheme = "lattice-s"', 3, "lattice-sum-s-v1", 3),
        ("dropouts = 1\ncheats = 1", 3, "lattice-sum-l-v1", 3),
        ('opened_by = "members"', 4, "pairwise-masks-v1", 0),
    ],
)
def test_what_a_section_means(lines, minimum, scheme, needed):
    parameters = signed(with_sums(lines))
    assert parameters.terms.minimum_participants == minimum
    assert sum_terms(parameters) == SumTerms(scheme=scheme, needed=needed)
    # Written out, and read again by everybody with the same result.
    again = Parameters.from_json(parameters.to_json())
    assert again.to_json() == parameters.to_json()
    assert sum_terms(again) == sum_terms(parameters)


@pytest.mark.parametrize("text", [FOUR, SECOND])
def test_without_a_section_the_platform_chooses(text):
    parameters = signed(text)
    assert parameters.sums is not None
    assert parameters.to_json()["sums"] == {
        "scheme": "auto", "dropouts": 0, "cheats": 0, "opened_by": "members",
    }  # fmt: skip
    assert sum_terms(parameters).scheme == "pairwise-masks-v1"


@pytest.mark.parametrize("text", [TRAIN, STATISTICS, COMPUTE])
def test_where_nothing_is_added_up_nothing_is_said(text):
    parameters = signed(text)
    assert parameters.sums is None
    assert "sums" not in parameters.to_json()
    assert sum_terms(parameters) is None


def test_a_minimum_that_is_said_stays():
    assert signed(FOUR + TERMS + "[sums]\ndropouts = 1\n").terms.minimum_participants == 2


@pytest.mark.parametrize(
    ("text", "new", "message", "fix"),
    [
        (FOUR, 'scheme = "paillier"', "sums.scheme must be one of: auto", "lattice-l"),
        (FOUR, "scheme = 1", "sums.scheme must be", "lattice-l"),
        (FOUR, "dropout = 1", "sums.dropout is not a field", "Did you mean sums.dropouts?"),
        (FOUR, "dropouts = -1", "sums.dropouts must be from 0 to 127", "dropouts = 1"),
        (FOUR, "dropouts = 128", "sums.dropouts must be from 0 to 127", "dropouts = 1"),
        (FOUR, "dropouts = true", "sums.dropouts must be a whole number", "dropouts = 1"),
        (FOUR, 'dropouts = "1"', "sums.dropouts must be a whole number", "dropouts = 1"),
        (FOUR, "cheats = 0.5", "sums.cheats must be a whole number", "cheats = 1"),
        (FOUR, 'opened_by = "developer"', "sums.opened_by must be", "members"),
        (FOUR, "cheats = 1", "sums.cheats matters only where", "Remove it"),
        (FOUR, "dropouts = 2", "sums.dropouts would let two groups", "1 at most may be lost"),
        (FOUR, "dropouts = 1\ncheats = 2", "sums.dropouts would let two groups", "0 at most may be lost"),
        (
            FOUR,
            'dropouts = 1\nscheme = "pairwise-masks"',
            "sums.dropouts asks for sums that survive",
            'choose "lattice-l"',
        ),
        (
            FOUR + "[terms]\nminimum_participants = 4\n",
            "dropouts = 1",
            "terms.minimum_participants leaves no room",
            "Lower it to 3",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_fix(text, new, message, fix):
    check_message(text + "[sums]\n", "[sums]\n", f"[sums]\n{new}\n", message, fix)


@pytest.mark.parametrize("text", [TRAIN, STATISTICS])
def test_sums_belong_to_several_source_units(text):
    first = text.index("[[datasets]]")
    with pytest.raises(InvalidJobFile) as refused:
        parse_job_file(text[:first] + "[sums]\n" + text[first:])
    assert "[sums] belongs to jobs that add up over several source units" in refused.value.public_message
    assert "Remove it, or name more datasets." in refused.value.public_message
