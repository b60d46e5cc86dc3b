"""Checkpoints: the exact text, who must have signed, and how many witnesses count."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger_parties import (
    LOG,
    NOW,
    STRANGER,
    WITNESS_VKEYS,
    WITNESSES,
    Party,
    checkpoint_of,
    mutations,
    signed,
    tree_of,
    vectors,
)

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.ledger import (
    EMPTY_ROOT,
    Checkpoint,
    NoteKey,
    add_cosignature,
    cosign,
    open_checkpoint,
    open_cosigned,
    sign_checkpoint,
    sign_note,
)
from trustspace.ledger.merkle import MAX_SIZE

CHECKPOINT = checkpoint_of(tree_of(5))
BODY = CHECKPOINT.body()
COSIGNED = signed(CHECKPOINT, WITNESSES)
LIVE = vectors("ledger_cosigned_checkpoint.json")


def test_the_checkpoint_of_a_public_log_opens_with_its_four_witnesses():
    checkpoint, times = open_cosigned(LIVE["note"], LIVE["log"], LIVE["witnesses"], 4)
    assert checkpoint.size == LIVE["size"]
    assert checkpoint.origin == NoteKey.parse(LIVE["log"]).name
    assert set(times) == set(LIVE["witnesses"])
    assert checkpoint.body() == LIVE["note"][: LIVE["note"].index("\n\n") + 1]


def test_the_body_is_that_of_the_specification():
    # The example of C2SP tlog-checkpoint.
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    checkpoint = Checkpoint.parse(text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert checkpoint.body() == text


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n",
        BODY[:-1],
        BODY + "\n",
        BODY + "extension\n",
        BODY + "extension",
        "\n" + BODY,
        BODY.replace("\n", "\r\n"),
        BODY.replace("\n5\n", "\n05\n"),
        BODY.replace("\n5\n", "\n+5\n"),
        BODY.replace("\n5\n", "\n-5\n"),
        BODY.replace("\n5\n", "\n 5\n"),
        BODY.replace("\n5\n", "\n5 \n"),
        BODY.replace("\n5\n", "\n1_0\n"),
        BODY.replace("\n5\n", "\n５\n"),
        BODY.replace("\n5\n", "\n²\n"),
        BODY.replace("\n5\n", "\n0x5\n"),
        BODY.replace("\n5\n", "\n5.0\n"),
        BODY.replace("\n5\n", "\n\n"),
        BODY.replace("\n5\n", f"\n{MAX_SIZE + 1}\n"),
        BODY.replace("\n5\n", "\n" + "9" * 100_000 + "\n"),
        BODY.replace("\n5\n", "\n0\n"),
        BODY.replace("space", "sp ace"),
        BODY.replace("space", "sp+ace"),
        BODY.replace("=\n", "\n"),
        BODY.replace("=\n", "==\n"),
        BODY.replace("=\n", "AAA=\n"),
        "space.example/ledger\n5\nYmFuYW5hcw==\n",
        "space.example/ledger\n5\n" + "A" * 43 + "B\n",
        "space.example/ledger\n5\n" + "A" * 42 + "B=\n",
    ],
)
def test_malformed_bodies_are_refused(body):
    with pytest.raises(VerificationFailed):
        Checkpoint.parse(body)


@given(
    st.lists(
        st.sampled_from(["\n", "0", "5", "log", BODY, BODY.split("\n")[2], " ", "=", "A" * 43 + "="])
        | st.text(max_size=4),
        max_size=8,
    ).map("".join)
)
@example(BODY)
@settings(max_examples=400, deadline=None)
def test_what_parses_serialises_to_the_same_text(body):
    try:
        checkpoint = Checkpoint.parse(body)
    except VerificationFailed:
        return
    assert checkpoint.body() == body


def test_a_checkpoint_that_cannot_be_is_not_built():
    for origin, size, root in (
        ("", 5, bytes(32)),
        ("a b", 5, bytes(32)),
        ("a\nb", 5, bytes(32)),
        ("log", -1, bytes(32)),
        ("log", MAX_SIZE + 1, bytes(32)),
        ("log", 5, bytes(31)),
        ("log", 5, bytes(33)),
        ("log", 0, bytes(32)),
    ):
        with pytest.raises(InvalidInput):
            Checkpoint(origin, size, root)
    assert Checkpoint("log", 0, EMPTY_ROOT).size == 0


def test_a_signed_checkpoint_opens():
    for size in (0, 1, 5):
        checkpoint = checkpoint_of(tree_of(size))
        assert open_checkpoint(signed(checkpoint), LOG.vkey) == checkpoint


def test_a_log_signs_only_its_own_checkpoints():
    with pytest.raises(InvalidInput, match="own origin"):
        sign_checkpoint(CHECKPOINT, STRANGER.name, STRANGER.public, STRANGER.sign)
    with pytest.raises(InvalidInput, match="not the one that belongs"):
        sign_checkpoint(CHECKPOINT, LOG.name, LOG.public, STRANGER.sign)


def test_another_signer_does_not_make_it_the_logs():
    imposter = Party(LOG.name, seed=bytes(32))
    forged = sign_checkpoint(CHECKPOINT, imposter.name, imposter.public, imposter.sign)
    with pytest.raises(VerificationFailed):
        open_checkpoint(forged, LOG.vkey)
    # Witnesses alone do not make one either.
    witnessed = add_cosignature(
        forged, cosign(forged, WITNESSES[0].name, WITNESSES[0].public, WITNESSES[0].sign, NOW)
    )
    with pytest.raises(VerificationFailed, match="not signed by its log"):
        open_checkpoint(witnessed, LOG.vkey, WITNESS_VKEYS, 1)


def test_a_checkpoint_of_another_log_is_refused_though_the_key_is_right():
    other = checkpoint_of(tree_of(5), origin="other.example/ledger")
    note = sign_note(other.body(), LOG.key, LOG.sign)
    with pytest.raises(VerificationFailed, match="another log"):
        open_checkpoint(note, LOG.vkey)


def test_a_signed_note_that_is_no_checkpoint_is_refused():
    for text in ("hello\n", BODY + "extension\n", BODY + "\n"):
        with pytest.raises(VerificationFailed, match="three lines"):
            open_checkpoint(sign_note(text, LOG.key, LOG.sign), LOG.vkey)


@pytest.mark.parametrize("quorum", [0, 1, 2, 3])
def test_the_quorum_counts_witnesses(quorum):
    for count in range(4):
        note = signed(CHECKPOINT, WITNESSES[:count])
        if count >= quorum:
            assert open_checkpoint(note, LOG.vkey, WITNESS_VKEYS, quorum) == CHECKPOINT
        else:
            with pytest.raises(VerificationFailed, match=f"by {count} of the {quorum}"):
                open_checkpoint(note, LOG.vkey, WITNESS_VKEYS, quorum)


def test_one_witness_counts_once_however_often_it_signs():
    first = WITNESSES[0]
    note = signed(CHECKPOINT)
    for time_seconds in (NOW, NOW + 10, NOW + 5):
        note += cosign(note, first.name, first.public, first.sign, time_seconds)
    assert open_cosigned(note, LOG.vkey, WITNESS_VKEYS, 1)[1] == {first.witness_vkey: NOW + 10}
    with pytest.raises(VerificationFailed, match="by 1 of the 2"):
        open_checkpoint(note, LOG.vkey, WITNESS_VKEYS, 2)


def test_a_stranger_does_not_count():
    note = signed(CHECKPOINT, (STRANGER,))
    assert open_checkpoint(note, LOG.vkey, WITNESS_VKEYS, 0) == CHECKPOINT
    with pytest.raises(VerificationFailed, match="by 0 of the 1"):
        open_checkpoint(note, LOG.vkey, WITNESS_VKEYS, 1)


def test_a_witness_under_two_names_or_the_log_as_witness_is_refused():
    twin = Party("other-name.example", seed=WITNESSES[0].name.encode().ljust(32, b"."))
    assert twin.public == WITNESSES[0].public
    with pytest.raises(InvalidInput, match="stands for two"):
        open_checkpoint(COSIGNED, LOG.vkey, [*WITNESS_VKEYS, twin.witness_vkey], 1)
    with pytest.raises(InvalidInput, match="stands for two"):
        open_checkpoint(COSIGNED, LOG.vkey, [*WITNESS_VKEYS, WITNESS_VKEYS[0]], 1)
    with pytest.raises(InvalidInput, match="stands for two"):
        open_checkpoint(COSIGNED, LOG.vkey, [LOG.witness_vkey], 1)


def test_keys_in_the_wrong_place_and_impossible_quorums_are_refused():
    with pytest.raises(InvalidInput, match="is a witness's"):
        open_checkpoint(COSIGNED, LOG.witness_vkey, WITNESS_VKEYS, 1)
    with pytest.raises(InvalidInput, match="not a cosignature key"):
        open_checkpoint(COSIGNED, LOG.vkey, [STRANGER.vkey], 0)
    for quorum in (-1, 4):
        with pytest.raises(InvalidInput, match="between 0 and 3"):
            open_checkpoint(COSIGNED, LOG.vkey, WITNESS_VKEYS, quorum)


def test_no_one_byte_change_opens_in_a_cosigned_checkpoint():
    note = signed(CHECKPOINT, WITNESSES[:2])
    open_checkpoint(note, LOG.vkey, WITNESS_VKEYS[:2], 2)
    count = 0
    for mutated in mutations(note):
        count += 1
        with pytest.raises(VerificationFailed):
            open_checkpoint(mutated, LOG.vkey, WITNESS_VKEYS[:2], 2)
    assert count > 3000


def test_a_checkpoint_is_never_the_encoding_of_a_statement():
    # DSSE signs "DSSEv1 <length> <type> <length> <payload>": with a lax origin, a log key that also signs
    # statements could be made to sign one by way of a checkpoint.
    lax = "DSSEv1 28 application/vnd.in-toto+json 2 {}\n5\n" + BODY.split("\n")[2] + "\n"
    sign_note(lax, LOG.key, LOG.sign)
    with pytest.raises(VerificationFailed, match="key name"):
        Checkpoint.parse(lax)
