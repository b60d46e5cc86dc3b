"""Hiding data in an approved result: it cannot be prevented, so it is bounded, counted, and said to whoever decides."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pyarrow as pa

from redteam.arena import Arena, JobEnd
from redteam.attacks.outputs import SAFETENSORS, naive_tensors, parameters_for, trained, written_inside
from redteam.model import Attack, Seen, both, job_files
from trustspace.domain.bodies import Policy
from trustspace.evidence.facts import Judgement, RunFacts
from trustspace.evidence.report import NOT_APPLICABLE_BY_DEFAULT, build_report
from trustspace.jobs.artifacts import encode_json
from trustspace.jobs.container import RawArtifact, pack
from trustspace.jobs.tensors import write_tensors

_ROWS = both("rows in an approved result", "把数据藏在获批结果中")
_PATIENTS, _NUMBERS, _MANY = 400, 4000, 40_000
_DECLARED = ("model.safetensors", SAFETENSORS, 24 << 10)


def ward() -> pa.Table:
    """Patients enough that a file of 24 KiB does not hold all of them."""
    numbers = range(_PATIENTS)
    return pa.table({
        "name": [f"patient-{n:04d}" for n in numbers], "age": [20 + n % 70 for n in numbers],
        "size": [n / 7 for n in numbers], "outcome": ["MB"[n % 2] for n in numbers],
    })  # fmt: skip


def recovered(data: bytes) -> int:
    """How many patients somebody reads out of the lowest bits of a model."""
    low = naive_tensors(data)["weight"].view(np.uint32).astype(np.uint8).tobytes().decode("latin-1")
    names = {line.split(",")[0] for line in low.split("\n")}
    return sum(f"patient-{n:04d}" in names for n in range(_PATIENTS))


def _stuffed(end: JobEnd) -> int:
    found = end.artifacts.get("model.safetensors")
    return recovered(found.data) if found is not None else 0


def _stuff_without(arena: Arena) -> Seen:
    end = arena.bare(
        job_files("capacity_stuff.py"), rows=ward(), arguments={"numbers": _MANY},
        outputs=((*_DECLARED[:2], 1 << 20),),
    )  # fmt: skip
    count = _stuffed(end)
    return Seen(count == _PATIENTS, f"{count} of {_PATIENTS} patients in a model of {len(end.raw) >> 10} KiB")


def _stuff_within(arena: Arena) -> Seen:
    """The same in what was declared; then the enclave's own evidence on exactly these bytes."""
    end = arena.inside(
        job_files("capacity_stuff.py"), rows=ward(), arguments={"numbers": _NUMBERS}, outputs=(_DECLARED,)
    )
    count = _stuffed(end)
    warned = _warnings(end.artifacts["model.safetensors"]) if count else []
    # Without these words the source unit would not know what it decides on.
    assert not count or {"sizes", "custom_code"} <= set(warned), warned
    told = " and ".join(name.replace("_", " ") for name in warned if name in ("sizes", "custom_code"))
    return Seen(count > 0, f"{count} of {_PATIENTS} patients in the declared 24 KiB; reviewer warned: {told}")


def _warnings(model: RawArtifact) -> list[str]:
    """The checks of the report that ask the reviewer to look closely."""
    table = ward()
    name, kind, size = _DECLARED
    facts = RunFacts.of(
        parameters_for({"name": name, "media_type": kind, "max_bytes": size}), [model], digests=(), commitments={},
        rows=table.num_rows, patients=table.num_rows, withheld_patients=0,
        record_bytes=max(1, table.nbytes // table.num_rows), judged=Judgement(),
        sandbox_tier="namespaces+landlock+seccomp", sandbox_tier_demanded="any", evidence_kind="software",
        evidence_kind_demanded="software",
    )  # fmt: skip
    report = build_report(facts, Policy(not_applicable=NOT_APPLICABLE_BY_DEFAULT))
    return [check.name for check in report.checks if check.status == "warned"]


def _size_without(arena: Arena) -> Seen:
    return _stuff_without(arena)


def _size_within(arena: Arena) -> Seen:
    end = arena.inside(
        job_files("capacity_stuff.py"), rows=ward(), arguments={"numbers": _MANY}, outputs=(_DECLARED,)
    )
    return Seen(_stuffed(end) > 0, f"{end.status}: 160 KB where 24 KiB were declared and granted")


def _with_metadata() -> bytes:
    from safetensors.numpy import save

    rows = ";".join(ward().column("name").to_pylist())
    return bytes(save({"weight": np.ones(4, np.float32)}, metadata={"author": rows}))


def _metadata_without(_: Arena) -> Seen:
    data = _with_metadata()
    header = json.loads(data[8 : 8 + struct.unpack_from("<Q", data)[0]])
    count = header["__metadata__"]["author"].count("patient-")
    return Seen(count == _PATIENTS, f"{count} patients beside four weights")


def _metadata_within(arena: Arena) -> Seen:
    container = pack([RawArtifact("model.safetensors", SAFETENSORS, _with_metadata())])
    return written_inside(arena, container, (_DECLARED,))


def _names_without(_: Arena) -> Seen:
    names = naive_tensors(_with_names())
    count = sum("patient-" in name for name in names)
    return Seen(count == _PATIENTS, f"{count} patients in a model of one parameter")


def _names_within(_: Arena) -> Seen:
    custom = {"model": "custom", "max_parameters": 1}
    metrics = _metrics(model="custom")
    assert trained(_with_names(0), metrics, **custom).worked, "the same model without the names is taken"
    return trained(_with_names(), metrics, **custom)


def _with_names(patients: int = _PATIENTS) -> bytes:
    """Tensors without a single number: only their names say something."""
    tensors = {name: np.zeros(2, np.float32) for name in ("input.fill", "input.mean", "input.scale")}
    tensors["model.weight"] = np.zeros(1, np.float32)
    names = ward().column("name").to_pylist()[:patients]
    return write_tensors(tensors | {f"model.{name}, 63, M": np.zeros(0, np.float32) for name in names})


def _metrics(**changes: object) -> bytes:
    value = {
        "format": "trustspace-training-v1", "model": "logistic_regression", "epochs": 1, "rows": 8, "left_out": 0,
        "threads": 1, "loss_per_epoch": ["0.500000"], "loss": "0.500000", "auc": "0.700000", "accuracy": "0.700000",
    }  # fmt: skip
    return encode_json({**value, **changes})


_SMUGGLED = (
    {"note": "patient-0001, 63, M"}, {"auc": "0.7000636363421"}, {"auc": "0.70 patient-0001"},
    {"loss_per_epoch": ["0.500000", "63.000000"]}, {"threads": 2**60}, {"accuracy": "00000000000063.700000"},
)  # fmt: skip


def _metrics_without(_: Arena) -> Seen:
    taken = [json.loads(_metrics(**smuggled)) for smuggled in _SMUGGLED]
    return Seen(len(taken) == len(_SMUGGLED), f"{len(taken)} of {len(_SMUGGLED)} ways read as metrics")


def _metrics_within(_: Arena) -> Seen:
    model = write_tensors(
        {name: np.zeros(2, np.float32) for name in ("input.fill", "input.mean", "input.scale")}
        | {"model.weight": np.zeros((1, 2), np.float32), "model.bias": np.zeros(1, np.float32)}
    )
    assert trained(model, _metrics()).worked, "honest metrics are taken"
    taken = sum(trained(model, _metrics(**smuggled)).worked for smuggled in _SMUGGLED)
    return Seen(taken > 0, f"{taken} of {len(_SMUGGLED)} ways are taken; six decimals are")


ATTACKS = [
    Attack(
        "capacity/weight-stuffing", "capacity",
        both("Hides rows in the lowest bits of a model's weights", "把数据藏入模型权重的最低位"), _ROWS,
        both("the granted size is the cap; the reviewer is told how many rows fit and that own code ran",
             "授权大小即上限；审查员被告知能藏多少行，且运行过自带代码"),
        _stuff_without, _stuff_within,
        open_because=both(
            "No check can tell weights from rows hidden in them. The file holds no more than the size that was granted, and "
            "the evidence says in amber how many records would fit and that the developer's own code met the data. A source "
            "unit that will not risk it grants a small size, a platform-owned training, or nothing.",
            "任何检查都分不清权重与藏在其中的数据。文件不能超过获授权的大小，证据以黄色说明可容纳多少条记录，并指出开发方自带代码接触过数据。"
            "不愿承担此风险的数据源单位，可只授权很小的输出、只许平台自有的训练，或不予授权。",
        ),
    ),
    Attack("capacity/declared-size", "capacity",
           both("Hands out a model larger than it declared", "交出大于声明的模型"), _ROWS,
           both("what was not granted is refused whole", "超出授权的产出整体拒收"), _size_without, _size_within),
    Attack("capacity/metadata", "capacity",
           both("Writes rows into the model's metadata", "把数据写入模型元数据"), _ROWS,
           both("no metadata in a model", "模型不得带元数据"), _metadata_without, _metadata_within),
    Attack("capacity/tensor-names", "capacity",
           both("Names tensors without numbers after its patients", "用患者信息命名空张量"), _ROWS,
           both("every name costs one of the granted parameters", "每个名称都占用一个获授权的参数"),
           _names_without, _names_within),
    Attack("capacity/metrics", "capacity",
           both("Writes rows into a training's metrics, in six ways", "以六种方式把数据写入训练指标"), _ROWS,
           both("exactly the fields of the platform's loop, counts in range, six decimals", "字段须与平台一致，小数限六位"),
           _metrics_without, _metrics_within),
]  # fmt: skip

# Left to the slow tests: others of their kind, which stand behind the same defence, are quick.
_SLOWER = {"declared-size"}
ATTACKS = [replace(attack, quick=attack.name.partition("/")[2] not in _SLOWER) for attack in ATTACKS]
