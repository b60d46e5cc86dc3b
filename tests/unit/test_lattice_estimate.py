"""The lattice estimate: it finds what others published, and finds for our parameter sets what the documents say."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from trustspace.aggregation.lattice.parameters import NOISE_LIMIT, NOISE_VARIANCE, L, S

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "lattice_estimate.py"
TERNARY = math.sqrt(2 / 3)
STANDARD_SIGMA = 8 / math.sqrt(2 * math.pi)


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("lattice_estimate", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


@pytest.fixture(scope="module")
def kept():
    return json.loads((ROOT / "docs/lattice-estimate.json").read_text())


def primal(tool, problem, model):
    (found,) = tool.estimate(problem, [model], ["primal"])
    return found


def test_the_primal_attack_is_what_the_lattice_estimator_publishes(tool):
    """From its README and docstrings: schemes.Kyber512, and issue 87 under RC.BDGL16."""
    kyber = primal(tool, tool.Problem(512, math.log2(3329), math.sqrt(1.5), samples=1024), "gates")
    assert (round(kyber.bits, 1), kyber.block, kyber.dimension) == (143.8, 406, 998)
    binary = primal(tool, tool.Problem(384, 7, 2.0, secret=0.5, samples=768), "classical")
    assert (round(binary.bits, 1), binary.block, binary.dimension) == (161.8, 456, 595)


def test_the_other_attacks_are_close_to_the_lattice_estimator(tool):
    """Its two-step figure uses a simulated profile (140.3), its dual one sieves beyond the block size (149.9)."""
    problem = tool.Problem(512, math.log2(3329), math.sqrt(1.5), samples=512)
    found = {attack.kind: attack.bits for attack in tool.estimate(problem, ["gates"])}
    assert found["two steps"] == pytest.approx(140.3, abs=1.5)
    assert found["dual"] == pytest.approx(149.9, abs=1.5)


@pytest.mark.parametrize(
    ("model", "secret", "caps"),
    [
        ("classical", 0.0, {1024: 29, 2048: 56, 4096: 111, 8192: 220}),
        ("classical", TERNARY, {1024: 27, 2048: 54, 4096: 109, 8192: 218}),
        ("quantum", 0.0, {1024: 27, 2048: 53, 4096: 103, 8192: 206}),
    ],
)
def test_the_standards_rows_for_128_bits_come_out(tool, model, secret, caps):
    """Homomorphic Encryption Standard 1.1, tables 1 and 2: the largest log2 q that keeps 128 bits."""
    for n, cap in caps.items():
        at, beyond = (
            primal(tool, tool.Problem(n, cap + more, STANDARD_SIGMA, secret), model).bits for more in (0, 1)
        )
        assert at > 127.8, (n, cap)
        assert beyond < 128, (n, cap)


def test_the_sets_are_the_ones_in_the_source(tool):
    assert {name: (n, primes, slots) for name, n, primes, slots in tool.SETS} == {
        name: (p.n, p.primes, p.slots) for name, p in (("S", S), ("L", L))
    }
    assert tool.NOISE_BITS == 2 * NOISE_LIMIT == 4 * NOISE_VARIANCE


def test_the_worst_samples_are_those_with_the_largest_sums_of_noise(tool):
    """Against the two binomials themselves: the mean variance over all sums, and over the outermost ones."""
    bits = tool.NOISE_BITS
    weight = [math.comb(bits, k) for k in range(bits + 1)]

    def variance(total: int) -> float:
        chances = {
            k: weight[k] * weight[total - k] for k in range(max(0, total - bits), min(total, bits) + 1)
        }
        whole = sum(chances.values())
        mean = sum(k * c for k, c in chances.items()) / whole
        return sum((k - mean) ** 2 * c for k, c in chances.items()) / whole

    chances = [math.comb(2 * bits, total) / 4**bits for total in range(2 * bits + 1)]
    mean = sum(c * variance(total) for total, c in enumerate(chances))
    assert mean == pytest.approx(bits / 8)
    assert tool.chosen_sigma(10**6, 10**6) ** 2 == pytest.approx(mean)
    # One in 10^6: sums of at least 31 of 40 + 40 away from the middle; their own mean lies just beyond.
    outer = sum(c for total, c in enumerate(chances) if abs(total - bits) >= 30)
    found = tool.chosen_sigma(1, round(1 / outer)) ** 2
    assert variance(bits + 34) < found < variance(bits + 30)


def test_more_noise_and_a_smaller_modulus_cost_the_attacker_more(tool):
    def cheapest(log2_q, sigma):
        return min(a.bits for a in tool.estimate(tool.Problem(512, log2_q, sigma), ["classical"]))

    assert cheapest(14, 3.2) > cheapest(15, 3.2) > cheapest(15, 1.6)


def test_the_sets_hold_what_they_promise(kept):
    """S: 128 bits classically, also for members who pick their samples. L: 128 bits against quantum computers too."""
    assert {(row["set"], row["noise"], row["attack"]) for row in kept} == {
        (s, n, a)
        for s in "SL"
        for n in ("fresh", "hint", "chosen", "theorem")
        for a in ("primal", "two steps", "dual")
    }
    for row in kept:
        if row["noise"] != "theorem":
            assert row["bits"]["classical"] >= 128, row
        if row["set"] == "L":
            assert row["bits"]["quantum"] >= 128, row


def test_the_committed_figures_are_found_again(tool, kept):
    assert tool.figures() == kept


def test_another_figure_would_be_noticed(tool, kept, tmp_path, monkeypatch, capsys):
    changed = tmp_path / "lattice-estimate.json"
    kept[0]["bits"]["classical"] += 0.1
    changed.write_text(json.dumps(kept))
    monkeypatch.setattr(tool, "KEPT", changed)
    monkeypatch.setattr(sys, "argv", ["lattice_estimate.py", "--check"])
    assert tool.main() == 1
    assert "lattice-estimate.json" in capsys.readouterr().err


def test_it_needs_nothing_but_numpy():
    """As anybody would run it, without this project."""
    program = (
        f"import runpy, sys; sys.argv = ['x', '--check']; runpy.run_path({str(TOOL)!r}, run_name='__main__')"
    )
    blocked = "import sys; sys.modules['trustspace'] = None; sys.modules['scipy'] = None; "
    done = subprocess.run([sys.executable, "-c", blocked + program], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
