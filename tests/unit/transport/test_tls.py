"""Certificates say who is connected, in the authority's words and never in the caller's."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from trustspace.errors import InvalidInput, Unauthenticated
from trustspace.transport.tls import (
    Caller,
    caller_of,
    issue,
    new_authority,
    new_key,
    new_request,
    self_signed,
)

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
KEY = new_key()
AUTHORITY = new_authority("test", KEY, NOW)
CALLER = Caller("ab" * 32, "enclave", "cd" * 32)


def test_a_certificate_says_what_the_authority_says():
    assert caller_of(issue(new_request(new_key()), CALLER, AUTHORITY, KEY, NOW)) == CALLER


def test_what_a_request_says_of_itself_is_not_copied():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ff" * 32)])
    extension = x509.BasicConstraints(ca=True, path_length=None)
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(name).add_extension(extension, critical=True)
        .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )  # fmt: skip
    made = issue(request, CALLER, AUTHORITY, KEY, NOW)
    assert caller_of(made) == CALLER
    basic = x509.load_pem_x509_certificate(made).extensions.get_extension_for_class(x509.BasicConstraints)
    assert not basic.value.ca


def test_a_request_is_signed_by_its_own_key():
    one, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    data = bytearray(
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(one, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )  # fmt: skip
    stolen = other.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    own = one.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    swapped = bytes(data).replace(own, stolen)
    assert swapped != bytes(data)
    pem = x509.load_der_x509_csr(swapped).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(InvalidInput, match="own key"):
        issue(pem, CALLER, AUTHORITY, KEY, NOW)


@pytest.mark.parametrize(
    "request_pem",
    [b"", b"x", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"],
)
def test_what_is_no_request_is_refused(request_pem):
    with pytest.raises(InvalidInput):
        issue(request_pem, CALLER, AUTHORITY, KEY, NOW)


def test_a_request_for_another_kind_of_key_is_refused():
    key = ed25519.Ed25519PrivateKey.generate()
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, None)
        .public_bytes(serialization.Encoding.PEM)
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="elliptic"):
        issue(request, CALLER, AUTHORITY, KEY, NOW)


def test_a_certificate_that_names_nobody_or_two_is_nobodys():
    key = ec.generate_private_key(ec.SECP256R1())

    def certificate(*names):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n) for n in names])
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        )
        builder = (
            builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=1))
        )
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    assert caller_of(certificate("ab" * 32)).party == "ab" * 32
    for names in ((), ("ab" * 32, "cd" * 32)):
        with pytest.raises(Unauthenticated):
            caller_of(certificate(*names))


def test_certificates_end():
    for pem, days in ((AUTHORITY, 3650), (self_signed("x", KEY, NOW), 825)):
        found = x509.load_pem_x509_certificate(pem)
        assert found.not_valid_before_utc <= NOW
        assert found.not_valid_after_utc == NOW + datetime.timedelta(days=days)


def test_hosts_are_names_or_addresses():
    found = x509.load_pem_x509_certificate(self_signed("x", KEY, NOW, ("127.0.0.1", "::1", "space.example")))
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["space.example"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
