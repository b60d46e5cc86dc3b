"""The lattice sum on an NVIDIA graphics card, for tensors that live there: Triton kernels, launched here.

Torch tensors on the card go in and come out without leaving it; NumPy arrays are copied there and back, which
costs more than the work. Needs the extra ``gpu`` and torch, imported on first use. With TRITON_INTERPRET=1 in
the environment the same kernels run on the processor, slowly, for tests.

A long vector goes through in pieces. For each piece the public stream and the noise are drawn to scratch
memory on the card, and a third kernel multiplies, transforms, adds and packs a block a program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from trustspace.aggregation.lattice import gpu_tables as tables
from trustspace.aggregation.lattice.backend import Backend, check_first, check_keys, check_secret
from trustspace.aggregation.lattice.gpu_card import Card, available, forget, give, interpreted
from trustspace.aggregation.lattice.parameters import LatticeParameters
from trustspace.errors import InvalidInput

# Words of a vector in a piece: scratch memory is then about 300 MiB, and launching takes less than computing.
PIECE_WORDS = 1 << 24
# Threads that draw streams: each holds a whole cipher state and so as many registers as there may be.
_STREAM_LANES = 128
_ELEMENT_LANES = 1024
_ADD_LANES = 512
_FUSED_ADDENDS = 8
_REPAIR_LANES = 128
_REPAIR_PROGRAMS = 264
# The interpreter runs programs one after the other, and wide ones as fast as narrow ones.
_INTERPRETED_LANES = 256


def backends() -> tuple[Backend, ...]:
    """As ``backend`` asks its modules: none where there is no card, Triton or torch."""
    return (TritonBackend(),) if available() else ()


class TritonBackend:
    """As ``backend.Backend``, on one card; torch tensors of 32-bit integers may stand for its arrays.

    ``threads`` is taken, as by the others, and not used. ``device`` is torch's name of the card. Tensors must lie
    on that card. Calls that can refuse wait for the card; the others only queue work on torch's current stream.
    """

    def __init__(self, threads: int = 0, device: str = "cuda", piece_words: int = PIECE_WORDS) -> None:
        self.threads = threads
        self._card = Card(device)
        self._piece_words = piece_words

    @property
    def name(self) -> str:
        return "triton"

    def mask(
        self, parameters: LatticeParameters, public: bytes, secret: Any, noise: bytes, first: int, out: Any
    ) -> None:
        """As ``Backend.mask``."""
        self._protect(parameters, public, secret, noise, first, None, out)

    def protect(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Any,
        noise: bytes,
        first: int,
        words: Any,
        out: Any,
    ) -> None:
        """As ``Backend.protect``."""
        self._protect(parameters, public, secret, noise, first, words, out)

    def apply(self, parameters: LatticeParameters, words: Any, masks: Any) -> None:
        """As ``Backend.apply``."""
        from trustspace.aggregation.lattice import gpu_ring

        kept, added = self._vectors(parameters, masks, words)
        beyond, lanes = self._card.flag(), self._lanes(_ELEMENT_LANES)
        self._card.launch(
            gpu_ring.apply_kernel,
            -(-len(kept) // lanes),
            kept,
            added,
            self._primes(parameters),
            beyond,
            len(kept),
            **shape_of(parameters),
            scale=parameters.scale,
            largest=parameters.largest,
            lanes=lanes,
        )
        _refuse_large(beyond)
        give(masks, kept)

    def add_into(self, parameters: LatticeParameters, total: Any, addend: Any) -> None:
        """As ``Backend.add_into``."""
        self.add_many(parameters, total, [addend])

    def add_many(self, parameters: LatticeParameters, total: Any, addends: Sequence[Any]) -> None:
        """``add_into`` of several vectors; up to eight go through memory together with the total."""
        from trustspace.aggregation.lattice import gpu_ring

        kept, *added = self._vectors(parameters, total, *addends)
        wrong, lanes = self._card.flag(), self._lanes(_ADD_LANES)
        coefficients = len(kept) // parameters.slots
        for start in range(0, len(added) if coefficients else 0, _FUSED_ADDENDS):
            group = added[start : start + _FUSED_ADDENDS]
            self._card.launch(
                gpu_ring.add_kernel,
                -(-coefficients // lanes),
                kept,
                self._card.put(np.array([tensor.data_ptr() for tensor in group], np.int64)),
                self._primes(parameters),
                wrong,
                coefficients,
                **shape_of(parameters),
                count=len(group),
                lanes=lanes,
            )
        if int(wrong.item()):
            raise InvalidInput("A protected vector holds words that are no residues.")
        give(total, kept)

    def open(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Any,
        first: int,
        total: Any,
        bound: int,
        out: Any,
    ) -> bool:
        """As ``Backend.open``."""
        from trustspace.aggregation.lattice import gpu_ring

        sealed, plain = self._vectors(parameters, total, out)
        check_keys(public)
        check_first(first, len(sealed) // parameters.block)
        wrong = self._card.flag()
        factors = self._factors(parameters, secret)
        for block, piece, count in self._pieces(parameters, first, len(sealed)):
            self._card.launch(
                gpu_ring.open_kernel,
                count,
                self._public(parameters, public, block, count),
                factors,
                self._roots(parameters),
                self._primes(parameters),
                sealed[piece],
                plain[piece],
                wrong,
                bound,
                **shape_of(parameters),
                scale=parameters.scale,
                largest=parameters.largest,
                loose=is_loose(parameters),
                shift=tables.rounding_shift(parameters),
                num_warps=parameters.n // 1024,
            )
        forget(factors)
        if int(wrong.item()):
            return False
        give(out, plain)
        return True

    def encode(self, values: Any, factor: float, bound: float, scale: float, out: Any) -> bool:
        """As ``Backend.encode``; tensors are float32 and int32."""
        from trustspace.aggregation.lattice import gpu_ring

        source, target = self._pair(values, np.float32, out, np.int32)
        wrong, lanes = self._card.flag(), self._lanes(_ELEMENT_LANES)
        numbers = self._card.put(np.array([factor, bound, scale], np.float64))
        self._card.launch(
            gpu_ring.encode_kernel,
            -(-len(source) // lanes),
            source,
            target,
            wrong,
            len(source),
            numbers,
            lanes=lanes,
            enable_fp_fusion=False,
        )
        if int(wrong.item()):
            return False
        give(out, target)
        return True

    def decode(self, words: Any, scale: float, out: Any) -> None:
        """As ``Backend.decode``; tensors are 32-bit integers and float64."""
        from trustspace.aggregation.lattice import gpu_ring

        source, target = self._pair(words, np.uint32, out, np.float64)
        lanes = self._lanes(_ELEMENT_LANES)
        number = self._card.put(np.array([scale], np.float64))
        self._card.launch(
            gpu_ring.decode_kernel,
            -(-len(source) // lanes),
            source,
            target,
            len(source),
            number,
            lanes=lanes,
        )
        give(out, target)

    def _protect(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Any,
        noise: bytes,
        first: int,
        words: Any,
        out: Any,
    ) -> None:
        from trustspace.aggregation.lattice import gpu_ring

        sealed, plain = self._vectors(parameters, out, out if words is None else words)
        check_keys(public, noise)
        check_first(first, len(sealed) // parameters.block)
        beyond = self._card.flag()
        factors = self._factors(parameters, secret)
        for block, piece, count in self._pieces(parameters, first, len(sealed)):
            counts = self._noise(parameters, noise, block, count)
            self._card.launch(
                gpu_ring.protect_kernel,
                count,
                self._public(parameters, public, block, count),
                factors,
                self._roots(parameters),
                self._primes(parameters),
                counts,
                plain[piece],
                sealed[piece],
                beyond,
                **shape_of(parameters),
                scale=parameters.scale,
                largest=parameters.largest,
                loose=is_loose(parameters),
                mask_only=words is None,
                num_warps=parameters.n // 1024,
            )
            forget(counts)
        forget(factors)
        if words is not None:
            _refuse_large(beyond)
        give(out, sealed)

    def _public(self, parameters: LatticeParameters, key: bytes, first: int, count: int) -> Any:
        """The public streams of ``count`` blocks: words [count, rows, n], each below its row's limit."""
        from trustspace.aggregation.lattice import gpu_repair, gpu_streams

        n, rows = parameters.n, parameters.rows
        words = self._card.room(count * rows * n, np.uint32)
        rejected = self._card.room(count * rows * n, np.int32)
        found = self._card.flag()
        limits = self._card.kept(
            "limits",
            parameters.name,
            lambda: np.array([parameters.rejection_limit(row) for row in range(rows)], np.uint32),
        )
        total, lanes = count * rows * n // 128, self._lanes(_STREAM_LANES)
        self._card.launch(
            gpu_streams.uniform_kernel,
            -(-total // lanes),
            self._card.put(tables.key_planes(key)),
            limits,
            words,
            rejected,
            found,
            first,
            total,
            n=n,
            rows=rows,
            lanes=lanes,
            num_warps=lanes // 32,
        )
        self._card.launch(
            gpu_repair.repair_kernel,
            1 if interpreted() else _REPAIR_PROGRAMS,
            self._card.kept("rounds", "", tables.round_table),
            self._card.put(tables.key_words(key)),
            limits,
            words,
            rejected,
            found,
            first,
            n=n,
            rows=rows,
            lanes=self._lanes(_REPAIR_LANES),
        )
        return words

    def _noise(self, parameters: LatticeParameters, key: bytes, first: int, count: int) -> Any:
        """The numbers of ones that make the noise of ``count`` blocks: bytes [count, 3, n]."""
        import torch

        from trustspace.aggregation.lattice import gpu_streams

        n = parameters.n
        counts = self._card.room(count * 3 * n, np.uint8)
        total, lanes = count * 5 * n // 256, self._lanes(_STREAM_LANES)
        planes = self._card.put(tables.key_planes(key))
        self._card.launch(
            gpu_streams.noise_kernel,
            -(-total // lanes),
            planes,
            counts.view(torch.uint32),
            first,
            total,
            n=n,
            lanes=lanes,
            num_warps=lanes // 32,
        )
        forget(planes)
        return counts

    def _pieces(
        self, parameters: LatticeParameters, first: int, length: int
    ) -> Iterator[tuple[int, slice, int]]:
        """The first block, the words and the number of blocks of each piece of a vector."""
        step = max(1, self._piece_words // parameters.block) * parameters.block
        for start in range(0, length, step):
            stop = min(start + step, length)
            yield first + start // parameters.block, slice(start, stop), (stop - start) // parameters.block

    def _factors(self, parameters: LatticeParameters, secret: Any) -> Any:
        if not isinstance(secret, np.ndarray):
            secret = secret.cpu().numpy().view(np.uint32)
        check_secret(parameters, secret)
        return self._card.put(tables.secret_table(parameters, secret))

    def _roots(self, parameters: LatticeParameters) -> Any:
        return self._card.kept("roots", parameters.name, lambda: tables.root_table(parameters))

    def _primes(self, parameters: LatticeParameters) -> Any:
        return self._card.kept("primes", parameters.name, lambda: np.array(parameters.primes, np.uint32))

    def _lanes(self, lanes: int) -> int:
        return _INTERPRETED_LANES if interpreted() else lanes

    def _vectors(self, parameters: LatticeParameters, *arrays: Any) -> list[Any]:
        """Vectors of whole blocks, of one length, as tensors of uint32 on the card."""
        found = [self._card.tensor(array, np.uint32) for array in arrays]
        if any(len(one) % parameters.block or len(one) != len(found[0]) for one in found):
            raise InvalidInput(
                "Protected words come as one contiguous row of uint32 numbers, in whole blocks of {size}.",
                size=parameters.block,
            )
        return found

    def _pair(self, values: Any, dtype: type, out: Any, out_dtype: type) -> tuple[Any, Any]:
        source, target = self._card.tensor(values, dtype), self._card.tensor(out, out_dtype)
        if len(source) != len(target):
            raise InvalidInput("Numbers and their words are rows of one length.")
        return source, target


def shape_of(parameters: LatticeParameters) -> dict[str, int]:
    """What every kernel of the ring is compiled for."""
    return {
        "n": parameters.n,
        "rows": parameters.rows,
        "slots": parameters.slots,
        "residue_bits": parameters.residue_bits,
        "noise_bits": parameters.noise_bits,
    }


def is_loose(parameters: LatticeParameters) -> bool:
    """Whether sums of 64 residues fit into a word, modulo every prime."""
    return max(parameters.primes) < 1 << 26


def _refuse_large(beyond: Any) -> None:
    if int(beyond.item()):
        raise InvalidInput("A word to be summed lies beyond what the sum can hold.")
