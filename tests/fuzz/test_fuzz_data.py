"""Data as it is handed in: tables of a hospital, images, descriptions, mock samples; and what is read of them again.

Arrow and Parquet are read by native code, which a damaged file can end: that happens in a child process, so that a
crash is a failed test with the file that caused it, and not the end of all tests.
"""

from __future__ import annotations

import io
import json
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pytest
from fuzz_mutations import REFUSED, canonical, refused, spoilt_bytes, spoilt_json
from hypothesis import strategies as st
from PIL import Image

from trustspace.crypto.canonical import canonical_json
from trustspace.data.csvfile import read_csv
from trustspace.data.description import DatasetDescription, propose_description
from trustspace.data.images import read_image_header
from trustspace.data.parquet import to_parquet
from trustspace.data.profile import profile
from trustspace.jobs.images import read_images
from trustspace.jobs.png import encode_png

TABLE = pa.table(
    {
        "age": pa.array([1, 2, None] * 20, pa.int64()),
        "size": pa.array([0.5, None, 2.5] * 20),
        "ward": pa.array(["a", "é", None] * 20),
        "image": pa.array([b"\x89PNG", b"", None] * 20),
    }
)
CHILD = textwrap.dedent(
    """
    import sys
    import pyarrow as pa
    from trustspace.data.handin import from_buffer
    from trustspace.data.parquet import read_parquet
    from trustspace.errors import InvalidInput

    read = {"parquet": read_parquet, "arrow": from_buffer}[sys.argv[1]]
    while size := sys.stdin.buffer.read(8):
        data = sys.stdin.buffer.read(int.from_bytes(size))
        try:
            table = read(data)
            str(table.to_pydict())
            said = b"read"
        except InvalidInput as error:
            said = b"refused" if str(error) else b"?"
        except BaseException as error:
            said = type(error).__name__.encode()
        sys.stdout.buffer.write(len(said).to_bytes(8) + said)
        sys.stdout.buffer.flush()
    """
)
MEMORY_BYTES = 8 << 30


class Reader:
    """A process that reads one file after the other, in bounded memory; a new one after a crash."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, self._kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
        )  # fmt: skip

    def read(self, data: bytes) -> str:
        given, said = self._process.stdin, self._process.stdout
        try:
            given.write(len(data).to_bytes(8) + data)
            given.flush()
        except BrokenPipeError:
            pass
        size = said.read(8)
        if size:
            return said.read(int.from_bytes(size)).decode()
        code = self._process.wait()
        self.close()
        self._start()
        return signal.Signals(-code).name if code < 0 else f"ended with {code}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture(params=["parquet", "arrow"])
def reader(request):
    found = Reader(request.param)
    found.kind = request.param
    yield found
    found.close()


def test_damaged_tables(hunt, reader):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    sound = {"parquet": to_parquet(TABLE), "arrow": sink.getvalue().to_pybytes()}[reader.kind]
    assert reader.read(sound) == "read"
    assert reader.read(b"PAR1nothing") == "refused"
    hunt(spoilt_bytes([sound]), lambda data: _said(reader, data), 400)


def _said(reader: Reader, data: bytes) -> None:
    assert reader.read(data) in {"read", "refused"}


def test_csv_files(hunt):
    sound = [
        b"a,b\n1,2\n3,4\n",
        "\ufeffname;größe\nä;1,5\n".encode(),
        "姓名\t年龄\n张\t3\n".encode("gb18030"),
        b'x\n"a\nb"\n',
    ]
    hunt(spoilt_bytes(sound), lambda data: refused(lambda d: read_csv(d, file="x.csv"), data), 600)


def _images() -> list[bytes]:
    pixels = np.random.default_rng(1).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    found = [encode_png(pixels), encode_png(pixels[:, :, 0])]
    for kind in ("PNG", "JPEG"):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, kind)
        found.append(out.getvalue())
    return found


def test_image_headers(hunt):
    def attack(data):
        header = refused(read_image_header, data)
        assert header is None or (header.width > 0 and header.height > 0)

    hunt(spoilt_bytes(_images()), attack, 600)


def test_images_for_training(hunt):
    def attack(data):
        column = pa.chunked_array([pa.array([data], pa.binary())])
        pixels = refused(lambda c: read_images(c, "scan", size=16, channels=1), column)
        assert pixels is REFUSED or pixels.shape == (1, 1, 16, 16)

    hunt(spoilt_bytes(_images()), attack, 500)


def test_descriptions(hunt):
    sound = propose_description(profile(TABLE.drop(["image"]), patient_column=None), "Title").to_json()

    def attack(value):
        found = refused(DatasetDescription.from_json, value)
        assert found is REFUSED or canonical_json(found.to_json()) == canonical_json(value)

    hunt(spoilt_json([sound]), attack, 500)
    hunt(st.sampled_from([None, [], "x", 3, [[]], {"a": {}}]), attack, 6)
    assert json.loads(canonical(sound)) == sound
