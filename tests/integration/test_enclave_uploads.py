"""Uploads at the enclave's door: every byte that its source unit signed, in order, once, or nothing at all."""

import datetime
import itertools
import os
import threading
from types import SimpleNamespace

import pytest
from support import processes
from support.enclaves import SimulatedEnclave, make_enclave, patients
from support.world import World, trio

from trustspace.client import datasets
from trustspace.client.enclaves import enclave_link, move, own_enclave
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.seal import CHUNK_BYTES, seal_bytes
from trustspace.crypto.statement import sign_statement
from trustspace.data.manifest import DatasetManifest, ManifestColumn
from trustspace.domain.bodies import DatasetWithdrawn
from trustspace.enclave.datasets import DatasetStore, manifest_digest
from trustspace.errors import (
    InvalidInput,
    InvalidTransition,
    NotFound,
    PermissionDenied,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.transport.channel import Identity, connect
from trustspace.transport.links import EnclaveLink
from trustspace.transport.tls import new_key, self_signed

CHUNK = CHUNK_BYTES + 16


class Sealed:
    """A sealed dataset of three chunks and a bit, as its source unit made it, and its signed manifest."""

    def __init__(self, home, number=1, plain=3 * CHUNK_BYTES + 1000, key="act", **changes):
        context = {
            "purpose": "dataset",
            "source_unit": home.fingerprint,
            "dataset": f"set-{number}",
            "version": 1,
        }
        content = os.urandom(plain)
        self.data = seal_bytes(os.urandom(32), context, content)
        self.header = len(self.data) - (plain + 16 * -(-plain // CHUNK_BYTES))
        values = {
            "dataset": f"set-{number}", "version": 1, "source_unit": home.fingerprint,
            "columns": (ManifestColumn(name="size", type="double"),), "plain_bytes": plain,
            "sealed_bytes": len(self.data), "chunk_count": -(-plain // CHUNK_BYTES),
            "header_digest": sha256_hex(self.data[: self.header]), "ciphertext_digest": sha256_hex(self.data), **changes,
        }  # fmt: skip
        self.manifest = DatasetManifest(**values)
        self.envelope = sign(home, canonical_json(self.manifest.to_json()), key)
        self.upload = manifest_digest(self.manifest)

    @property
    def chunks(self):
        """The header, then the sealed chunks."""
        rest = self.data[self.header :]
        return [self.data[: self.header], *(rest[i : i + CHUNK] for i in range(0, len(rest), CHUNK))]


def sign(home, payload, key="act"):
    name = home.key_name(key) if key in ("act", "grant", "broker") else key
    return sign_statement(payload, home.keys.public(name), lambda m: home.keys.sign(name, m)).to_bytes()


@pytest.fixture(scope="module")
def place():
    """One hospital with its enclave for the whole module; every upload is another dataset."""
    world = World()
    hospital, developer, _ = trio(world)
    enclave = make_enclave(world, hospital)
    numbers = itertools.count(1)
    yield SimpleNamespace(
        world=world, hospital=hospital, developer=developer, enclave=enclave,
        link=enclave_link(hospital, own_enclave(hospital, None)),
        sealed=lambda **changes: Sealed(hospital, next(numbers), **changes),
    )  # fmt: skip
    enclave.stop()
    world.close()


def send(link, upload, data, offset=0, piece=700_000):
    pieces = (data[i : i + piece] for i in range(0, len(data), piece))
    return [status.durable_bytes for status in link.upload(upload, offset, pieces)][-1]


def left(place, upload):
    """Whatever the enclave's disk holds of an upload."""
    folders = (place.enclave.path / "uploads", place.enclave.path / "datasets")
    return sorted(p.name for folder in folders for p in folder.iterdir() if p.name.startswith(upload))


def kept(place):
    return {(d["dataset"], d["version"]) for d in place.link.status()["datasets"]}


def test_what_was_signed_is_kept_whole(place):
    sealed = place.sealed()
    status = place.link.begin_upload(sealed.envelope)
    assert (status.upload, status.durable_bytes, status.complete) == (sealed.upload, 0, False)
    assert send(place.link, sealed.upload, sealed.data) == len(sealed.data)
    assert place.link.commit_upload(sealed.upload).complete
    assert left(place, sealed.upload) == [f"{sealed.upload}.json", f"{sealed.upload}.sealed"]
    assert (place.enclave.path / "datasets" / f"{sealed.upload}.sealed").read_bytes() == sealed.data
    assert (sealed.manifest.dataset, 1) in kept(place)
    # Once more is nothing new.
    assert place.link.begin_upload(sealed.envelope).complete
    assert place.link.commit_upload(sealed.upload).complete


def reordered(s, _):
    header, one, two, *rest = s.chunks
    return b"".join([header, two, one, *rest])


def duplicated(s, _):
    header, one, two, *rest = s.chunks
    return b"".join([header, one, one, *rest])[: len(s.data)].ljust(len(s.data), b"\0")


def spliced(s, other):
    return b"".join([s.chunks[0], s.chunks[1], other.chunks[2], *s.chunks[3:]])


WRONG = {
    "reordered": reordered,
    "duplicated": duplicated,
    "spliced": spliced,
    "altered first": lambda s, _: bytes([s.data[0] ^ 1]) + s.data[1:],
    "altered header": lambda s, _: s.data[:60] + bytes([s.data[60] ^ 1]) + s.data[61:],
    "altered middle": lambda s, _: s.data[: len(s.data) // 2] + b"\0\0" + s.data[len(s.data) // 2 + 2 :],
    "altered last": lambda s, _: s.data[:-1] + bytes([s.data[-1] ^ 1]),
    "another header": lambda s, other: other.chunks[0] + s.data[s.header :],
    "another dataset": lambda s, other: other.data,
    "zeros": lambda s, _: bytes(len(s.data)),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_not_what_was_signed_leaves_nothing(place, how):
    sealed, other = place.sealed(), place.sealed()
    wrong = WRONG[how](sealed, other)
    assert len(wrong) == len(sealed.data)
    assert wrong != sealed.data
    place.link.begin_upload(sealed.envelope)
    send(place.link, sealed.upload, wrong)
    with pytest.raises(VerificationFailed):
        place.link.commit_upload(sealed.upload)
    assert left(place, sealed.upload) == []
    # It can be begun again, and the right bytes are kept.
    place.link.begin_upload(sealed.envelope)
    send(place.link, sealed.upload, sealed.data)
    assert place.link.commit_upload(sealed.upload).complete


@pytest.mark.parametrize("more", [b"x", bytes(CHUNK_BYTES)])
def test_what_is_longer_leaves_nothing(place, more):
    sealed = place.sealed()
    place.link.begin_upload(sealed.envelope)
    with pytest.raises(VerificationFailed, match="longer"):
        send(place.link, sealed.upload, sealed.data + more)
    assert left(place, sealed.upload) == []


@pytest.mark.parametrize("size", [0, 1, 100_000, CHUNK + 500])
def test_what_is_truncated_is_not_kept(place, size):
    """It may still be resumed, so its bytes stay; it is no dataset, and an abort removes them."""
    sealed = place.sealed()
    place.link.begin_upload(sealed.envelope)
    if size:
        send(place.link, sealed.upload, sealed.data[:size])
    with pytest.raises(InvalidTransition, match=f"{size} of {len(sealed.data)}"):
        place.link.commit_upload(sealed.upload)
    assert (sealed.manifest.dataset, 1) not in kept(place)
    place.link.abort_upload(sealed.upload)
    assert left(place, sealed.upload) == []
    with pytest.raises(NotFound):
        place.link.commit_upload(sealed.upload)


def test_a_break_is_resumed_from_the_last_durable_byte(place):
    sealed = place.sealed()
    place.link.begin_upload(sealed.envelope)
    half = 2 * CHUNK + 12345

    def breaks_off():
        yield sealed.data[:half]
        raise ConnectionError

    with pytest.raises((TrustspaceError, ConnectionError)):
        list(place.link.upload(sealed.upload, 0, breaks_off()))
    resumed = _when_free(place, sealed)
    assert resumed.durable_bytes in (0, half)
    assert not resumed.complete
    send(place.link, sealed.upload, sealed.data[resumed.durable_bytes :], resumed.durable_bytes)
    assert place.link.commit_upload(sealed.upload).complete


def _when_free(place, sealed):
    """The enclave notices a break after a moment; until then the upload is somebody's."""
    from support.enclaves import until

    def begin():
        status = place.link.begin_upload(sealed.envelope)
        try:
            list(place.link.upload(status.upload, status.durable_bytes, iter([])))
        except Unavailable:
            return None
        return place.link.begin_upload(sealed.envelope)

    return until(begin)


@pytest.mark.parametrize("offset", [0, 10, 10**6 + 1, 2**63])
def test_bytes_come_where_the_last_ended(place, offset):
    """Neither a gap nor an overlap: the same piece twice is refused, and what is there stays."""
    sealed = place.sealed()
    place.link.begin_upload(sealed.envelope)
    send(place.link, sealed.upload, sealed.data[: 10**6])
    with pytest.raises(InvalidTransition, match="1000000"):
        send(place.link, sealed.upload, sealed.data[10**6 :], offset)
    send(place.link, sealed.upload, sealed.data[10**6 :], 10**6)
    assert place.link.commit_upload(sealed.upload).complete


def test_an_enclave_killed_in_the_middle_goes_on(place):
    """What it acknowledged is there after a kill; the client resumes."""
    import pathlib
    import subprocess
    import sys

    sealed = place.sealed()
    home = processes.folder()
    script = (
        "import sys, os; from pathlib import Path; from trustspace.enclave.datasets import DatasetStore\n"
        "home = Path(sys.argv[1]); store = DatasetStore(home, sys.argv[2]); data = (home / 'data').read_bytes()\n"
        "begun = store.begin((home / 'envelope').read_bytes(), [bytes.fromhex(sys.argv[3])])\n"
        "def pieces():\n"
        "    for start in range(begun.durable_bytes, len(data), 1 << 18):\n"
        "        if start >= int(sys.argv[4]): os.kill(os.getpid(), 9)\n"
        "        yield data[start:start + (1 << 18)]\n"
        "for done in store.append(begun.upload, begun.durable_bytes, pieces()): print(done.durable_bytes, flush=True)\n"
    )
    for name in ("datasets", "uploads"):
        (home / name).mkdir()
    (home / "data").write_bytes(sealed.data)
    (home / "envelope").write_bytes(sealed.envelope)
    act = place.hospital.keys.public(place.hospital.key_name("act"))

    def run(stop):
        return subprocess.run(
            [sys.executable, "-c", script, str(home), place.hospital.fingerprint, act.hex(), str(stop)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    assert run(1 << 20).returncode == -9
    assert run(2 << 20).returncode == -9
    store = DatasetStore(pathlib.Path(home), place.hospital.fingerprint)
    store.sweep()
    begun = store.begin(sealed.envelope, [act])
    assert 0 <= begun.durable_bytes < len(sealed.data)
    list(store.append(begun.upload, begun.durable_bytes, [sealed.data[begun.durable_bytes :]]))
    assert store.commit(begun.upload).complete
    assert (home / "datasets" / f"{begun.upload}.sealed").read_bytes() == sealed.data
    processes.remove(home)


def test_a_restarted_enclave_resumes(place):
    sealed = place.sealed()
    place.link.begin_upload(sealed.envelope)
    send(place.link, sealed.upload, sealed.data[: 10**6])
    place.enclave.stop()
    place.enclave = SimulatedEnclave(place.enclave.path, listen="127.0.0.1:0")
    move(place.hospital, own_enclave(place.hospital, None), place.enclave.listen)
    place.link = enclave_link(place.hospital, own_enclave(place.hospital, None))
    assert place.link.begin_upload(sealed.envelope).durable_bytes == 10**6
    send(place.link, sealed.upload, sealed.data[10**6 :], 10**6)
    assert place.link.commit_upload(sealed.upload).complete


def test_everything_is_on_the_disk_before_it_is_a_dataset(place, monkeypatch):
    """Also when the last piece came over a connection that broke: nothing is renamed that was never flushed."""
    from trustspace.enclave import datasets as enclave_datasets

    sealed = place.sealed()
    store = DatasetStore(place.enclave.path, place.hospital.fingerprint)
    act = place.hospital.keys.public(place.hospital.key_name("act"))
    store.begin(sealed.envelope, [act])

    def breaks_off():
        yield sealed.data
        raise ConnectionResetError

    flushed = []
    real = os.fsync

    def watch(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.endswith(".part"):
            flushed.append(os.fstat(descriptor).st_size)
        real(descriptor)

    with pytest.raises((ConnectionResetError, Unavailable)):
        list(store.append(sealed.upload, 0, breaks_off()))
    monkeypatch.setattr(enclave_datasets.os, "fsync", watch)
    assert store.begin(sealed.envelope, [act]).durable_bytes == len(sealed.data)
    assert store.commit(sealed.upload).complete
    assert flushed == [len(sealed.data)]


def test_one_upload_has_one_writer(place):
    sealed = place.sealed()
    place.link.begin_upload(sealed.envelope)
    begun, go_on = threading.Event(), threading.Event()

    def slowly():
        yield sealed.data[: 10**6]
        begun.set()
        assert go_on.wait(20)
        yield sealed.data[10**6 :]

    writing = threading.Thread(target=lambda: list(place.link.upload(sealed.upload, 0, slowly())))
    writing.start()
    try:
        assert begun.wait(20)
        for use in (
            lambda: send(place.link, sealed.upload, sealed.data),
            lambda: place.link.commit_upload(sealed.upload),
            lambda: place.link.abort_upload(sealed.upload),
        ):
            with pytest.raises((Unavailable, InvalidTransition)):
                use()
    finally:
        go_on.set()
        writing.join(20)
    assert place.link.commit_upload(sealed.upload).complete


# -- who signed it


@pytest.mark.parametrize("key", ["root", "grant", "broker", "reviewer-1"])
def test_only_the_acting_key_signs_a_manifest(place, key):
    with pytest.raises(VerificationFailed):
        place.link.begin_upload(place.sealed(key=key).envelope)


def test_a_manifest_by_somebody_else_is_refused(place):
    payload = canonical_json(place.sealed().manifest.to_json())
    before = sorted(os.listdir(place.enclave.path / "uploads"))
    with pytest.raises(VerificationFailed):
        place.link.begin_upload(sign(place.developer, payload))
    # Signed by the right key, and about somebody else's data.
    with pytest.raises(VerificationFailed, match="another source unit"):
        place.link.begin_upload(place.sealed(source_unit="ab" * 32).envelope)
    assert sorted(os.listdir(place.enclave.path / "uploads")) == before


@pytest.mark.parametrize("payload", [b"{}", b"[]", b"\xff", b'{"dataset":"x"}', b"not json"])
def test_a_manifest_that_is_none(place, payload):
    with pytest.raises((VerificationFailed, InvalidInput)):
        place.link.begin_upload(sign(place.hospital, payload))


def test_a_manifest_in_another_form_is_refused(place):
    import json

    value = place.sealed().manifest.to_json()
    with pytest.raises(VerificationFailed, match="canonical"):
        place.link.begin_upload(sign(place.hospital, json.dumps(value, indent=1).encode()))


def test_a_statement_is_no_manifest_and_a_manifest_no_statement(place):
    """Both are signed by the same key in the same envelope; neither can be taken for the other."""
    statement = place.hospital.sign(DatasetWithdrawn(dataset="ab" * 32), "act").envelope.to_bytes()
    with pytest.raises((VerificationFailed, InvalidInput)):
        place.link.begin_upload(statement)
    with pytest.raises((VerificationFailed, InvalidInput)):
        place.world.link(place.hospital).submit(place.sealed().envelope)


@pytest.mark.parametrize("upload", ["", "../../etc/passwd", "zz" * 32, "AB" * 32, "0" * 63])
def test_an_upload_has_a_plain_name(place, upload):
    for use in (place.link.commit_upload, place.link.abort_upload, lambda u: send(place.link, u, b"x")):
        with pytest.raises(InvalidInput):
            use(upload)


# -- who is at the door


def door(place, identity):
    own = own_enclave(place.hospital, None)
    return EnclaveLink(connect(own.address, own.certificate.encode(), identity, "trustspace-enclave"))


def test_the_door_opens_to_its_own_source_unit_alone(place):
    """Not to a certificate of the space's authority, be it in the hospital's name; nor to none."""
    hospital, other = place.hospital, place.developer
    now = datetime.datetime.now(datetime.UTC)
    own_key = new_key()
    strangers = {
        "nobody": None,
        "another party": Identity(
            (other.path / "tls/client.key").read_bytes(), (other.path / "tls/domain.pem").read_bytes()
        ),
        "the space's word": place.world.false_identity(hospital.fingerprint),
        "the hospital towards the space": hospital.identity(),
        "the same name": Identity(own_key, self_signed(hospital.fingerprint, own_key, now)),
        "the right certificate, another key": Identity(
            own_key, (hospital.path / "tls/domain.pem").read_bytes()
        ),
    }
    for name, identity in strangers.items():
        with pytest.raises(TrustspaceError) as caught:
            door(place, identity).status()
        assert isinstance(caught.value, Unavailable), name
    assert place.link.status()["enclave_key"]


def test_an_impostor_of_the_enclave_is_not_spoken_to(place):
    key = new_key()
    certificate = self_signed(
        "trustspace enclave", key, datetime.datetime.now(datetime.UTC), ("trustspace-enclave",)
    )
    hospital, own = place.hospital, own_enclave(place.hospital, None)
    identity = Identity(
        (hospital.path / "tls/client.key").read_bytes(), (hospital.path / "tls/domain.pem").read_bytes()
    )
    impostor = EnclaveLink(connect(own.address, certificate, identity, "trustspace-enclave"))
    with pytest.raises(Unavailable):
        impostor.status()


# -- the client, whole


def test_the_clients_submission_resumes_where_it_broke(place, monkeypatch):
    """The enclave goes away in the middle; called again, the same sealed bytes go on, and nothing is sealed anew."""
    import pyarrow.csv

    hospital = place.hospital
    path = place.world.path / "big.csv"
    pyarrow.csv.write_csv(patients(4000), path)
    proposal = datasets.propose(path, "Big", patient_column="patient")
    real, sent = EnclaveLink.upload, []

    def breaks(self, upload, offset, pieces):
        sent.append(offset)
        if len(sent) == 1:
            first = next(iter(pieces))
            yield from real(self, upload, offset, [first[: len(first) // 2]])
            raise Unavailable("The server cannot be reached.")
        yield from real(self, upload, offset, pieces)

    monkeypatch.setattr(EnclaveLink, "upload", breaks)
    with pytest.raises(Unavailable):
        datasets.submit(hospital, proposal, dataset="big")
    assert ("big", 1) not in kept(place)
    digest = datasets.submit(hospital, proposal, dataset="big")
    assert sent[0] == 0
    assert sent[1] > 0
    assert hospital.session.dataset(digest).body.version == 1
    assert not list((hospital.path / "spool").iterdir())


def test_a_lost_answer_to_the_publication_is_asked_for_again(place, monkeypatch):
    """The dataset stands, its client does not know: called again, it finds out instead of failing for ever."""
    import pyarrow.csv

    hospital = place.hospital
    path = place.world.path / "lost.csv"
    pyarrow.csv.write_csv(patients(60), path)
    proposal = datasets.propose(path, "Lost", patient_column="patient")
    real = type(hospital.session.link).submit

    def lost(self, envelope, known_size=0):
        real(self, envelope, known_size)
        raise Unavailable("The server did not answer in time.")

    monkeypatch.setattr(type(hospital.session.link), "submit", lost)
    with pytest.raises(Unavailable):
        datasets.submit(hospital, proposal, dataset="lost")
    monkeypatch.undo()
    digest = datasets.submit(hospital, proposal, dataset="lost")
    assert hospital.session.dataset(digest).body.version == 1
    datasets.withdraw(hospital, digest)


def test_withdrawing_deletes_ciphertext_and_key(place):
    import pyarrow.csv

    hospital = place.hospital
    path = place.world.path / "gone.csv"
    pyarrow.csv.write_csv(patients(60), path)
    digest = datasets.submit(
        hospital, datasets.propose(path, "Gone", patient_column="patient"), dataset="gone"
    )
    record = hospital.session.dataset(digest)
    assert ("gone", 1) in kept(place)
    assert "data-gone-v1" in hospital.keys.names()
    datasets.withdraw(hospital, digest)
    assert ("gone", 1) not in kept(place)
    assert "data-gone-v1" not in hospital.keys.names()
    assert left(place, record.body.manifest) == []
    assert hospital.session.dataset(digest).state == "withdrawn"


def test_nobody_else_withdraws(place):
    import pyarrow.csv

    hospital = place.hospital
    path = place.world.path / "stays.csv"
    pyarrow.csv.write_csv(patients(60), path)
    digest = datasets.submit(
        hospital, datasets.propose(path, "Stays", patient_column="patient"), dataset="stays"
    )
    body = DatasetWithdrawn(dataset=digest)
    forged = [
        place.developer.sign(body, "act"),
        hospital.session.sign(
            body, public=hospital.keys.public("root"), sign=lambda m: hospital.keys.sign("root", m)
        ),
        hospital.sign(body, "broker"),
    ]
    for statement in forged:
        with pytest.raises((PermissionDenied, VerificationFailed)):
            place.link.withdraw(statement.envelope.to_bytes())
    assert ("stays", 1) in kept(place)
    place.link.withdraw(hospital.sign(body, "act").envelope.to_bytes())
    assert ("stays", 1) not in kept(place)
