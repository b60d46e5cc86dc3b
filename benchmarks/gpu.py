"""The lattice sum on a graphics card against one processor core and against the card's own memory.

python -m benchmarks.gpu [--json FILE]   measure, with tensors that live on the card
python -m benchmarks.gpu --compile       what the compiler makes of the kernels for Hopper; needs no card

Times are of CUDA events around whole calls, waiting of the host included. The core's are of the fastest
backend with one thread, on fewer parameters. A copy of the card moves each byte twice; shares of it count the
bytes that a step must read and write, not those of scratch memory.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Ratio, Result, Row, arguments, finish, take_turns, timed
from trustspace.aggregation.lattice import gpu, gpu_card, gpu_tables
from trustspace.aggregation.lattice.backend import best_backend
from trustspace.aggregation.lattice.parameters import PARAMETERS, LatticeParameters

CLIENTS = 10
BOUND = 1.0
PUBLIC, NOISE = bytes(range(16)), bytes(range(16, 32))
CORE_PARAMETERS = 1_000_000
SIZES = (16_000_000, 256_000_000)
# Bytes that a step has to read and write for each parameter.
BYTES = {
    "encrypt": 8,
    "encrypt_online": 12,
    "add": 12,
    "add of ten": 4 * (CLIENTS + 1) / (CLIENTS - 1),
    "decrypt": 12,
}
HOPPER = 90


def main() -> int:
    """Measure and show; 1, with a message, where there is no card."""
    parser = arguments("Measure the lattice sum on a graphics card.", turns=7)
    parser.add_argument(
        "--compile", action="store_true", help="show registers and instructions of the kernels"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="parameters of a vector")
    given = parser.parse_args()
    if given.compile:
        for figures in compiled():
            print(", ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
        return 0
    if gpu_card.interpreted() or not gpu_card.available():
        print("No NVIDIA GPU that torch and Triton can use here: nothing was measured.", file=sys.stderr)
        return 1
    finish(measured(given.sizes, given.turns), Path(tempfile.gettempdir()), given.json)
    return 0


def measured(sizes: tuple[int, ...], turns: int) -> Result:
    """Every step of both parameter sets and of all sizes, with the core and the copy in the same turns."""
    import torch
    import triton

    properties = torch.cuda.get_device_properties(0)
    result = Result(
        "gpu",
        {
            "clients": CLIENTS,
            "turns": turns,
            "card": properties.name,
            "torch": torch.__version__,
            "triton": triton.__version__,
        },
    )
    for size in sizes:
        cases: dict[str, Callable[[], float]] = {}
        rates: dict[str, float] = {}
        source = torch.randn(size, device="cuda")
        target = torch.empty_like(source)
        copy = f"copy, {size} float32"
        cases[copy] = _per_parameter(lambda s=source, t=target: t.copy_(s), size)
        for parameters in PARAMETERS:
            for step, case in _on_card(parameters, size).items():
                name = f"{parameters.name} {step}, {size}, card"
                cases[name], rates[name] = case, BYTES[step]
            for step, seconds in _on_core(parameters).items():
                cases[f"{parameters.name} {step}, core"] = seconds
        for case in cases.values():  # compiles, and fills the allocator
            case()
        found = take_turns(cases, turns)
        for name, values in found.items():
            result.rows.append(Row.of(name, "ns per parameter", values))
            if not name.endswith("card"):
                continue
            core = name.replace(f", {size}, card", ", core").replace("add of ten", "add")
            result.ratios.append(Ratio.between(core, name, found))
            shares = [found[copy][turn] * rates[name] / 8 / values[turn] for turn in range(turns)]
            result.rows.append(Row.of(f"{name}: share of the copy's bandwidth", "1", shares))
    return result


def _on_card(parameters: LatticeParameters, size: int) -> dict[str, Callable[[], float]]:
    """The steps of one set on the card; each gives nanoseconds per parameter."""
    import torch

    backend = gpu.TritonBackend()
    length = -(-size // parameters.block) * parameters.block
    largest = parameters.largest // CLIENTS
    scale = largest / BOUND
    secret = _secret(parameters)
    values = torch.randn(length, device="cuda") * 0.3
    words = torch.empty(length, dtype=torch.int32, device="cuda")
    masks = torch.empty(length, dtype=torch.int32, device="cuda")
    total = torch.empty(length, dtype=torch.int32, device="cuda")
    plain = torch.empty(length, dtype=torch.int32, device="cuda")
    numbers = torch.empty(length, dtype=torch.float64, device="cuda")
    backend.mask(parameters, PUBLIC, secret, NOISE, 0, masks)
    others = [masks] * (CLIENTS - 1)

    def encrypt() -> None:
        backend.encode(values, 1.0, BOUND, scale, words)
        backend.protect(parameters, PUBLIC, secret, NOISE, 0, words, total)

    def online() -> None:
        # The masks are used again and again: their values do not change the time.
        backend.encode(values, 1.0, BOUND, scale, words)
        backend.apply(parameters, words, plain)

    def decrypt() -> None:
        # What is opened is one client's vector.
        if not backend.open(parameters, PUBLIC, secret, 0, total, parameters.noise_bound(1), plain):
            raise RuntimeError("what was protected did not open")
        backend.decode(plain, scale, numbers)

    def add() -> None:
        backend.add_into(parameters, total, masks)

    def add_of_ten() -> None:
        backend.add_many(parameters, total, others)

    def opened() -> float:
        encrypt()
        return _per_parameter(decrypt, length)()

    plain.copy_(masks)
    return {
        "encrypt": _per_parameter(encrypt, length),
        "encrypt_online": _per_parameter(online, length),
        "add": _per_parameter(add, length),
        "add of ten": _per_parameter(add_of_ten, length * (CLIENTS - 1)),
        "decrypt": opened,
    }


def _on_core(parameters: LatticeParameters) -> dict[str, Callable[[], float]]:
    """The same on one core, by the fastest backend with one thread."""
    backend: Any = best_backend().__class__(threads=1)
    length = -(-CORE_PARAMETERS // parameters.block) * parameters.block
    scale = parameters.largest // CLIENTS / BOUND
    secret = _secret(parameters)
    values = np.random.default_rng(3).normal(0, 0.3, length).astype(np.float32)
    words, plain = np.empty(length, np.int32), np.empty(length, np.uint32)
    total, masks = np.empty(length, np.uint32), np.empty(length, np.uint32)
    numbers = np.empty(length, np.float64)
    backend.mask(parameters, PUBLIC, secret, NOISE, 0, masks)
    backend.mask(parameters, PUBLIC, secret, NOISE, 0, total)

    def encrypt() -> None:
        backend.encode(values, 1.0, BOUND, scale, words)
        backend.protect(parameters, PUBLIC, secret, NOISE, 0, words.view(np.uint32), total)

    def online() -> None:
        backend.encode(values, 1.0, BOUND, scale, words)
        backend.apply(parameters, words.view(np.uint32), plain)

    def decrypt() -> None:
        backend.open(parameters, PUBLIC, secret, 0, total, parameters.noise_bound(1), plain)
        backend.decode(plain, scale, numbers)

    def opened() -> float:
        encrypt()
        return timed(decrypt) * 1e9 / length

    plain[:] = masks
    return {
        "encrypt": lambda: timed(encrypt) * 1e9 / length,
        "encrypt_online": lambda: timed(online) * 1e9 / length,
        "add": lambda: timed(lambda: backend.add_into(parameters, total, masks)) * 1e9 / length,
        "decrypt": opened,
    }


def _per_parameter(action: Callable[[], object], size: int) -> Callable[[], float]:
    """Nanoseconds per parameter between two events of the card around an action."""

    def run() -> float:
        import torch

        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        action()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) * 1e6 / size

    return run


def _secret(parameters: LatticeParameters) -> np.ndarray[Any, np.dtype[np.uint32]]:
    rng = np.random.default_rng(4)
    rows = [rng.integers(0, prime, parameters.n, dtype=np.uint64) for prime in parameters.primes]
    return np.stack(rows).astype(np.uint32)


# -- Without a card -----------------------------------------------------------------------------------------


def compiled() -> Iterator[dict[str, Any]]:
    """Registers, spilled bytes, shared memory and seconds of every kernel, compiled for Hopper; needs no card."""
    os.environ.pop("TRITON_INTERPRET", None)
    from trustspace.aggregation.lattice import gpu_repair, gpu_ring, gpu_streams

    for parameters in PARAMETERS:
        n, rows = parameters.n, parameters.rows
        shape = gpu.shape_of(parameters)
        ring = {**shape, "scale": parameters.scale, "largest": parameters.largest}
        loose = {"loose": gpu.is_loose(parameters)}
        shift = {"shift": gpu_tables.rounding_shift(parameters)}
        warps = n // 1024
        yield _compiled(parameters, gpu_streams.uniform_kernel, {"n": n, "rows": rows, "lanes": 128}, 4)
        yield _compiled(parameters, gpu_repair.repair_kernel, {"n": n, "rows": rows, "lanes": 128}, 4)
        yield _compiled(parameters, gpu_streams.noise_kernel, {"n": n, "lanes": 128}, 4)
        yield _compiled(parameters, gpu_ring.protect_kernel, {**ring, **loose, "mask_only": False}, warps)
        yield _compiled(parameters, gpu_ring.open_kernel, {**ring, **loose, **shift}, warps)
        yield _compiled(parameters, gpu_ring.add_kernel, {**shape, "count": 8, "lanes": 512}, 4)
        yield _compiled(parameters, gpu_ring.apply_kernel, {**ring, "lanes": 1024}, 4)


_POINTERS = {"rejected": "*i32", "found": "*i32", "wrong": "*i32", "beyond": "*i32", "addends": "*i64"}
_NUMBERS = ("first", "total_words", "total_lanes", "bound", "coefficients")


def _compiled(
    parameters: LatticeParameters, kernel: Any, constants: dict[str, Any], warps: int
) -> dict[str, Any]:
    import re
    import subprocess
    import time

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {}
    for name in kernel.arg_names:
        plain = "i32" if name in _NUMBERS else "*u32"
        signature[name] = "constexpr" if name in constants else _POINTERS.get(name, plain)
    if "counts" in signature and kernel.__name__ == "protect_kernel":
        signature["counts"] = "*u8"
    unaligned = {"words"} if kernel.__name__ == "uniform_kernel" else set()
    aligned = [
        i for i, name in enumerate(kernel.arg_names) if signature[name][0] == "*" and name not in unaligned
    ]
    attributes = {(i,): [["tt.divisibility", 16]] for i in aligned}
    started = time.perf_counter()
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    made = triton.compile(source, target=GPUTarget("cuda", HOPPER, 32), options={"num_warps": warps})
    seconds = time.perf_counter() - started
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK):(\d+)", usage)}
    return {
        "kernel": kernel.__name__,
        "set": parameters.name,
        "registers": used["REG"],
        "stack_bytes": used["STACK"],
        "shared_bytes": made.metadata.shared,
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
