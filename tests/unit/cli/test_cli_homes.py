"""Commands that need no network: making homes, showing them, and what they refuse."""

import json
import stat

import pytest

from trustspace.cli.common import PATH
from trustspace.cli.people import People
from trustspace.cli.words import fingerprint, rows, size, when, word
from trustspace.domain.trust import TrustedParty, TrustedSpace, TrustFile
from trustspace.ledger.note import KeyKind, NoteKey

HEX = "0123456789abcdef" * 4


def document(result):
    code, out, err = result
    assert code == 0, out + err
    return json.loads(out)


def failure(result):
    code, out, _err = result
    return code, json.loads(out)["error"]["message"]


@pytest.fixture
def space(invoke, tmp_path):
    def make(*arguments):
        home = tmp_path / "空间"
        document(invoke("--home", home, "--json", "space", "init", "--name", "演示空间", *arguments))
        return home

    return make


# -- the operator


def test_a_space_is_made_once_and_shown(invoke, space):
    home = space()
    shown = document(invoke("--home", home, "--json", "space", "show"))
    assert shown["name"] == "演示空间"
    assert shown["listen"] == "127.0.0.1:7443"
    assert shown["enrol_listen"] == "127.0.0.1:7444"
    assert not shown["running"]
    code, out, _err = invoke("--home", home, "space", "show")
    assert code == 0
    assert fingerprint(shown["operator"]).split("\n")[0] in out
    code, message = failure(invoke("--home", home, "--json", "space", "init", "--name", "x"))
    assert (code, message) == (7, f"There is a space in {home} already.")


def test_an_invitation_is_secret_and_names_the_addresses(invoke, space, tmp_path):
    home, target = space(), tmp_path / "邀请函.json"
    whom = ("--name", "第一医院", "--role", "source-unit")
    made = document(invoke("--home", home, "--json", "space", "invite", *whom, "--out", target))
    assert made["roles"] == ["source-unit"]
    assert made["address"] == "127.0.0.1:7443"
    written = json.loads(target.read_bytes())
    assert written["enrol_address"] == "127.0.0.1:7444"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert written["token"] not in json.dumps(made)


def test_a_space_on_every_interface_invites_to_the_name_that_it_was_given(invoke, space, tmp_path):
    home = space("--listen", "0.0.0.0:7443", "--enrol-listen", "[::]:7444", "--host", "space.example")
    target = tmp_path / "i.json"
    whom = ("--name", "A", "--role", "buyer")
    made = document(invoke("--home", home, "--json", "space", "invite", *whom, "--out", target))
    assert (made["address"], made["enrol_address"]) == ("space.example:7443", "space.example:7444")


@pytest.mark.parametrize(("listen", "code"), [("0.0.0.0:7443", 2), ("127.0.0.1:0", 12)])
def test_no_invitation_leads_nowhere(invoke, space, tmp_path, listen, code):
    home, target = space("--listen", listen), tmp_path / "i.json"
    got, _message = failure(
        invoke("--home", home, "--json", "space", "invite", "--name", "A", "--role", "buyer", "--out", target)
    )
    assert got == code
    assert not target.exists()


def test_a_space_is_rebuilt_from_its_ledger(invoke, space):
    found = document(invoke("--home", space(), "--json", "space", "rebuild"))
    assert found == {"statements": 1, "records": 1, "differing": 0}


# -- parties


def test_a_party_is_made_and_shown(invoke, tmp_path):
    home = tmp_path / "家"
    who = ("--name", "第一医院", "--role", "source-unit", "--reviewer", "李医生")
    made = document(invoke("--home", home, "--json", "party", "new", *who))
    assert made == document(invoke("--home", home, "--json", "party", "show"))
    assert made["reviewers"] == ["李医生"]
    assert not made["enrolled"]
    code, out, _err = invoke("--home", home, "--lang", "zh", "party", "show")
    assert code == 0
    assert "第一医院" in out
    assert "数据源单位" in out
    assert "尚未入驻" in out
    assert not any(name in out for name in ("source-unit", "review-open"))


def test_home_comes_from_the_environment(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTSPACE_HOME", str(tmp_path / "h"))
    made = document(invoke("--json", "party", "new", "--name", "B", "--role", "buyer"))
    assert made["home"] == str(tmp_path / "h")


def test_a_home_in_the_persons_own_directory_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PATH.convert("~/数据.csv", None, None) == tmp_path / "数据.csv"


def test_keys_are_locked_with_the_passphrase_of_a_file(invoke, tmp_path):
    from trustspace.errors import Unauthenticated
    from trustspace.storage.keystore import FileKeyStore

    home, secret = tmp_path / "h", tmp_path / "口令"
    secret.write_text("密 码\n", encoding="utf-8")
    arguments = ("party", "new", "--name", "B", "--role", "buyer")
    document(invoke("--home", home, "--passphrase-file", secret, "--json", *arguments))
    with pytest.raises(Unauthenticated):
        FileKeyStore(home / "keys", "密 码\n").sign("act", b"m")
    FileKeyStore(home / "keys", "密 码").sign("act", b"m")
    # What is public is shown without it.
    document(invoke("--home", home, "--json", "party", "show"))


def test_a_missing_passphrase_file_is_named(invoke, tmp_path):
    code, message = failure(
        invoke("--home", tmp_path / "h", "--passphrase-file", tmp_path / "no", "--json",
               "party", "new", "--name", "B", "--role", "buyer")
    )  # fmt: skip
    assert (code, message) == (6, f"There is no passphrase file at {tmp_path / 'no'}.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("trust", "list"), ("dataset", "list"), ("job", "list"), ("job", "show", "ab"), ("ledger", "verify"),
        ("review", "list"), ("broker", "serve"), ("release", "fetch", "ab", "--into", "x"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_somebody_who_is_nobody_yet_is_told_what_to_do(invoke, tmp_path, arguments):
    assert failure(invoke("--home", tmp_path / "h", "--json", *arguments))[0] == 6
    home = tmp_path / "h"
    document(
        invoke(
            "--home",
            home,
            "--json",
            "party",
            "new",
            "--name",
            "A",
            "--role",
            "source-unit",
            "--reviewer",
            "R",
        )
    )
    code, out, _err = invoke("--home", home, "--json", *arguments)
    assert code == 12
    assert json.loads(out)["error"] == {
        "code": "unavailable", "message": "This party is not enrolled.", "fix": "Run `trustspace party enrol`.",
    }  # fmt: skip


@pytest.mark.parametrize("content", ["", "[]", "nonsense", "{}", '{"format": "trustspace-invitation-v1"}'])
def test_what_is_no_invitation_is_refused(invoke, tmp_path, content):
    home, file = tmp_path / "h", tmp_path / "i"
    document(invoke("--home", home, "--json", "party", "new", "--name", "A", "--role", "buyer"))
    file.write_text(content)
    code, message = failure(invoke("--home", home, "--json", "party", "enrol", file))
    assert code == 2
    assert "invitation" in message


# -- trust


@pytest.fixture
def enrolled(invoke, tmp_path):
    """A party with a trust file, as after enrolment."""
    home = tmp_path / "h"
    made = document(invoke("--home", home, "--json", "party", "new", "--name", "A", "--role", "buyer"))
    space = TrustedSpace(name="S", origin="trustspace/x", ledger_key="k", operator="f" * 64)
    trust = TrustFile(space=space, parties=(TrustedParty(name="A", fingerprint=made["fingerprint"]),))
    (home / "trust.json").write_text(trust.model_dump_json())
    (home / "space.json").write_text('{"address": "127.0.0.1:1"}')
    return home


@pytest.mark.parametrize("written", [[HEX], [fingerprint(HEX)], fingerprint(HEX).split(), [HEX.upper()]])
def test_a_fingerprint_is_pinned_however_it_is_written(invoke, enrolled, written):
    added = document(invoke("--home", enrolled, "--json", "trust", "add", "第一医院", *written))
    assert added == {"name": "第一医院", "fingerprint": HEX}
    listed = document(invoke("--home", enrolled, "--json", "trust", "list"))
    assert {"name": "第一医院", "fingerprint": HEX} in listed["parties"]
    _code, out, _err = invoke("--home", enrolled, "trust", "list")
    assert "0123 4567 89ab cdef 0123 4567 89ab cdef" in out
    assert "A (you)" in out


def test_a_mistyped_fingerprint_or_another_one_for_a_name_is_refused(invoke, enrolled):
    assert failure(invoke("--home", enrolled, "--json", "trust", "add", "B", HEX[:-1]))[0] == 2
    document(invoke("--home", enrolled, "--json", "trust", "add", "B", HEX))
    assert failure(invoke("--home", enrolled, "--json", "trust", "add", "B", HEX[::-1]))[0] == 2


def test_a_witness_is_pinned_by_a_cosignature_key_only(invoke, enrolled):
    public = bytes(range(1, 33))
    witness = NoteKey("witness/a", public, KeyKind.COSIGNATURE).encode()
    changed = document(invoke("--home", enrolled, "--json", "trust", "witness", witness))
    assert changed == {"witnesses": [witness], "witness_quorum": 1}
    assert failure(invoke("--home", enrolled, "--json", "trust", "witness", witness, "--quorum", "2"))[0] == 2
    other = NoteKey("witness/a", public).encode()
    code, message = failure(invoke("--home", enrolled, "--json", "trust", "witness", other))
    assert (code, message) == (2, "This is not a witness's key.")
    assert failure(invoke("--home", enrolled, "--json", "trust", "witness", witness[:-2]))[0] == 2


# -- enclaves and certificates


def test_an_enclave_is_made_and_has_no_owner_yet(invoke, tmp_path):
    home = tmp_path / "盲盒"
    made = document(invoke("--home", home, "--json", "enclave", "init", "--name", "一号"))
    assert made["listen"] == "127.0.0.1:7445"
    shown = document(invoke("--home", home, "--json", "enclave", "status"))
    assert shown["owner"] == ""
    assert shown["enclave_key"] == made["enclave_key"]
    (tmp_path / "adoption").write_text("{}")
    assert failure(invoke("--home", home, "--json", "enclave", "accept", tmp_path / "adoption"))[0] == 2


@pytest.mark.parametrize(
    ("certificate", "trust", "code"),
    [(None, "{}", 6), ("{}", "{}", 2), ("x", None, 2), ("[" * 100_000, "{}", 2)],
)
def test_what_is_no_certificate_does_not_verify(invoke, tmp_path, certificate, trust, code):
    for name, content in (("c", certificate), ("t", trust)):
        if content is not None:
            (tmp_path / name).write_text(content)
    got, _message = failure(
        invoke("--json", "verify", "certificate", tmp_path / "c", "--trust", tmp_path / "t")
    )
    assert got == code


# -- words


def test_names_come_from_the_trust_file_alone():
    space = TrustedSpace(name="S", origin="o", ledger_key="k", operator="f" * 64)
    people = People(
        TrustFile(space=space, parties=(TrustedParty(name="第一医院", fingerprint=HEX),)), "e" * 64
    )
    assert people.name(HEX) == "第一医院"
    assert people.name("f" * 64) == "S"
    assert people.name("a" * 64) == "not in your trust file (aaaa aaaa aaaa …)"
    assert people.plain("a" * 64) == ""


def test_numbers_and_words_read_well(monkeypatch):
    assert [size(n) for n in (0, 1023, 1024, 5 << 20, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 TiB",
    ]
    assert [rows(n) for n in (0, 560)] == ["fewer than 20", "at least 560"]
    assert when(2**62) == str(2**62)
    assert word("state", "in-review") == "in review"
    assert word("state", "never heard of") == "never heard of"
    assert fingerprint("ab12" * 16) == "\n".join([" ".join(["ab12"] * 8)] * 2)
