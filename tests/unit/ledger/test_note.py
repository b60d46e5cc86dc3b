"""Signed notes: published vectors, strict parsing, and what a key's signature cannot be made to mean."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger_parties import LOG, NOW, STRANGER, Party, mutations, vectors

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.ledger.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    MAX_TIME_SECONDS,
    KeyKind,
    Note,
    NoteKey,
    NoteSignature,
    check_name,
    make_signature,
    parse_note,
    parse_signature_line,
    sign_note,
    verify_note,
)

GO = vectors("ledger_note.json")["go_sumdb"]
TEXT, (PETER_LINE, ENOCH_LINE) = GO["text"], GO["lines"]
PETER, ENOCH = (NoteKey.parse(vkey) for vkey in GO["vkeys"])
NOTE = TEXT + "\n" + PETER_LINE + ENOCH_LINE


@pytest.mark.parametrize("name", ["go_sumdb", "c2sp_signed_note"])
def test_published_notes_verify(name):
    case = vectors("ledger_note.json")[name]
    keys = [NoteKey.parse(vkey) for vkey in case["vkeys"]]
    assert [key.encode() for key in keys] == case["vkeys"]
    note = case["text"] + "\n" + "".join(case["lines"])
    assert [v.key for v in verify_note(note, keys)] == keys
    assert parse_note(note).text == case["text"]


def test_signing_gives_the_published_note():
    material = base64.b64decode(GO["skey"].split("+", 4)[4])
    peter = Party("PeterNeumann", seed=material[1:])
    assert peter.vkey == GO["vkeys"][0]
    assert sign_note(TEXT, peter.key, peter.sign) == TEXT + "\n" + PETER_LINE


def test_lines_of_unknown_keys_are_ignored():
    assert [v.key for v in verify_note(NOTE, [PETER])] == [PETER]
    # The same name under another key hash, and the same key hash under another name, are other keys.
    renamed = NOTE.replace("EnochRoot", "Enoch")
    assert [v.key for v in verify_note(renamed, [PETER, ENOCH])] == [PETER]
    rehashed = NOTE.replace(" rwz+", " rwz/")
    assert [v.key for v in verify_note(rehashed, [PETER, ENOCH])] == [PETER]


def test_a_note_without_a_known_signature_is_refused():
    for keys in ([], [STRANGER.key], [LOG.key, STRANGER.key]):
        with pytest.raises(VerificationFailed, match="no signature of a known key"):
            verify_note(NOTE, keys)


def test_one_bad_line_of_a_known_key_spoils_the_note():
    bad = NOTE.replace("tiOHp", "tiOHq")
    assert [v.key for v in verify_note(bad, [PETER])] == [PETER]
    with pytest.raises(VerificationFailed, match="does not fit"):
        verify_note(bad, [PETER, ENOCH])


def test_keys_that_a_line_cannot_tell_apart_are_refused():
    with pytest.raises(InvalidInput, match="same name and hash"):
        verify_note(NOTE, [ENOCH, PETER, ENOCH])


def test_no_one_byte_change_verifies_in_a_signed_note():
    note = TEXT + "\n" + PETER_LINE
    verify_note(note, [PETER])
    count = 0
    for mutated in mutations(note):
        count += 1
        with pytest.raises(VerificationFailed):
            verify_note(mutated, [PETER])
    assert count > 2000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        TEXT,
        TEXT + "\n",
        TEXT + PETER_LINE,
        PETER_LINE,
        "\n" + PETER_LINE,
        TEXT + "\n" + PETER_LINE[:-1],
        TEXT + "\n" + PETER_LINE + "\n",
        TEXT + "\n\n" + PETER_LINE + "Unexpected line.\n",
        "\x01" + TEXT + "\n" + PETER_LINE,
        TEXT.replace(" ", "\t") + "\n" + PETER_LINE,
        (TEXT + "\n" + PETER_LINE).replace("\n", "\r\n"),
        "\udcff" + TEXT + "\n" + PETER_LINE,
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad Name"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad\u00a0Name"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad\u2028Name"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad+Name"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad\u202eName"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "n" * 256),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann ", ""),
        TEXT + "\n" + PETER_LINE.replace("— ", "- "),
        TEXT + "\n" + PETER_LINE.replace("— ", "—"),
        TEXT + "\n— PeterNeumann \n",
        TEXT + "\n— PeterNeumann x08gow==\n",
        TEXT + "\n— PeterNeumann " + "A" * 20000 + "\n",
    ],
)
def test_malformed_notes_are_refused(text):
    with pytest.raises(VerificationFailed):
        parse_note(text)


def test_a_note_may_have_empty_lines_in_its_text():
    text = "\n\nfirst\n\n\nlast\n\n"
    note = sign_note(text, LOG.key, LOG.sign)
    assert parse_note(note).text == text
    verify_note(note, [LOG.key])
    assert parse_note("\n\n" + PETER_LINE).text == "\n"


def test_one_signature_has_one_spelling():
    # The last two bits under the padding are free for a lax decoder, even a validating one.
    other = PETER_LINE.replace("JnAM=", "JnAN=")
    decode = [base64.b64decode(line.split()[2], validate=True) for line in (PETER_LINE, other)]
    assert decode[0] == decode[1]
    assert other != PETER_LINE
    with pytest.raises(VerificationFailed, match="not canonical base64"):
        parse_signature_line(other)
    for respelled in ("JnAM", "JnAM==", "JnAM=\n", "JnAM= ", "JnA M="):
        with pytest.raises(VerificationFailed):
            parse_signature_line(PETER_LINE.replace("JnAM=", respelled))
    with pytest.raises(VerificationFailed):
        parse_signature_line(PETER_LINE.replace("x08go/ZJkuBS9", "x08go_ZJkuBS9"))


def test_size_and_number_of_signatures_are_bounded():
    assert len(parse_note(TEXT + "\n" + PETER_LINE * MAX_SIGNATURES).signatures) == MAX_SIGNATURES
    with pytest.raises(VerificationFailed, match="more than 64 signatures"):
        parse_note(TEXT + "\n" + PETER_LINE * (MAX_SIGNATURES + 1))
    room = MAX_NOTE_BYTES - len(("\n\n" + PETER_LINE).encode())
    parse_note("x" * room + "\n\n" + PETER_LINE)
    with pytest.raises(VerificationFailed, match="longer than"):
        parse_note("x" * (room + 1) + "\n\n" + PETER_LINE)
    # Counted in bytes, not in characters.
    with pytest.raises(VerificationFailed, match="longer than"):
        parse_note("字" * (room // 2) + "\n\n" + PETER_LINE)
    with pytest.raises(InvalidInput, match="longer than"):
        sign_note("x" * MAX_NOTE_BYTES + "\n", LOG.key, LOG.sign)


NAMES = st.text(min_size=1, max_size=20).filter(lambda name: _allowed(name))
LINES = st.builds(NoteSignature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))
TEXTS = st.text(st.characters(min_codepoint=32) | st.just("\n"), max_size=80).map(lambda text: text + "\n")


def _allowed(name: str) -> bool:
    try:
        check_name(name)
    except InvalidInput:
        return False
    return True


@given(TEXTS, st.lists(LINES, min_size=1, max_size=4))
@settings(deadline=None)
def test_what_is_written_parses_back(text, lines):
    note = Note(text, tuple(lines))
    assert parse_note(note.to_text()) == note


FRAGMENTS = st.sampled_from(
    ["— ", "\n", "\n\n", " ", PETER_LINE, ENOCH_LINE, TEXT, "=", "AAAA", "—", "\r", "name"]
)


@given(st.lists(FRAGMENTS | st.text(max_size=6), max_size=12).map("".join))
@example(NOTE)
@settings(max_examples=400, deadline=None)
def test_what_parses_serialises_to_the_same_text(text):
    try:
        note = parse_note(text)
    except VerificationFailed:
        return
    assert note.to_text() == text


@given(st.lists(FRAGMENTS | st.text(max_size=6), max_size=6).map("".join))
@example(PETER_LINE)
@settings(max_examples=300, deadline=None)
def test_a_line_that_parses_serialises_to_the_same_text(line):
    try:
        signature = parse_signature_line(line)
    except VerificationFailed:
        return
    assert signature.line() == line


def test_names_that_could_mislead_a_reader_are_refused():
    for name in (
        "",
        "a b",
        "a+b",
        "a\u3000b",
        "a\nb",
        "a\x7fb",
        "a\u200bb",
        "a\u2066b",
        "\ud800",
        "n" * 256,
        "医" * 86,
    ):
        with pytest.raises(InvalidInput, match="key name"):
            check_name(name)
    for name in ("hospital.example/ledger", "医院.example", "n" * 255, "医" * 85):
        check_name(name)


@pytest.mark.parametrize("vkey", GO["refused_vkeys"])
def test_published_bad_keys_are_refused(vkey):
    with pytest.raises(InvalidInput):
        NoteKey.parse(vkey)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_key_survives_its_text_and_no_change_of_it(kind):
    key = NoteKey("space.example/ledger", LOG.public, kind)
    vkey = key.encode()
    assert NoteKey.parse(vkey) == key
    for mutated in mutations(vkey):
        with pytest.raises(InvalidInput):
            NoteKey.parse(mutated)


def test_every_cut_of_a_key_is_refused():
    # As in the reference implementation's own test.
    vkey = GO["vkeys"][0]
    for start in range(len(vkey) + 1):
        for end in range(start, len(vkey) + 1):
            if (start, end) != (0, len(vkey)):
                with pytest.raises(InvalidInput):
                    NoteKey.parse(vkey[start:end])


PRIME = 2**255 - 19
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826


@pytest.mark.parametrize("sign_bit", [0, 1])
@pytest.mark.parametrize("y", [0, 1, PRIME - 1, ORDER_8, PRIME - ORDER_8, PRIME, PRIME + 1])
def test_keys_that_anybody_can_sign_for_are_refused(y, sign_bit):
    public = (y | sign_bit << 255).to_bytes(32, "little")
    for kind in KeyKind:
        with pytest.raises(InvalidInput, match="nobody made"):
            NoteKey("log.example", public, kind)


def test_without_that_check_one_signature_would_fit_many_texts():
    identity = (1).to_bytes(32, "little")
    made_by_nobody = identity + bytes(32)
    for text in (b"approved\n", b"refused\n"):
        Ed25519PublicKey.from_public_bytes(identity).verify(made_by_nobody, text)


def test_a_cosignature_carries_its_time_and_nobody_can_change_it():
    witness = STRANGER.witness_key
    made = make_signature(TEXT, witness, STRANGER.sign, time_seconds=NOW)
    assert made.signature[:8] == NOW.to_bytes(8, "big")
    # The signed bytes are those of the specification.
    message = f"cosignature/v1\ntime {NOW}\n{TEXT}".encode()
    Ed25519PublicKey.from_public_bytes(STRANGER.public).verify(made.signature[8:], message)
    (verified,) = verify_note(Note(TEXT, (made,)), [witness])
    assert (verified.key, verified.time_seconds) == (witness, NOW)
    later = NoteSignature(made.name, made.key_hash, (NOW + 1).to_bytes(8, "big") + made.signature[8:])
    with pytest.raises(VerificationFailed, match="does not fit"):
        verify_note(Note(TEXT, (later,)), [witness])


@pytest.mark.parametrize("time_seconds", [0, 1, MAX_TIME_SECONDS])
def test_times_at_the_bounds(time_seconds):
    made = make_signature(TEXT, STRANGER.witness_key, STRANGER.sign, time_seconds=time_seconds)
    assert verify_note(Note(TEXT, (made,)), [STRANGER.witness_key])[0].time_seconds == time_seconds


def test_a_time_out_of_range_is_refused_even_if_it_is_signed():
    time_seconds = MAX_TIME_SECONDS + 1
    raw = STRANGER.sign(f"cosignature/v1\ntime {time_seconds}\n{TEXT}".encode())
    line = NoteSignature(STRANGER.name, STRANGER.witness_key.key_hash, time_seconds.to_bytes(8, "big") + raw)
    with pytest.raises(VerificationFailed, match="wrong form"):
        verify_note(Note(TEXT, (line,)), [STRANGER.witness_key])
    for bad in (time_seconds, -1):
        with pytest.raises(InvalidInput, match="time"):
            make_signature(TEXT, STRANGER.witness_key, STRANGER.sign, time_seconds=bad)


def test_only_a_cosignature_has_a_time():
    with pytest.raises(InvalidInput, match="time"):
        make_signature(TEXT, STRANGER.key, STRANGER.sign, time_seconds=NOW)
    with pytest.raises(InvalidInput, match="time"):
        make_signature(TEXT, STRANGER.witness_key, STRANGER.sign)


def test_a_signature_of_one_kind_is_none_of_the_other():
    plain = make_signature(TEXT, STRANGER.key, STRANGER.sign)
    timed = make_signature(TEXT, STRANGER.witness_key, STRANGER.sign, time_seconds=NOW)
    assert plain.key_hash != timed.key_hash
    swapped = [
        NoteSignature(STRANGER.name, timed.key_hash, plain.signature),
        NoteSignature(STRANGER.name, plain.key_hash, timed.signature),
        NoteSignature(STRANGER.name, plain.key_hash, timed.signature[8:]),
        NoteSignature(STRANGER.name, timed.key_hash, bytes(8) + plain.signature),
    ]
    for line in swapped:
        with pytest.raises(VerificationFailed):
            verify_note(Note(TEXT, (line,)), [STRANGER.key, STRANGER.witness_key])


def test_a_note_cannot_be_signed_that_would_be_a_cosignature():
    mimic = f"cosignature/v1\ntime {NOW}\n{TEXT}"
    # The attack, with a signer that does not look: the note's signature is a cosignature nobody gave.
    raw = STRANGER.sign(mimic.encode())
    stolen = NoteSignature(STRANGER.name, STRANGER.witness_key.key_hash, NOW.to_bytes(8, "big") + raw)
    verify_note(Note(TEXT, (stolen,)), [STRANGER.witness_key])
    with pytest.raises(InvalidInput, match="begins like a cosignature"):
        sign_note(mimic, STRANGER.key, STRANGER.sign)
    note = Note(mimic, (NoteSignature(STRANGER.name, STRANGER.key.key_hash, raw),))
    with pytest.raises(VerificationFailed, match="begins like a cosignature"):
        verify_note(note, [STRANGER.key])


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\ud800\n"])
def test_a_text_that_is_no_note_is_not_signed(text):
    with pytest.raises(InvalidInput):
        sign_note(text, LOG.key, LOG.sign)


def test_signing_with_another_key_is_noticed_at_once():
    with pytest.raises(InvalidInput, match="not the one that belongs"):
        sign_note(TEXT, LOG.key, STRANGER.sign)
    with pytest.raises(InvalidInput, match="not the one that belongs"):
        sign_note(TEXT, LOG.key, lambda _: b"")


def test_a_public_key_has_32_bytes():
    for size in (0, 31, 33):
        with pytest.raises(InvalidInput, match="32 bytes"):
            NoteKey("log.example", b"\x05" * size)
