"""Keys and encrypted numbers to and from phe, an implementation by others; skipped where it is not installed."""

import subprocess
import sys

import pytest
from support.paillier import private_key

from trustspace.aggregation.paillier import phe_adapter
from trustspace.aggregation.paillier.keys import PrivateKey
from trustspace.errors import InvalidInput, Unavailable, VerificationFailed

PRIVATE = private_key()
KEY = PRIVATE.public


@pytest.fixture(scope="module")
def phe():
    return pytest.importorskip("phe", reason="phe is not installed")


def test_our_keys_serve_phe(phe):
    public, private = phe_adapter.public_to_phe(KEY), phe_adapter.private_to_phe(PRIVATE)
    assert isinstance(public, phe.PaillierPublicKey)
    assert private.decrypt(public.encrypt(-12.5)) == -12.5
    assert phe_adapter.private_from_phe(private).factors() in (PRIVATE.factors(), PRIVATE.factors()[::-1])
    assert phe_adapter.public_from_phe(public).n == KEY.n


@pytest.mark.parametrize("value", [0, 1, -1, 2**40, -(2**900)])
def test_numbers_go_both_ways(phe, value):
    private = phe_adapter.private_to_phe(PRIVATE)
    number = phe_adapter.number_to_phe(KEY, KEY.encrypt(value))
    assert private.decrypt(number) == value
    ciphertext, exponent = phe_adapter.number_from_phe(KEY, private.public_key.encrypt(value))
    assert (PRIVATE.decrypt(ciphertext), exponent) == (value, 0)


def test_phe_calculates_with_our_numbers_and_we_with_its(phe):
    private = phe_adapter.private_to_phe(PRIVATE)
    ours = phe_adapter.number_to_phe(KEY, KEY.encrypt(10))
    assert private.decrypt(ours * 3 - 4.5 + private.public_key.encrypt(1)) == 26.5
    theirs = private.public_key.encrypt(2.75)
    ciphertext, exponent = phe_adapter.number_from_phe(KEY, theirs)
    total = KEY.add(KEY.multiply(ciphertext, -2), ciphertext)
    assert PRIVATE.decrypt(total) * 16.0**exponent == -2.75


def test_an_exponent_scales_by_16(phe):
    number = phe_adapter.number_to_phe(KEY, KEY.encrypt(5), exponent=-2)
    assert phe_adapter.private_to_phe(PRIVATE).decrypt(number) == 5 / 256


def test_phe_keys_serve_us(phe):
    public, private = phe.generate_paillier_keypair(n_length=2048)
    ours = phe_adapter.private_from_phe(private)
    key = phe_adapter.public_from_phe(public)
    assert isinstance(ours, PrivateKey)
    assert ours.decrypt(key.encrypt(-77)) == -77
    assert private.raw_decrypt(key.encrypt(78)) == 78
    assert PrivateKey.from_bytes(ours.to_bytes()) == ours


def test_what_goes_to_phe_is_not_handed_out_as_it_was(phe):
    ciphertext = KEY.encrypt(3)
    assert phe_adapter.number_to_phe(KEY, ciphertext).ciphertext() != ciphertext
    secret = 41
    bare = phe.EncryptedNumber(phe_adapter.public_to_phe(KEY), KEY.plain(secret), 0)
    found, _ = phe_adapter.number_from_phe(KEY, bare)
    assert found != KEY.plain(secret)
    assert PRIVATE.decrypt(found) == secret


def test_other_keys_are_refused(phe):
    other = phe_adapter.public_to_phe(private_key(3072).public)
    with pytest.raises(InvalidInput, match="another Paillier key"):
        phe_adapter.number_from_phe(KEY, other.encrypt(1))
    with pytest.raises(VerificationFailed):
        phe_adapter.number_to_phe(KEY, 0)
    small, _ = phe.generate_paillier_keypair(n_length=256)
    with pytest.raises(VerificationFailed, match="2048 or 3072"):
        phe_adapter.public_from_phe(small)


def test_without_phe_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "phe", None)
    with pytest.raises(Unavailable, match="trustspace\\[phe\\]"):
        phe_adapter.public_to_phe(KEY)


def test_nothing_else_imports_it():
    program = (
        "import sys; from trustspace.aggregation.paillier import keys, packing, proofs, scoring, phe_adapter; "
        "assert not {m for m in sys.modules if m.split('.')[0] == 'phe'}"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
