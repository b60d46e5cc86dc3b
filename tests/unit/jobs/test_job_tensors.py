from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.tensors import (
    BF16,
    DTYPES,
    TensorInfo,
    narrow_tensors,
    read_tensors,
    round_bf16,
    tensor_infos,
    write_tensors,
)

arrays = st.sampled_from([dtype for name, dtype in DTYPES.items() if name != BF16]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None,
    )
)
files = st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9.]{0,12}\Z"), arrays, max_size=5)
MODEL = {"model.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "model.bias": np.zeros(2, np.float32)}


def forge(header: object, body: bytes, pad: bytes | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8) if pad is None else pad
    return struct.pack("<Q", len(text)) + text + body


def header_of(data: bytes) -> dict:
    (size,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + size])


def body_of(data: bytes) -> bytes:
    return data[8 + struct.unpack_from("<Q", data)[0] :]


@given(files)
def test_the_bytes_are_those_of_the_formats_own_library(tensors):
    data = write_tensors(tensors)
    assert data == save(tensors)
    found = read_tensors(data)
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(load(data)[name], array)


@given(files, st.data())
def test_whatever_parses_is_written_back_to_the_same_bytes(tensors, data):
    changed = bytearray(write_tensors(tensors))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = read_tensors(bytes(changed))
    except VerificationFailed:
        return
    assert write_tensors(found, narrow_tensors(bytes(changed))) == bytes(changed)


@given(st.binary(max_size=200))
def test_garbage_is_refused_cleanly(data):
    try:
        found = read_tensors(data)
    except VerificationFailed:
        return
    assert write_tensors(found, narrow_tensors(data)) == data


def test_infos():
    infos = tensor_infos(write_tensors(MODEL))
    assert infos == (TensorInfo("model.bias", "F32", (2,)), TensorInfo("model.weight", "F32", (2, 3)))


def smuggle_metadata():
    return save(MODEL, metadata={"format": "pt", "patients": "13800138000"})


def smuggle_a_mark():
    return save(MODEL, metadata={"format": "pt"})


def smuggle_in_the_order_of_an_entry():
    sound = write_tensors(MODEL)
    header = header_of(sound)
    header["model.bias"] = dict(reversed(header["model.bias"].items()))
    return forge(header, body_of(sound))


def smuggle_in_order():
    sound = write_tensors(MODEL)
    header = header_of(sound)
    return forge(dict(reversed(header.items())), body_of(sound))


def smuggle_in_spaces():
    sound = write_tensors(MODEL)
    return forge(json.dumps(header_of(sound)).encode(), body_of(sound))


def smuggle_in_padding():
    sound = write_tensors(MODEL)
    header = json.dumps(header_of(sound), separators=(",", ":")).encode()
    return forge(header + b" " * 64, body_of(sound))


def smuggle_in_escapes():
    sound = write_tensors(MODEL)
    header = (
        json.dumps(header_of(sound), separators=(",", ":")).replace("model.bias", "model\\u002ebias").encode()
    )
    return forge(header, body_of(sound))


@pytest.mark.parametrize(
    "forged",
    [
        smuggle_metadata, smuggle_a_mark, smuggle_in_order, smuggle_in_the_order_of_an_entry, smuggle_in_spaces,
        smuggle_in_padding, smuggle_in_escapes,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_hidden_messages_that_the_library_lets_through_are_refused(forged):
    data = forged()
    assert set(load(data)) == set(MODEL), "the control: without our parser the file is a good one"
    with pytest.raises(VerificationFailed):
        read_tensors(data)


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
BODY = np.ones(1, np.float32).tobytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 8,
        struct.pack("<Q", 1 << 60),
        forge({"a": ONE}, BODY + b"\0"),
        forge({"a": ONE}, BODY[:3]),
        forge({"a": {**ONE, "data_offsets": [4, 8]}}, b"\0" * 8),
        forge({"a": {**ONE, "data_offsets": [4, 0]}}, BODY),
        forge({"a": {**ONE, "shape": [-1]}}, BODY),
        forge({"a": {**ONE, "shape": [True]}}, BODY),
        forge({"a": {**ONE, "shape": [1.0]}}, BODY),
        forge({"a": {**ONE, "shape": [1 << 50]}}, BODY),
        forge({"a": {**ONE, "shape": [2]}}, BODY),
        forge({"a": {**ONE, "shape": [1] * 9}}, BODY),
        forge({"a": {**ONE, "dtype": "F8_E4M3"}}, BODY),
        forge({"a": {**ONE, "dtype": "BF16"}}, BODY),
        forge({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, b"\x80\x7f"),
        forge({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, b"\xff\xff"),
        forge({"a": {**ONE, "note": "hi"}}, BODY),
        forge({"a": ONE, "b": ONE}, BODY),
        forge({"a" * 201: ONE}, BODY),
        forge({"a\n": ONE}, BODY),
        forge({"": ONE}, BODY),
        forge(b'{"a":' + json.dumps(ONE).encode() + b',"a":' + json.dumps(ONE).encode() + b"}", BODY),
        forge([], b""),
        forge(b"[" * 100_000, b""),
        forge({"__metadata__": {"format": "np"}}, b""),
        forge({"a": ONE}, np.array([np.nan], np.float32).tobytes()),
        forge({"a": ONE}, np.array([np.inf], np.float32).tobytes()),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(VerificationFailed):
        read_tensors(data)


def test_the_forger_of_these_tests_can_write_a_sound_file():
    assert forge({"a": ONE}, BODY) == write_tensors({"a": np.ones(1, np.float32)})


def test_only_plain_numbers_are_written():
    for bad in (
        np.array(["x"]),
        np.array([None]),
        np.ones(2, np.complex64),
        np.ones(2, np.float16),
        np.ones(2, bool),
    ):
        with pytest.raises(InvalidInput, match="type that may not"):
            write_tensors({"a": bad})
    with pytest.raises(InvalidInput, match="not a number"):
        write_tensors({"a": np.array([np.nan])})
    assert write_tensors({"a": np.ones(2, ">f4")}) == write_tensors({"a": np.ones(2, "<f4")})


# -- bfloat16

NARROW = {"model.weight", "model.bias"}
floats = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))


@given(floats)
def test_rounding_is_bit_for_bit_that_of_torch(array):
    import torch

    wide = torch.from_numpy(np.array(array)).to(torch.bfloat16).to(torch.float32).numpy()
    found = round_bf16(array)
    assert found.shape == array.shape
    numbers = ~np.isnan(array)
    np.testing.assert_array_equal(found[numbers].view(np.uint32), wide[numbers].view(np.uint32))
    assert np.isnan(found[~numbers]).all(), "no NaN becomes a number by a carry"


def test_rounding_takes_the_nearest_and_of_two_the_even_one():
    bits = [0x3F800000, 0x3F807FFF, 0x3F808000, 0x3F808001, 0x3F818000, 0x7F7FFFFF, 0x80000001, 0xFFFFFFFF]
    found = round_bf16(np.array(bits, np.uint32).view(np.float32))
    expected = [0x3F800000, 0x3F800000, 0x3F800000, 0x3F810000, 0x3F820000, 0x7F800000, 0x80000000]
    assert found[:-1].view(np.uint32).tolist() == expected
    assert np.isnan(found[-1])


@given(files, st.data())
def test_a_file_with_bfloat16_is_that_of_the_formats_own_library(tensors, data):
    import torch
    from safetensors.torch import load as load_torch
    from safetensors.torch import save as save_torch

    names = [name for name, array in tensors.items() if array.dtype == np.float32]
    narrow = set(data.draw(st.lists(st.sampled_from(names), unique=True))) if names else set()
    sent = {n: round_bf16(np.clip(a, -1e38, 1e38)) if n in narrow else a for n, a in tensors.items()}
    made = write_tensors(sent, narrow)
    native = {n: torch.from_numpy(np.array(a)) for n, a in sent.items()}
    assert made == save_torch({n: t.to(torch.bfloat16) if n in narrow else t for n, t in native.items()})
    assert narrow_tensors(made) == narrow
    for name, array in read_tensors(made).items():
        assert array.dtype == sent[name].dtype
        np.testing.assert_array_equal(array, sent[name])
        assert not array.flags.writeable
        assert torch.equal(load_torch(made)[name].to(native[name].dtype), native[name])


def test_what_is_no_bfloat16_is_not_written_as_one():
    narrow = read_tensors(write_tensors(MODEL, NARROW))
    assert all(np.array_equal(narrow[name], MODEL[name]) for name in MODEL)
    with pytest.raises(InvalidInput, match="not a bfloat16"):
        write_tensors({"a": np.array([1.0, 1.001], np.float32)}, ["a"])
    for kind in (np.float64, np.int32, np.uint16):
        with pytest.raises(InvalidInput, match="type that may not"):
            write_tensors({"a": np.ones(2, kind)}, ["a"])
    with pytest.raises(InvalidInput, match="type that may not"):
        write_tensors({"a": np.ones(2, np.uint16)})
    with pytest.raises(InvalidInput, match="not a number"):
        write_tensors({"a": round_bf16(np.array([3.4e38], np.float32))}, ["a"])
