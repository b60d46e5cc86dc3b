"""Outputs that attack whoever opens them: no path, no archive, no pickle, and one form for every content."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from redteam.arena import FINDING, Arena, Output
from redteam.attacks.files import enclave_folder, own_folder
from redteam.model import JOBS, Attack, Seen, both, job_files
from trustspace.crypto.canonical import canonical_json
from trustspace.errors import TrustspaceError
from trustspace.jobs.artifacts import check_artifacts
from trustspace.jobs.container import MAGIC, RawArtifact, pack, unpack
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.png import encode_png
from trustspace.jobs.precision import leaving
from trustspace.jobs.tensors import write_tensors

SAFETENSORS = "application/x-safetensors"
_NO_PATHS = both("outputs leave through one memory file, read when all is dead; we open no path of a job's",
                 "输出只经一个内存文件，在进程全部结束后读取；从不打开任务指定的路径")  # fmt: skip
_ONE_FORM = both("parsed strictly and written again: it must come out byte for byte the same",
                 "严格解析后重新写出，必须逐字节相同")  # fmt: skip
_NO_ARCHIVE = both(
    "an allow-list of four plain formats; archives are none of them", "只许四种普通格式，不含归档"
)
_INDEX = both("the container's index is canonical, names are checked, sizes must add up",
              "容器索引须为规范形式，名称受检，大小须吻合")  # fmt: skip
Row = tuple[str, str]

# -- what the enclave says


def parameters_for(*declared: dict[str, Any]) -> Parameters:
    """A compute job that declares these outputs."""
    return Parameters.model_validate(
        {
            "kind": "compute",
            "datasets": [{"id": "ward-a", "version": 1, "columns": ["name", "age"]}],
            "compute": {"outputs": [{"max_bytes": 1 << 20, **one} for one in declared]},
            "terms": {"withheld_percent": 0},
        }
    )


def judged(container: bytes, parameters: Parameters) -> Seen:
    """What the enclave makes of a container that a worker wrote."""
    try:
        check_artifacts(leaving(unpack(container, max_bytes=16 << 20), parameters), parameters)
    except TrustspaceError as error:
        return Seen(False, f"refused: {error.message.format(**error.details)}")
    return Seen(True, "taken")


def judged_file(name: str, media_type: str, data: bytes) -> Seen:
    """The same for one file."""
    container = pack([RawArtifact(name, media_type, data)])
    return judged(container, parameters_for({"name": name, "media_type": media_type}))


def written_inside(arena: Arena, container: bytes, outputs: tuple[Output, ...] = (FINDING,)) -> Seen:
    """The same for a container that a real job writes itself, in a sandbox."""
    files = {
        **job_files("outputs_raw.py"),
        "resources_output.py": (JOBS / "resources_output.py").read_text(encoding="utf-8"),
        "container.txt": base64.b64encode(container).decode(),
    }
    end = arena.inside(files, outputs=outputs)
    return Seen(bool(end.artifacts), f"{end.status}: {end.reason}")


# -- what naive readers do


def file_attack(
    name: str, title: Row, wants: Row, media_type: str, suffix: str, make: Callable[[], bytes],
    naive: Callable[[bytes], str], defence: dict[str, str] = _ONE_FORM,
) -> Attack:  # fmt: skip
    """A file that a naive reader falls for: ``naive`` says what happened to it, "" for nothing."""

    def without(_: Arena) -> Seen:
        said = naive(make())
        return Seen(bool(said), said)

    def within(_: Arena) -> Seen:
        return judged_file(f"result.{suffix}", media_type, make())

    return Attack(f"outputs/{name}", "outputs", both(*title), both(*wants), defence, without, within)


class _Canary:
    """Unpickled, it runs a command of its choice."""

    def __reduce__(self) -> Any:
        return exec, ("import sys; sys.redteam_canary = 'sang'",)


def _sang(load: Callable[[], object]) -> str:
    import sys

    with contextlib.suppress(Exception):
        load()
    sang = bool(sys.__dict__.pop("redteam_canary", None))
    return "code of the job's ran in the reader" if sang else ""


def _torch_file() -> bytes:
    """What torch.save writes, as far as torch.load looks at it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Canary(), protocol=2))
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def _torch_load(data: bytes) -> str:
    import torch

    return _sang(lambda: torch.load(io.BytesIO(data), weights_only=False))


def _pickle_in_metadata() -> bytes:
    from safetensors.numpy import save

    hidden = base64.b64encode(pickle.dumps(_Canary())).decode()
    return bytes(save({"weight": np.ones(2, np.float32)}, metadata={"optimiser": hidden}))


def _metadata_loader(data: bytes) -> str:
    header = json.loads(data[8 : 8 + struct.unpack_from("<Q", data)[0]])
    return _sang(lambda: pickle.loads(base64.b64decode(header["__metadata__"]["optimiser"])))


def header_of(data: bytes) -> dict[str, Any]:
    """A safetensors file's header."""
    header: dict[str, Any] = json.loads(data[8 : 8 + struct.unpack_from("<Q", data)[0]])
    return header


def forge(header: Any, body: bytes) -> bytes:
    """A safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def naive_tensors(data: bytes) -> dict[str, Any]:
    """Tensors where the header says that they are, as many short readers do it."""
    start = 8 + struct.unpack_from("<Q", data)[0]
    found = {}
    for name, entry in header_of(data).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            found[name] = np.frombuffer(data[start + begin : start + end], np.float32)
    return found


def _read_with_room(data: bytes) -> str:
    """Whether a naive reader takes the file although bytes in it belong to no tensor, or to two."""
    tensors = naive_tensors(data)
    taken = sum(array.nbytes for array in tensors.values())
    body = len(data) - 8 - struct.unpack_from("<Q", data)[0]
    if taken > body:
        return f"read, {taken - body} bytes twice"
    return f"read, {body - taken} bytes unseen" if body > taken else ""


_ROWS = b"patient-0 63 M;" * 8
_ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def _with_hole() -> bytes:
    size = len(_ROWS)
    second = {"dtype": "F32", "shape": [1], "data_offsets": [4 + size, 8 + size]}
    return forge({"a": _ONE, "b": second}, bytes(4) + _ROWS + bytes(4))


def _overlapping() -> bytes:
    return forge({"a": _ONE, "b": _ONE}, bytes(4))


def _trailing() -> bytes:
    return write_tensors({"a": np.ones(1, np.float32)}) + _ROWS


def _reordered_entries() -> bytes:
    """Which key of an entry comes first is a message: six orders, two and a half bits for each tensor."""
    sound = write_tensors({f"t{n:02d}": np.ones(1, np.float32) for n in range(16)})
    header = {
        name: dict(reversed(entry.items())) if number % 3 else entry
        for number, (name, entry) in enumerate(header_of(sound).items())
    }
    return forge(header, sound[8 + struct.unpack_from("<Q", sound)[0] :])


def _library_reads(data: bytes) -> str:
    from safetensors.numpy import load

    return f"the library reads all {len(load(data))} tensors and sees nothing"


def _extra_tensor() -> bytes:
    """A trained model with one tensor more than its architecture has."""
    tensors = {name: np.zeros(2, np.float32) for name in ("input.fill", "input.mean", "input.scale")}
    tensors |= {"model.weight": np.zeros((1, 2), np.float32), "model.bias": np.zeros(1, np.float32)}
    return write_tensors({**tensors, "model.rows": np.frombuffer(_ROWS, np.float32)})


_METRICS = canonical_json(
    {
        "format": "trustspace-training-v1", "model": "logistic_regression", "epochs": 1, "rows": 8, "left_out": 0,
        "threads": 1, "loss_per_epoch": ["0.500000"], "loss": "0.500000", "auc": "0.700000", "accuracy": "0.700000",
    }
)  # fmt: skip


def trained(tensors: bytes, metrics: bytes = _METRICS, **train: Any) -> Seen:
    """What the enclave makes of these as the result of a training by the platform's loop, of ``train``."""
    wanted = {"model": "logistic_regression", "target": "outcome", "positive": "M", "epochs": 1, **train}
    parameters = Parameters.model_validate(
        {
            "kind": "train",
            "datasets": [{"id": "ward-a", "version": 1, "columns": ["age", "size"]}],
            "train": wanted,
        }
    )
    container = pack(
        [RawArtifact("metrics.json", "application/json", metrics),
         RawArtifact("model.safetensors", SAFETENSORS, tensors)]
    )  # fmt: skip
    return judged(container, parameters)


def _extra_without(_: Arena) -> Seen:
    tensors = naive_tensors(_extra_tensor())
    return Seen(tensors["model.rows"].tobytes() == _ROWS, "rows read out of a tensor nobody asked for")


def _extra_within(_: Arena) -> Seen:
    honest = {k: v for k, v in naive_tensors(_extra_tensor()).items() if k != "model.rows"}
    honest["model.weight"] = honest["model.weight"].reshape(1, 2)
    assert trained(write_tensors(honest)).worked, "the same model without the tensor is taken"
    return trained(_extra_tensor())


# -- archives and files that are two things


def _bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as member:
        for _ in range(64):
            member.write(bytes(1 << 20))
    return file.getvalue()


def _unzip(data: bytes) -> str:
    size = 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open("zeros") as member:
        while piece := member.read(1 << 20):
            size += len(piece)
    return f"{len(data) >> 10} KiB became {size >> 20} MiB" if size >= 1 << 26 else ""


def _csv_and_zip() -> bytes:
    file = io.BytesIO(b"group,mean\na,1\n")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("patients.csv", _ROWS)
    return file.getvalue()


def _two_readers_csv(data: bytes) -> str:
    table = list(csv.reader(io.StringIO(data.decode("latin-1"))))[:2]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        hidden = archive.read("patients.csv")
    return "a table to one reader, an archive of rows to another" if hidden == _ROWS and table else ""


_SCRIPT = b"<script>alert(document.cookie)</script>"


def _html_json() -> bytes:
    return b'{"a":1}\n' + _SCRIPT


def _sniffing(data: bytes) -> str:
    """What a browser does with a file whose type nobody told it: it looks for tags in the first kilobyte."""
    return "taken for a web page, its script runs" if b"<script" in data[:1024].lower() else ""


def _png_with(extra: bytes) -> Callable[[], bytes]:
    def make() -> bytes:
        plain = encode_png(np.zeros((4, 4), np.uint8))
        return plain[:33] + struct.pack(">I", len(extra)) + b"tEXt" + extra + bytes(4) + plain[33:] + extra

    return make


# -- JSON


def _first_or_last(data: bytes) -> str:
    shown = json.loads(data)["rows"]
    first = json.loads(data, object_pairs_hook=lambda pairs: dict(reversed(pairs)))["rows"]
    return f"one reader sees {first}, another {shown}" if first != shown else ""


def _recursion(data: bytes) -> str:
    try:
        json.loads(data)
    except RecursionError:
        return "the reader's stack is used up"
    return ""


def _not_a_number(data: bytes) -> str:
    mean = json.loads(data)["mean"]
    return "taken for a number that is not equal to itself" if mean != mean else ""  # noqa: PLR0124


def _carries(data: bytes) -> str:
    """Content that reads the same and bytes that do not are a message."""
    value = json.loads(data)
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return f"reads as the honest one, {len(data) - len(plain)} bytes differ" if data != plain else ""


# -- where a result is expected


def _path(what: str, title: Row, wants: Row) -> Attack:
    def target(arena: Arena) -> Path:
        if what == "symlink" and arena.identity.dedicated:
            # Something that the service may read and the job may not.
            secret = arena.folder / "forgotten"
            return secret
        return enclave_folder(arena) / "keys" / "bait"

    def without(arena: Arena) -> Seen:
        folder = own_folder(arena, f"results-{what}")
        arguments = {"what": what, "folder": str(folder), "target": str(target(arena))}
        arena.bare(job_files("outputs_path.py"), arguments=arguments)
        # The service collects the result as itself.
        try:
            read = subprocess.run(
                ["cat", folder / "result.json"], capture_output=True, timeout=2, check=False
            )
        except subprocess.TimeoutExpired:
            return Seen(what == "fifo", "the service waits for ever")
        return Seen(arena.secret in read.stdout.decode(), "the service's own secret went out as the result")

    def within(arena: Arena) -> Seen:
        arguments = {"what": what, "folder": "/nowhere", "target": str(target(arena))}
        end = arena.inside(job_files("outputs_path.py"), arguments=arguments)
        return Seen(bool(end.artifacts), f"{end.status}, nothing was read from a path")

    return Attack(f"outputs/{what}", "outputs", both(*title), both(*wants), _NO_PATHS, without, within)


# -- the container itself


def _container(name: str, size: int, content: bytes = b"{}") -> bytes:
    index = canonical_json([{"name": name, "media_type": "application/json", "bytes": size}])
    return struct.pack("<8sI", MAGIC, len(index)) + index + content


def _naive_unpack(container: bytes, folder: Path) -> None:
    """As short unpackers do it: names are joined, lengths are believed."""
    index_bytes = struct.unpack_from("<8sI", container)[1]
    start = 12 + index_bytes
    for entry in json.loads(container[12:start]):
        content = bytearray(entry["bytes"])
        piece = container[start : start + entry["bytes"]]
        content[: len(piece)] = piece
        (folder / entry["name"]).write_bytes(content)


def _traversal_without(_: Arena) -> Seen:
    folder = Path(tempfile.mkdtemp(prefix="trustspace-redteam-"))
    try:
        (folder / "results").mkdir()
        _naive_unpack(_container("../authorized_keys", 2), folder / "results")
        written = (folder / "authorized_keys").exists()
    finally:
        shutil.rmtree(folder)
    return Seen(written, "a file was written outside of the folder of results")


def _traversal_within(arena: Arena) -> Seen:
    return written_inside(arena, _container("../authorized_keys", 2))


def _length_without(_: Arena) -> Seen:
    folder = Path(tempfile.mkdtemp(prefix="trustspace-redteam-"))
    try:
        _naive_unpack(_container("finding.json", 1 << 46), folder)
    except (MemoryError, OverflowError):
        return Seen(True, "64 TiB asked for: the service's memory is gone")
    finally:
        shutil.rmtree(folder)
    return Seen(False, "nothing")


def _length_within(arena: Arena) -> Seen:
    return written_inside(arena, _container("finding.json", 1 << 46))


def _pickle_without(_: Arena) -> Seen:
    said = _sang(lambda: pickle.loads(pickle.dumps(_Canary())))
    return Seen(bool(said), said)


def _pickle_within(arena: Arena) -> Seen:
    """The whole way: a job in a sandbox hands a pickle out as its model."""
    container = pack([RawArtifact("model.safetensors", SAFETENSORS, pickle.dumps(_Canary()))])
    seen: list[Seen] = []
    sang = _sang(
        lambda: seen.append(written_inside(arena, container, (("model.safetensors", SAFETENSORS, 1 << 20),)))
    )
    return Seen(bool(sang) or seen[0].worked, seen[0].detail)


def _naive_takes_all(container: bytes) -> int:
    folder = Path(tempfile.mkdtemp(prefix="trustspace-redteam-"))
    try:
        _naive_unpack(container, folder)
        return len(os.listdir(folder))
    finally:
        shutil.rmtree(folder)


_TWO = pack(
    [RawArtifact("finding.json", "application/json", b"{}"), RawArtifact("rows.csv", "text/csv", b"a\n1\n")]
)


def _undeclared_without(_: Arena) -> Seen:
    taken = _naive_takes_all(_TWO)
    return Seen(taken == 2, f"{taken} files taken where one was declared")


def _undeclared_within(arena: Arena) -> Seen:
    return written_inside(arena, _TWO)


def _mistyped_within(_: Arena) -> Seen:
    container = pack([RawArtifact("result.json", "text/html", _SCRIPT)])
    return judged(container, parameters_for({"name": "result.json", "media_type": "application/json"}))


def _mistyped_without(_: Arena) -> Seen:
    """A web server that sends a file with the type that its maker gave it."""
    from html.parser import HTMLParser

    tags: list[str] = []

    class Browser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            tags.append(tag)

    Browser().feed(_SCRIPT.decode())
    return Seen(tags == ["script"], "shown as a web page, its script runs")


_STATE = ("state of the reader's own", "读取方自身的状态")
_UNSEEN = ("rows past the reviewer", "把数据带过审查")

ATTACKS = [
    _path("symlink", ("Puts a symbolic link where its result is expected", "用符号链接冒充结果"),
          ("the service to read its own secrets out", "让服务读出自己的机密")),
    _path("hardlink", ("Puts a hard link where its result is expected", "用硬链接冒充结果"),
          ("the service to hand out its own files", "让服务交出自己的文件")),
    _path("fifo", ("Puts a pipe where its result is expected", "用命名管道冒充结果"),
          ("the service to hang", "使服务永久等待")),
    Attack("outputs/path-traversal", "outputs",
           both("Writes the container itself: a name with ../", "自行写出容器，名称含 ../"),
           both("to write files of the service", "覆写服务的文件"), _INDEX, _traversal_without, _traversal_within),
    Attack("outputs/forged-length", "outputs",
           both("Writes the container itself: a length of 2^46", "自行写出容器，长度为 2^46"),
           both("the memory of whoever unpacks it", "耗尽解包者内存"), _INDEX, _length_without, _length_within),
    Attack("outputs/undeclared", "outputs",
           both("Hands out a file that nobody granted", "交出未经授权的文件"),
           both("rows in the second file", "借第二个文件带出数据"), _INDEX, _undeclared_without, _undeclared_within),
    Attack("outputs/media-type", "outputs",
           both("Calls its JSON a web page", "把 JSON 输出改称网页"),
           both("to run in the reader's browser", "在读者浏览器中运行"),
           both("the media type must be the declared one, of four", "类型须与声明一致，且限四种"),
           _mistyped_without, _mistyped_within),
    Attack("outputs/pickle", "outputs",
           both("Hands a pickle out as its model", "用 pickle 冒充模型"),
           both("to run in whoever loads it", "在加载者处执行代码"),
           both("nothing is ever unpickled; only safetensors in one form", "从不反序列化 pickle；只收规范 safetensors"),
           _pickle_without, _pickle_within),
    file_attack("torch-file", ("Hands a torch.save file out as its model", "用 torch.save 文件冒充模型"),
                ("to run in whoever loads it", "在加载者处执行代码"),
                SAFETENSORS, "safetensors", _torch_file, _torch_load, _NO_ARCHIVE),
    file_attack("pickle-in-metadata", ("Hides a pickle in the metadata of safetensors", "在 safetensors 元数据藏 pickle"),
                ("to run in tools that restore optimisers", "在恢复优化器的工具中执行代码"),
                SAFETENSORS, "safetensors", _pickle_in_metadata, _metadata_loader),
    Attack("outputs/extra-tensor", "outputs",
           both("Adds a tensor to a trained model", "给训练所得模型多加一个张量"), both(*_UNSEEN),
           both("exactly the tensors of the declared model, by name, type and shape", "张量名称、类型、形状须与声明一致"),
           _extra_without, _extra_within),
    file_attack("tensor-hole", ("Leaves a hole between tensors, with rows in it", "在张量间留空隙藏数据"), _UNSEEN,
                SAFETENSORS, "safetensors", _with_hole, _read_with_room),
    file_attack("tensor-overlap", ("Lets two tensors share their bytes", "让两个张量重叠"),
                ("two readers to see two models", "使不同读者看到不同模型"),
                SAFETENSORS, "safetensors", _overlapping, _read_with_room),
    file_attack("tensor-tail", ("Writes rows after the last tensor", "在最后张量后写数据"), _UNSEEN,
                SAFETENSORS, "safetensors", _trailing, _read_with_room),
    file_attack("tensor-header-order", ("Orders the keys of each header entry", "用文件头各项键序传信"), _UNSEEN,
                SAFETENSORS, "safetensors", _reordered_entries, _library_reads),
    file_attack("zip-bomb", ("Hands out a zip bomb as a table", "用压缩炸弹冒充表格"),
                ("the disk of whoever unpacks it", "耗尽解压者磁盘"), "text/csv", "csv", _bomb, _unzip, _NO_ARCHIVE),
    file_attack("csv-and-zip", ("Hands out a table that is an archive too", "既是表格又是压缩包"), _UNSEEN,
                "text/csv", "csv", _csv_and_zip, _two_readers_csv),
    file_attack("html-in-json", ("Hands out JSON that is a web page too", "既是 JSON 又是网页"),
                ("to run in the reader's browser", "在读者浏览器中运行"), "application/json", "json", _html_json, _sniffing),
    file_attack("html-in-png", ("Hides a web page in a picture's chunks", "在图片块中藏网页"),
                ("to run in the reader's browser", "在读者浏览器中运行"),
                "image/png", "png", _png_with(_SCRIPT), _sniffing),
    file_attack("json-twice", ("Names a key twice", "同一键出现两次"),
                ("reviewer and buyer to read two different numbers", "让审查员与购买方读到不同数字"),
                "application/json", "json", lambda: b'{"rows":12,"rows":13}', _first_or_last),
    file_attack("json-deep", ("Nests lists 100000 deep", "嵌套十万层列表"),
                ("to crash whoever reads it", "使读取者崩溃"),
                "application/json", "json", lambda: b"[" * 100_000 + b"]" * 100_000, _recursion),
    file_attack("json-nan", ("Hands out NaN", "交出 NaN"), ("to break whoever reads it", "使读取者出错"),
                "application/json", "json", lambda: b'{"mean":NaN}', _not_a_number),
    file_attack("json-spaces", ("Writes a message in spaces", "用空格传信"), _UNSEEN,
                "application/json", "json", lambda: b'{"mean": 1,"n":  2}', _carries),
    file_attack("json-escapes", ("Writes a message in escapes and the order of keys", "用转义与键序传信"), _UNSEEN,
                "application/json", "json", lambda: b'{"n":2,"mean":"\\u0031"}', _carries),
]  # fmt: skip

# Left to the slow tests: others of their kind, which stand behind the same defence, are quick.
_SLOWER = {"hardlink", "fifo", "forged-length", "torch-file", "zip-bomb"}
ATTACKS = [replace(attack, quick=attack.name.partition("/")[2] not in _SLOWER) for attack in ATTACKS]
