from __future__ import annotations

import io
import json
import zlib

import numpy as np
import pyarrow as pa
import pytest
from job_runs import parameters, run
from PIL import Image

from trustspace.data.images import PNG_SIGNATURE, write_png
from trustspace.errors import InvalidInput
from trustspace.jobs.artifacts import check_artifacts
from trustspace.jobs.images import decode_image, read_images
from trustspace.jobs.tensors import read_tensors

RAMP = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, format=kind)
    return out.getvalue()


def decoded(data: bytes, *, size: int = 8, channels: int = 1):
    return decode_image(data, size=size, channels=channels)


def pictures(rows: int, seed: int = 5) -> pa.Table:
    """Noise, brighter in one corner when there is a finding; PNG and JPEG by turns."""
    draw = np.random.default_rng(seed)
    ill = draw.random(rows) < 0.5
    images = []
    for index in range(rows):
        pixels = draw.integers(60, 120, (20, 24))
        if ill[index]:
            pixels[:8, :8] += 80
        images.append(encoded(Image.fromarray(pixels.astype(np.uint8)), "PNG" if index % 2 else "JPEG"))
    return pa.table({"image": pa.array(images, pa.binary()), "outcome": pa.array(np.where(ill, "M", "B"))})


def test_pixels_are_those_of_the_file():
    assert decoded(encoded(Image.fromarray(RAMP))).tolist() == [RAMP.tolist()]
    assert decoded(write_png(8, 8, "L", RAMP.tobytes())).tolist() == [RAMP.tolist()]
    close = decoded(encoded(Image.fromarray(RAMP), "JPEG")).astype(int)
    assert np.abs(close[0] - RAMP).max() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_becomes_grey_or_colour(mode):
    image = Image.fromarray(RAMP).convert(mode)
    assert decoded(encoded(image)).shape == (1, 8, 8)
    assert decoded(encoded(image), channels=3).shape == (3, 8, 8)


def test_colour_keeps_its_channels():
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 0] = 200
    assert decoded(encoded(Image.fromarray(red)), channels=3)[:, 0, 0].tolist() == [200, 0, 0]


def test_sixteen_bits_are_scaled_and_not_clipped():
    wide = (RAMP.astype(np.uint16) << 8) | 7
    assert decoded(encoded(Image.fromarray(wide))).tolist() == [RAMP.tolist()]


def test_images_are_scaled():
    flat = Image.new("L", (100, 60), 77)
    assert decoded(encoded(flat), size=16).tolist() == [[[77] * 16] * 16]


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "PPM", "WEBP"])
def test_other_formats_are_not_decoded(kind):
    data = encoded(Image.fromarray(RAMP).convert("RGB"), kind)
    Image.open(io.BytesIO(data)).load()  # the control: the library would
    with pytest.raises(OSError):
        decoded(data)


@pytest.mark.parametrize("side", [8_193, 60_000])
def test_a_bomb_is_not_unpacked(side):
    import struct

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    bomb = PNG_SIGNATURE + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="too many pixels"):
        decoded(bomb)
    with pytest.raises(InvalidInput, match="row 2"):
        read_images(pa.chunked_array([[encoded(Image.fromarray(RAMP)), bomb]]), "image", size=8, channels=1)


@pytest.mark.parametrize(
    "spoil",
    [lambda d: d[:40], lambda d: b"", lambda d: b"not an image", lambda d: d[:60] + b"\0" * 20 + d[80:]],
)
def test_a_broken_image_is_named_by_column_and_row(spoil):
    sound = encoded(Image.fromarray(RAMP))
    with pytest.raises(InvalidInput, match="Column image has an image in row 2"):
        read_images(pa.chunked_array([[sound, spoil(sound)]]), "image", size=8, channels=1)


def test_a_column_that_holds_no_images_is_named():
    with pytest.raises(InvalidInput, match="Column age does not hold images"):
        read_images(pa.chunked_array([[1, 2]]), "age", size=8, channels=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_learns_from_images_and_is_judged_from_its_file(channels):
    job = parameters(
        ("image",),
        model="small_cnn",
        image_size=16,
        channels=channels,
        epochs=8,
        learning_rate="0.005",
        batch_size=16,
    )
    made = run("train", job, pictures(80))
    check_artifacts(list(made.values()), job)
    assert made == run("train", job, pictures(80))
    model = made["model.safetensors"].data
    assert read_tensors(model)["input.mean"].shape == (channels,)
    judged = json.loads(run("evaluate", job, pictures(40, seed=6), model=model)["metrics.json"].data)
    assert float(judged["withheld"]["auc"]) > 0.95


def test_rows_without_an_image_are_left_out():
    table = pictures(20)
    gaps = pa.array([None, *table["image"].to_pylist()[1:]], pa.binary())
    job = parameters(("image",), model="small_cnn", image_size=16, epochs=1)
    metrics = json.loads(run("train", job, table.set_column(0, "image", gaps))["metrics.json"].data)
    assert (metrics["rows"], metrics["left_out"]) == (19, 1)
