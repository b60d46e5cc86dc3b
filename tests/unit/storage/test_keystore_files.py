"""What the key store on disk promises besides the contract in test_keystores.py."""

import hashlib
import json
import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    PermissionDenied,
    TrustspaceError,
    Unauthenticated,
    Unavailable,
    VerificationFailed,
)
from trustspace.storage import keystore
from trustspace.storage.keystore import FileKeyStore

PASSPHRASE = "correct horse 电池"
CHEAP = 2  # scrypt's smallest cost; the default is tested once


def on_disk(path, passphrase=PASSPHRASE):
    return FileKeyStore(path / "keys", passphrase, _scrypt_n=CHEAP)


def key_file(path, name="root"):
    return path / "keys" / f"{name}.key"


def test_files_and_directory_are_private(tmp_path):
    before = os.umask(0)
    try:
        on_disk(tmp_path).create_signing_key("root")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE(key_file(tmp_path).stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "keys") == ["root.key"]


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o710, 0o777])
def test_a_directory_that_others_may_enter_is_refused(tmp_path, mode):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys").chmod(mode)
    with pytest.raises(PermissionDenied, match="chmod 700"):
        on_disk(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode, passphrase):
    store = on_disk(tmp_path, passphrase)
    store.create_signing_key("root")
    key_file(tmp_path).chmod(mode)
    for call in (
        lambda: store.sign("root", b""),
        lambda: store.public("root"),
        lambda: store.create_data_key("data"),
    ):
        with pytest.raises(PermissionDenied, match="chmod 600"):
            call()
    key_file(tmp_path).chmod(0o600)
    store.sign("root", b"")


def test_keys_outlive_the_process(tmp_path):
    public = on_disk(tmp_path).create_signing_key("root")
    again = on_disk(tmp_path)
    assert again.names() == ("root",)
    assert again.public("root") == public
    Ed25519PublicKey.from_public_bytes(public).verify(again.sign("root", b"m"), b"m")


def test_a_passphrase_hides_the_secret(tmp_path):
    for number, passphrase in enumerate((None, PASSPHRASE)):
        path = tmp_path / str(number)
        path.mkdir()
        store = on_disk(path, passphrase)
        store.create_data_key("data")
        written, secret = key_file(path, "data").read_bytes(), store._load("data").secret
        assert (secret.hex().encode() in written) == (passphrase is None)


def test_the_file_opens_as_its_format_says_with_the_default_cost(tmp_path):
    store = FileKeyStore(tmp_path / "keys", PASSPHRASE)
    public = store.create_signing_key("root")
    fields = json.loads(key_file(tmp_path).read_bytes())
    protection = fields["protection"]
    assert (protection["n"], protection["r"], protection["p"]) == (2**15, 8, 1)
    secret = bytes.fromhex(fields.pop("secret"))
    key = hashlib.scrypt(
        PASSPHRASE.encode(), salt=bytes.fromhex(protection["salt"]), n=2**15, r=8, p=1, maxmem=2**26, dklen=32
    )
    associated = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    opened = AESGCM(key).decrypt(secret[:12], secret[12:], associated)
    assert opened == store._load("root").secret
    assert (fields["name"], fields["kind"], fields["public"]) == ("root", "signing", public.hex())


def test_a_wrong_or_missing_passphrase_is_refused_with_a_fix(tmp_path):
    on_disk(tmp_path).create_signing_key("root")
    for wrong in ("correct horse", PASSPHRASE + " ", PASSPHRASE.upper(), None):
        store = on_disk(tmp_path, wrong)
        for call in (lambda s=store: s.sign("root", b""), lambda s=store: s.create_data_key("data")):
            with pytest.raises(Unauthenticated) as caught:
                call()
            assert "Give the passphrase" in str(caught.value)
            assert wrong is None or wrong not in str(caught.value)
        assert store.names() == ("root",)
        assert len(store.public("root")) == 32
    with pytest.raises(InvalidInput, match="empty"):
        on_disk(tmp_path, "")
    with pytest.raises(InvalidInput, match="UTF-8"):
        on_disk(tmp_path, "\udc80")


def test_a_passphrase_may_be_composed_in_another_way(tmp_path):
    public = on_disk(tmp_path, "caf\u00e9").create_signing_key("root")
    Ed25519PublicKey.from_public_bytes(public).verify(
        on_disk(tmp_path, "cafe\u0301").sign("root", b"m"), b"m"
    )


def test_a_key_without_protection_is_not_taken_for_a_protected_one(tmp_path):
    on_disk(tmp_path, None).create_signing_key("root")
    with pytest.raises(InvalidInput, match="not protected"):
        on_disk(tmp_path).sign("root", b"")
    with pytest.raises(InvalidInput, match="not protected"):
        on_disk(tmp_path).create_data_key("data")


def test_scrypt_runs_once_for_a_store(tmp_path, monkeypatch):
    runs = []
    scrypt = keystore.Scrypt

    def counted(**arguments):
        runs.append(arguments["salt"])
        return scrypt(**arguments)

    monkeypatch.setattr(keystore, "Scrypt", counted)
    store = on_disk(tmp_path)
    for name in ("a", "b", "c"):
        store.create_signing_key(name)
        store.sign(name, b"")
    assert len(runs) == 1
    again = on_disk(tmp_path)
    for name in ("a", "b", "c"):
        again.sign(name, b"")
    assert len(runs) == 2


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_file_under_another_keys_name_is_refused(tmp_path, passphrase):
    store = on_disk(tmp_path, passphrase)
    store.create_signing_key("root")
    store.create_signing_key("other")
    os.replace(key_file(tmp_path, "other"), key_file(tmp_path))
    for call in (lambda: store.sign("root", b""), lambda: store.public("root")):
        with pytest.raises(VerificationFailed, match="damaged"):
            call()


def test_a_file_that_was_made_to_say_another_name_does_not_open(tmp_path):
    store = on_disk(tmp_path)
    store.create_signing_key("root")
    store.create_signing_key("other")
    renamed = key_file(tmp_path, "other").read_bytes().replace(b'"name":"other"', b'"name":"root"')
    key_file(tmp_path).write_bytes(renamed)
    with pytest.raises(Unauthenticated):
        store.sign("root", b"")


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_truncated_file_is_damaged_at_every_length(tmp_path, passphrase):
    store = on_disk(tmp_path, passphrase)
    store.create_signing_key("root")
    data = key_file(tmp_path).read_bytes()
    for size in range(len(data)):
        key_file(tmp_path).write_bytes(data[:size])
        for call in (lambda: store.sign("root", b""), lambda: store.public("root")):
            with pytest.raises(VerificationFailed, match="root is damaged"):
                call()
    key_file(tmp_path).write_bytes(data)
    store.sign("root", b"")


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_changed_file_is_never_used(tmp_path, passphrase):
    store = on_disk(tmp_path, passphrase)
    store.create_signing_key("root")
    data = key_file(tmp_path).read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        key_file(tmp_path).write_bytes(changed)
        with pytest.raises(TrustspaceError):
            store.sign("root", b"")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n":2,', b'"n":3,'),
        (b'"n":2,', b'"n":1,'),
        (b'"n":2,', b'"n":1073741824,'),
        (b'"n":2,', b'"n":"2",'),
        (b'"n":2,', b""),
        (b'"r":8', b'"r":1024'),
        (b'"kdf":"scrypt"', b'"kdf":"none"'),
        (b'"kind":"signing"', b'"kind":"root"'),
        (b'"kind":"signing"', b'"kind":1'),
        (b'"format":"trustspace-key-v1"', b'"format":"trustspace-key-v2"'),
        (b'"secret":"', b'"secret":"zz'),
        (b'"secret":"', b'"secret":" '),
        (b"{", b"["),
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_damaged(tmp_path, old, new):
    store = on_disk(tmp_path)
    store.create_signing_key("root")
    data = key_file(tmp_path).read_bytes()
    assert old in data
    key_file(tmp_path).write_bytes(data.replace(old, new, 1))
    with pytest.raises(VerificationFailed, match="damaged"):
        store.public("root")


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
@pytest.mark.parametrize("field", ["secret", "public"])
@pytest.mark.parametrize("name", ["data", "root"])
def test_a_key_of_the_wrong_length_is_damaged(tmp_path, passphrase, field, name):
    store = on_disk(tmp_path, passphrase)
    store.create_data_key("data")
    store.create_signing_key("root")
    fields = json.loads(key_file(tmp_path, name).read_bytes())
    for value in (fields[field] + "00", fields[field][:-2], "", "00" * 8):
        if value == fields[field]:
            continue
        changed = json.dumps(fields | {field: value}, sort_keys=True, separators=(",", ":"))
        key_file(tmp_path, name).write_text(changed)
        with pytest.raises(VerificationFailed, match="damaged"):
            store._load(name)


def test_a_huge_file_a_link_a_pipe_and_a_directory_are_not_key_files(tmp_path):
    store = on_disk(tmp_path)
    store.create_signing_key("good")
    store.create_signing_key("link")
    store.sign("link", b"")
    key_file(tmp_path, "link").rename(tmp_path / "elsewhere")
    key_file(tmp_path, "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(key_file(tmp_path, "pipe"), 0o600)
    key_file(tmp_path, "folder").mkdir(mode=0o700)
    key_file(tmp_path, "huge").write_bytes(b" " * (1 << 20))
    key_file(tmp_path, "huge").chmod(0o600)
    for name in ("link", "pipe", "folder", "huge"):
        with pytest.raises((VerificationFailed, Unavailable)):
            store.sign(name, b"")
    store.sign("good", b"")


def test_files_that_are_not_keys_are_not_listed(tmp_path):
    store = on_disk(tmp_path)
    store.create_data_key("data")
    for name in (".tmp-12", ".hidden.key", "Upper.key", "notes.txt", "a b.key"):
        (tmp_path / "keys" / name).write_bytes(b"x")
    assert store.names() == ("data",)


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    store = on_disk(tmp_path)
    public = store.create_signing_key("root")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="No space left"):
            store.create_data_key("data")
    assert os.listdir(tmp_path / "keys") == ["root.key"]
    assert on_disk(tmp_path).public("root") == public
    store.create_data_key("data")
    assert store.names() == ("data", "root")


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_damaged_key_does_not_stop_the_others(tmp_path, passphrase):
    store = on_disk(tmp_path, passphrase)
    store.create_signing_key("a-damaged")
    store.create_signing_key("b")
    key_file(tmp_path, "a-damaged").write_bytes(b"")
    store.sign("b", b"")
    store.create_data_key("c")
    store.sealer("c", {})
    store.destroy("a-damaged")
    assert store.names() == ("b", "c")


def test_destroying_overwrites_before_it_unlinks(tmp_path):
    store = on_disk(tmp_path, None)
    store.create_data_key("data")
    secret = store._load("data").secret.hex().encode()
    os.link(key_file(tmp_path, "data"), tmp_path / "another name of the same blocks")
    assert secret in (tmp_path / "another name of the same blocks").read_bytes()
    store.destroy("data")
    assert set((tmp_path / "another name of the same blocks").read_bytes()) == {0}
    assert os.listdir(tmp_path / "keys") == []


def test_a_link_is_not_followed_when_destroying(tmp_path):
    store = on_disk(tmp_path)
    (tmp_path / "precious").write_bytes(b"data")
    key_file(tmp_path, "link").symlink_to(tmp_path / "precious")
    with pytest.raises(Unavailable):
        store.destroy("link")
    assert (tmp_path / "precious").read_bytes() == b"data"


def test_what_a_killed_process_left_is_swept(tmp_path):
    on_disk(tmp_path).create_data_key("data")
    for name, age in ((".tmp-old", 0), (".tmp-young", None)):
        left = tmp_path / "keys" / name
        left.write_bytes(b"half a key")
        if age is not None:
            os.utime(left, (age, age))
    on_disk(tmp_path)
    assert sorted(os.listdir(tmp_path / "keys")) == [".tmp-young", "data.key"]


def test_a_directory_that_cannot_be_made_is_an_error_that_can_be_shown(tmp_path):
    (tmp_path / "keys").write_bytes(b"a file")
    with pytest.raises(Unavailable, match="keys could not be used"):
        on_disk(tmp_path)


def test_a_key_that_another_process_made_meanwhile_is_kept(tmp_path, monkeypatch):
    store = on_disk(tmp_path)
    public = store.create_signing_key("root")
    monkeypatch.setattr(type(tmp_path), "exists", lambda _: False)  # the check came too early
    with pytest.raises(AlreadyExists, match="a key named root"):
        store.create_signing_key("root")
    assert store.public("root") == public
