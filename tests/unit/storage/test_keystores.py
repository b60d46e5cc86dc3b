"""One contract for every key store."""

import threading

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trustspace.crypto.keys import KeyStore, MemoryKeyStore
from trustspace.crypto.seal import Sealer, open_bytes
from trustspace.crypto.statement import sign_statement, verify_statement
from trustspace.crypto.wrap import OneTimeKey, seal_to
from trustspace.errors import AlreadyExists, InvalidInput, NotFound, VerificationFailed
from trustspace.storage.keystore import FileKeyStore


@pytest.fixture(params=["memory", "file", "file with passphrase"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryKeyStore()
    passphrase = "correct horse" if "passphrase" in request.param else None
    return FileKeyStore(tmp_path / "keys", passphrase, _scrypt_n=2)


class TestEveryKeyStore:
    def test_it_is_one(self, store):
        checked: KeyStore = store
        assert checked.names() == ()

    def test_names_are_sorted_and_complete(self, store):
        store.create_data_key("data-1")
        store.create_signing_key("root")
        store.create_opening_key("a.b_c-d")
        assert store.names() == ("a.b_c-d", "data-1", "root")

    def test_a_signing_key_signs_what_its_public_half_verifies(self, store):
        public = store.create_signing_key("root")
        assert store.public("root") == public
        Ed25519PublicKey.from_public_bytes(public).verify(store.sign("root", b"message"), b"message")
        with pytest.raises(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(public).verify(store.sign("root", b"other"), b"message")
        envelope = sign_statement(b"{}", public, lambda message: store.sign("root", message))
        assert verify_statement(envelope, public) == b"{}"

    def test_an_opening_key_opens_what_was_sealed_to_it(self, store):
        public = store.create_opening_key("receive")
        assert store.public("receive") == public
        sealed = seal_to(public, b"share", b"decision")
        assert store.open("receive", sealed, b"decision") == b"share"
        with pytest.raises(VerificationFailed):
            store.open("receive", sealed, b"another")
        with pytest.raises(VerificationFailed):
            store.open("receive", seal_to(OneTimeKey.generate().public, b"share", b"decision"), b"decision")

    def test_a_data_key_seals_and_leaves_only_sealed_to_someone(self, store):
        store.create_data_key("data")
        sealer = store.sealer("data", {"dataset": "ct"})
        sealed = sealer.header + sealer.seal(b"rows", last=True)
        run = OneTimeKey.generate()
        key = run.open(store.seal_data_key_to("data", run.public, b"grant"), b"grant")
        assert open_bytes(key, {"dataset": "ct"}, sealed) == b"rows"
        with pytest.raises(VerificationFailed):
            run.open(store.seal_data_key_to("data", run.public, b"grant"), b"another grant")

    def test_keys_are_different(self, store):
        assert store.create_signing_key("one") != store.create_signing_key("two")
        store.create_data_key("three")
        store.create_data_key("four")
        run = OneTimeKey.generate()
        assert (
            len({run.open(store.seal_data_key_to(n, run.public, b"i"), b"i") for n in ("three", "four")}) == 2
        )

    def test_a_key_does_only_what_its_kind_does(self, store):
        store.create_signing_key("signing")
        store.create_opening_key("opening")
        store.create_data_key("data")
        public = OneTimeKey.generate().public
        uses = {
            "sign": lambda name: store.sign(name, b"m"),
            "open": lambda name: store.open(name, b"", b"i"),
            "sealer": lambda name: store.sealer(name, {}),
            "release": lambda name: store.seal_data_key_to(name, public, b"i"),
        }
        allowed = {"signing": {"sign"}, "opening": {"open"}, "data": {"sealer", "release"}}
        for name, right in allowed.items():
            for use, call in uses.items():
                if use in right and use != "open":
                    call(name)
                elif use not in right:
                    with pytest.raises(InvalidInput, match=f"{name} is a {name} key"):
                        call(name)
        with pytest.raises(InvalidInput, match="data key"):
            store.public("data")

    def test_a_name_is_used_once(self, store):
        public = store.create_signing_key("root")
        for create in (store.create_signing_key, store.create_opening_key, store.create_data_key):
            with pytest.raises(AlreadyExists, match="root"):
                create("root")
        assert store.public("root") == public
        assert store.names() == ("root",)

    def test_a_missing_key_is_not_found(self, store):
        for call in (
            lambda: store.public("none"),
            lambda: store.sign("none", b""),
            lambda: store.open("none", b"", b"i"),
            lambda: store.sealer("none", {}),
            lambda: store.seal_data_key_to("none", bytes(32), b"i"),
            lambda: store.destroy("none"),
        ):
            with pytest.raises(NotFound, match="none"):
                call()

    def test_a_destroyed_key_is_gone_for_good(self, store):
        first = store.create_signing_key("root")
        store.destroy("root")
        assert store.names() == ()
        for call in (lambda: store.sign("root", b""), lambda: store.destroy("root")):
            with pytest.raises(NotFound):
                call()
        assert store.create_signing_key("root") != first

    @pytest.mark.parametrize(
        "name",
        ["", ".", "..", "../x", "a/b", "a\\b", "A", "-a", ".a", "_a", "a b", "a\n", "é", "a\0", "x" * 129],
    )
    def test_a_bad_name_is_refused_everywhere(self, store, name):
        for call in (
            lambda: store.create_signing_key(name),
            lambda: store.create_data_key(name),
            lambda: store.public(name),
            lambda: store.sign(name, b""),
            lambda: store.destroy(name),
        ):
            with pytest.raises(InvalidInput, match="key's name"):
                call()
        assert store.names() == ()

    def test_the_longest_name_works(self, store):
        store.create_data_key("x" * 128)
        assert store.names() == ("x" * 128,)

    def test_of_many_that_create_one_key_one_wins(self, store):
        wins, losses, start = [], [], threading.Barrier(6)

        def create():
            start.wait()
            try:
                wins.append(store.create_signing_key("root"))
            except AlreadyExists as error:
                losses.append(str(error))

        threads = [threading.Thread(target=create) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wins == [store.public("root")]
        assert len(losses) == 5
        assert all("a key named root" in loss for loss in losses)

    def test_there_is_no_way_to_take_a_secret_out(self, store):
        methods = {name for name in dir(store) if not name.startswith("_")}
        assert methods == {
            "names", "public", "create_signing_key", "create_opening_key", "create_data_key",
            "sign", "open", "sealer", "seal_data_key_to", "destroy",
        }  # fmt: skip
        store.create_data_key("data")
        secret = store._load("data").secret
        for shown in (store, store._load("data"), store.sealer("data", {})):
            assert secret.hex() not in repr(shown)
            assert repr(secret) not in repr(shown)
        assert isinstance(store.sealer("data", {}), Sealer)
