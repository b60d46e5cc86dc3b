"""What a key is sealed for: any changed field changes the bytes, and then it does not open."""

import itertools

import pytest
from support.cast import digest

from trustspace.crypto.seal import open_bytes, seal_bytes
from trustspace.crypto.wrap import OneTimeKey, seal_to
from trustspace.domain.binding import (
    artifact_context,
    code_binding,
    code_context,
    dataset_context,
    handover_binding,
    run_binding,
    share_binding,
)  # fmt: skip
from trustspace.errors import VerificationFailed

HONEST = {
    run_binding: {
        **{name: digest(name) for name in ("job", "grant", "offer", "dataset", "manifest", "code", "parameters",
                                           "evidence", "buyer_key")},
        "challenges": (digest("one"), digest("two")),
    },
    code_binding: {
        **{name: digest(name) for name in ("job", "offer", "code", "commitment", "parameters", "evidence", "enclave")},
        "challenges": (digest("one"), digest("two")), "grants": (digest("a grant"), digest("b grant")),
    },
    share_binding: {name: digest(name) for name in ("job", "run", "source_unit", "reviewer")} | {"artifact": "model"},
    handover_binding: {name: digest(name) for name in ("output", "reviewer", "buyer_key")} | {"artifact": "model"},
}  # fmt: skip
FIELDS = [(function, field) for function, values in HONEST.items() for field in values]


def changes_of(field, value):
    if field == "grants":
        return [value[:1], (*value, digest("three")), ()]  # their order says nothing
    if field == "challenges":
        return [value[::-1], value[:1], (*value, digest("three")), ()]
    return [digest("other"), "", value[:-1]]


@pytest.mark.parametrize(("function", "field"), FIELDS, ids=lambda x: getattr(x, "__name__", x))
def test_a_key_opens_for_what_it_was_sealed_for_and_for_nothing_else(function, field):
    honest = HONEST[function]
    key = OneTimeKey.generate()
    sealed = seal_to(key.public, b"a data key", function(**honest))
    assert key.open(sealed, function(**honest)) == b"a data key"
    for changed in changes_of(field, honest[field]):
        with pytest.raises(VerificationFailed):
            key.open(sealed, function(**{**honest, field: changed}))


def test_no_two_fields_can_be_mistaken_for_each_other():
    """Moving a value from one field to another is a change, too."""
    for function, honest in HONEST.items():
        plain = [name for name, value in honest.items() if isinstance(value, str)]
        seen = {function(**honest)}
        for one, other in itertools.combinations(plain, 2):
            seen.add(function(**{**honest, one: honest[other], other: honest[one]}))
        assert len(seen) == 1 + len(list(itertools.combinations(plain, 2)))


def test_a_binding_of_one_kind_is_none_of_another():
    bindings = [function(**honest) for function, honest in HONEST.items()]
    assert len({b.split(b"\n")[0] for b in bindings}) == len(bindings)


def test_a_destroyed_run_key_opens_nothing():
    key, info = OneTimeKey.generate(), run_binding(**HONEST[run_binding])
    sealed = seal_to(key.public, b"a data key", info)
    assert key.open(sealed, info) == b"a data key"
    key.destroy()
    with pytest.raises(Exception, match="key"):
        key.open(sealed, info)


@pytest.mark.parametrize(
    ("honest", "others"),
    [
        (dataset_context("u1", "cytology", 1),
         [dataset_context("u2", "cytology", 1), dataset_context("u1", "x-ray", 1), dataset_context("u1", "cytology", 2)]),
        (artifact_context("j1", "o1", "model"),
         [artifact_context("j2", "o1", "model"), artifact_context("j1", "o2", "model"), artifact_context("j1", "o1", "log"),
          dataset_context("u1", "model", 1)]),
        (code_context("d1", "c1"), [code_context("d2", "c1"), code_context("d1", "c2"), dataset_context("d1", "c1", 1)]),
    ],
)  # fmt: skip
def test_ciphertext_opens_only_in_its_own_context(honest, others):
    sealed = seal_bytes(b"k" * 32, honest, b"content")
    assert open_bytes(b"k" * 32, honest, sealed) == b"content"
    for other in others:
        with pytest.raises(VerificationFailed):
            open_bytes(b"k" * 32, other, sealed)
