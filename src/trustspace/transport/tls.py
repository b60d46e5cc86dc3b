"""X.509 for transport alone: who is connected, never what they may do.

ECDSA P-256, since that is what TLS stacks agree on. The subject's common name is a party's fingerprint,
its organisation says whether a client, an enclave or a reviewer's home speaks, its unit is the machine's own key.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trustspace.errors import InvalidInput, Unauthenticated

_BACKDATE = datetime.timedelta(minutes=10)
_FORWARD = datetime.timedelta(days=825)
_CA_FORWARD = datetime.timedelta(days=3650)


@dataclass(frozen=True)
class Caller:
    """Who a verified client certificate speaks for: a party (kind "client"), or a machine of it.

    A machine is an "enclave" or a "reviewer"'s own home; ``key`` is its signing key, and "" for the party itself.
    """

    party: str
    kind: str
    key: str


def new_key() -> bytes:
    """A fresh private key, PEM (PKCS #8)."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidInput("The transport key is not an elliptic-curve key.")
    return key


def _name(common: str, organisation: str = "", unit: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    if unit:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name(parts)


def _hosts(hosts: tuple[str, ...]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def new_authority(name: str, key_pem: bytes, now: datetime.datetime) -> bytes:
    """A space's certificate authority, PEM."""
    return _sign(_name(name[:64]), None, _load(key_pem), now, ca=True, hosts=())


def self_signed(common: str, key_pem: bytes, now: datetime.datetime, hosts: tuple[str, ...] = ()) -> bytes:
    """A certificate to be pinned as it is: an enclave's door, or its source unit's client."""
    return _sign(_name(common), None, _load(key_pem), now, ca=False, hosts=hosts)


def new_request(key_pem: bytes) -> bytes:
    """A certificate request, PEM. Its subject is empty: the authority writes it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(_load(key_pem), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def issue(
    request_pem: bytes,
    caller: Caller,
    authority_pem: bytes,
    authority_key_pem: bytes,
    now: datetime.datetime,
    hosts: tuple[str, ...] = (),
) -> bytes:
    """Certify a transport key for a caller.

    Raises:
        InvalidInput: the request is malformed or not signed by its own key.

    """
    try:
        request = x509.load_pem_x509_csr(request_pem)
        if not request.is_signature_valid:
            raise InvalidInput("The certificate request is not signed by its own key.")
        public = request.public_key()
    except (ValueError, InvalidSignature):
        raise InvalidInput("The certificate request is malformed.") from None
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise InvalidInput("The certificate request is not for an elliptic-curve key.")
    subject = _name(caller.party, caller.kind, caller.key)
    authority = x509.load_pem_x509_certificate(authority_pem)
    return _sign(subject, (authority, public), _load(authority_key_pem), now, ca=False, hosts=hosts)


def _sign(
    subject: x509.Name,
    issued_by: tuple[x509.Certificate, ec.EllipticCurvePublicKey] | None,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    *,
    ca: bool,
    hosts: tuple[str, ...],
) -> bytes:
    issuer = issued_by[0].subject if issued_by else subject
    public = issued_by[1] if issued_by else key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + (_CA_FORWARD if ca else _FORWARD))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if hosts:
        builder = builder.add_extension(_hosts(hosts), critical=False)
    if not ca:
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@lru_cache(maxsize=4096)
def caller_of(certificate_pem: bytes) -> Caller:
    """Read a caller out of a certificate that TLS has verified already."""
    subject = x509.load_pem_x509_certificate(certificate_pem).subject

    def only(oid: x509.ObjectIdentifier) -> str:
        values = subject.get_attributes_for_oid(oid)
        return str(values[0].value) if len(values) == 1 else ""

    caller = Caller(
        only(NameOID.COMMON_NAME), only(NameOID.ORGANIZATION_NAME), only(NameOID.ORGANIZATIONAL_UNIT_NAME)
    )
    if not caller.party:
        raise Unauthenticated("The client certificate names nobody.")
    return caller
