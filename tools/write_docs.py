"""Write the parts of the documentation that are drawn from the source. With --check, only compare.

A page holds a pair of comments, ``<!-- drawn: NAME -->`` and ``<!-- /drawn -->``; what stands between them
is replaced by what the function of that name below returns. The rest of the page is written by people.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from trustspace.aggregation.fixedpoint import MAX_PARTICIPANTS
from trustspace.aggregation.lattice.parameters import NOISE_LIMIT, PARAMETERS, LatticeParameters
from trustspace.aggregation.masks import PairwiseMasks
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.domain import leakage, states
from trustspace.domain.bodies import BODIES, Policy
from trustspace.domain.budget import in_bits
from trustspace.domain.permissions import SIGNS
from trustspace.errors import BY_CODE, CATALOGUE
from trustspace.evidence.words import Language
from trustspace.evidence.words_policy import MEANINGS, POLICY, SECTIONS
from trustspace.jobs.spec import job_schema

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "docs/architecture.md",
    "docs/job-file.md",
    "docs/lattice-sum.md",
    "docs/lattice-sum.zh-CN.md",
    "docs/operations.md",
    "docs/quiet-channels.md",
    "docs/quiet-channels.zh-CN.md",
    "docs/review.md",
    "docs/review.zh-CN.md",
)
FLOORS = {
    5: ("cli", "web", "demo", "rehearsal"),
    4: ("space", "enclave", "client"),
    3: ("sandbox", "transport", "storage"),
    2: ("jobs", "data", "evidence"),
    1: ("crypto", "ledger", "domain", "aggregation", "privacy"),
}
_DRAWN = re.compile(r"(?P<open><!-- drawn: (?P<name>[a-z-]+) -->\n).*?(?P<close><!-- /drawn -->)", re.DOTALL)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _first_sentence(docstring: str | None) -> str:
    text = " ".join((docstring or "").strip().split("\n\n", 1)[0].split())
    # Two backquotes are reStructuredText; Markdown wants one.
    return text.replace("``", "`")


def rooms() -> str:
    """Every package with the first paragraph of its docstring, by floor."""
    rows = []
    source = ROOT / "src" / "trustspace"
    present = {path.parent.name for path in source.glob("*/__init__.py")} - {"api"}
    if unknown := present - {name for names in FLOORS.values() for name in names}:
        sys.exit(f"tools/write_docs.py does not know the floor of {', '.join(sorted(unknown))}")
    for floor, names in FLOORS.items():
        for name in (name for name in names if name in present):
            doc = ast.get_docstring(ast.parse((source / name / "__init__.py").read_text(encoding="utf-8")))
            rows.append((str(floor), f"`{name}/`", _first_sentence(doc)))
    rows.append(("0", "`errors.py`", "One root for every error, and one catalogue of what each code means."))
    return _table(("floor", "room", "what it is"), rows)


def statements() -> str:
    """Every kind of statement: who may sign it, with which key, and what it says."""
    rows = []
    for name, body in BODIES.items():
        allowed, use = SIGNS[name]
        rows.append(
            (f"`{name}`", " or ".join(allowed) or "any party", use or "root", _first_sentence(inspect.getdoc(body)),
             ", ".join(f"`{field}`" for field in body.model_fields))
        )  # fmt: skip
    return _table(("statement", "by", "signed with its key for", "what it says", "fields"), rows)


def _diagram(
    table: dict[tuple[str, str], str], names: Iterable[str], start: str, ends: Iterable[str] = ()
) -> str:
    def label(event: str) -> str:
        # Events that follow from several statements, or from the clock, stand in brackets.
        return f"({event[1:].replace('-', ' ')})" if event.startswith("*") else event

    def node(state: str) -> str:
        return state.replace("-", "_")

    events: dict[tuple[str, str], list[str]] = {}
    for (before, event), after in table.items():
        events.setdefault((before, after), []).append(label(event))
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{name.replace("-", " ")}" as {node(name)}' for name in names if "-" in name]
    lines.append(f"    [*] --> {node(start)}")
    for (before, after), named in events.items():
        lines.append(f"    {node(before)} --> {node(after)}: {', '.join(named)}")
    lines += [f"    {node(state)} --> [*]" for state in ends]
    return "\n".join([*lines, "```"])


def dataset_states() -> str:
    """The life of a dataset version."""
    return _diagram(states.DATASET, states.DATASET_STATES, "described", ("withdrawn",))


def job_states() -> str:
    """The life of a job."""
    ends = [state for state, owner in states.JOB_OWNER.items() if not owner or state == "released"]
    return _diagram(states.JOB, states.JOB_STATES, "submitted", ends)


def job_owners() -> str:
    """Who acts next in each state, and what a developer is told of it."""
    rows = [
        (state.replace("-", " "), states.JOB_OWNER[state] or "nobody: it has ended", states.COARSE[state])
        for state in states.JOB_STATES
    ]
    return _table(("state", "who acts next", "what developer and buyer see"), rows)


def exit_codes() -> str:
    """Every kind of error, with the exit code of the command line and the gRPC status."""
    rows = [("0", "", "It worked.")]
    for code, meaning in sorted(CATALOGUE.items(), key=lambda item: item[1].exit_code):
        doc = "Something else went wrong." if code == "internal" else _first_sentence(BY_CODE[code].__doc__)
        rows.append((str(meaning.exit_code), f"`{code}` / `{meaning.grpc_status}`", doc))
    rows.append(("130", "", "Stopped by the keyboard (Ctrl-C)."))
    return _table(("exit code", "error / gRPC status", "meaning"), rows)


def _plain(value: Any) -> str:
    """A JSON value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(_plain(item) for item in value)}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_plain(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return str(value)


def _allowed(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{_plain(value)}`" for value in field["enum"])
    if "const" in field:
        return f"`{_plain(field['const'])}`"
    if "discriminator" in field:
        return "table"
    for arm in (field, *field.get("anyOf", ())):
        if "minimum" in arm and "maximum" in arm:
            return f"{arm['minimum']:g} to {arm['maximum']:.16g}"
    kinds = {
        "string": "text",
        "integer": "whole number",
        "boolean": "`true`, `false`",
        "array": "list",
        "object": "table",
    }
    return kinds.get(str(field.get("type", "")), "text, whole number or boolean")


def job_fields() -> str:
    """Every field of a job file, section by section, from the published schema."""
    schema = job_schema()
    sections = []
    for name, section in schema["properties"].items():
        reference = section.get("$ref") or section.get("items", {}).get("$ref")
        sections.append((f"[[{name}]]" if section.get("type") == "array" else f"[{name}]", reference))
    at = next(i for i, (_, reference) in enumerate(sections) if reference == "#/$defs/Compute")
    sections.insert(at + 1, ("each of compute.outputs", "#/$defs/OutputSpec"))
    sections.insert(at + 2, ("each of an output's tensors", "#/$defs/TensorSpec"))
    parts = []
    for heading, reference in sections:
        definition = schema["$defs"][reference.rsplit("/", 1)[1]]
        rows = []
        for field, value in definition["properties"].items():
            needed = field in definition.get("required", ())
            default = "required" if needed else f"`{_plain(value['default'])}`" if "default" in value else ""
            example = f"`{_plain(value['examples'][0])}`" if value.get("examples") else ""
            rows.append((f"`{field}`", value["description"], _allowed(value), default, example))
        head = f"### {heading}" if heading.startswith("each") else f"### `{heading}`"
        intro = _first_sentence(definition.get("description"))
        parts.append(
            f"{head}\n\n{intro}\n\n{_table(('field', 'meaning', 'allowed', 'default', 'example'), rows)}"
        )
    return "\n\n".join(parts)


_QUIET_WALLS = (60, 600, 3600, 21_600, 86_400, 604_800)
_QUIET_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    # The wall clock limits by name, the heads of the table, and what is said below it.
    "en": (
        ("1 minute", "10 minutes", "1 hour", "6 hours", "1 day", "7 days"),
        (
            "wall clock limit", "one run", "one run, slots of an hour", "one run, told at once", "three runs",
            "three runs, blind code", "one run, by the ledger's growth",
        ),
        """\
Bits, at most, for a job of one source unit. The end of something that lasts one hour, begins as a slot does
and surely ends would be {slots} bits in slots of ten minutes and {seconds} in seconds.

Unless told otherwise the budget is {budget} bits: {jobs} jobs of one run and ten
minutes, or what stands in a few patients' rows.""",
    ),
    "zh": (
        ("1 分钟", "10 分钟", "1 小时", "6 小时", "1 天", "7 天"),
        (
            "时长上限", "运行一次", "运行一次，时段为一小时", "运行一次，立即告知", "运行三次", "运行三次，盲代码",
            "运行一次，由账本的增长得知",
        ),
        """\
单位为比特，均为上限，适用于一个数据源单位的任务。若某件事持续一小时，恰在时段开始时开始，且一定会结束，\
那么它的结束以十分钟为时段是 {slots} 比特，以秒计是 {seconds} 比特。

未另行设定时，预算为 {budget} 比特：相当于 {jobs} 项运行一次、时长十分钟的任务，或几名患者的数据行所含的内容。""",
    ),
}  # fmt: skip


def quiet_bits(language: str = "en") -> str:
    """What a job can tell before release, by its wall clock limit and the slot that states are told in."""
    limits, heads, below = _QUIET_WORDS[language]

    def told(wall: int, runs: int = 1, slot: int = leakage.SLOT_SECONDS, *, blind: bool = False) -> str:
        found = leakage.bits_per_job(wall_seconds=wall, runs=[runs], slot_seconds=slot, blind=blind)
        return in_bits(found.told_millibits)

    rows = []
    for name, wall in zip(limits, _QUIET_WALLS, strict=True):
        ledger = leakage.bits_per_job(wall_seconds=wall, runs=[1]).ledger_millibits
        rows.append(
            (name, told(wall), told(wall, slot=3600), told(wall, slot=0), told(wall, 3), told(wall, 3, blind=True),
             in_bits(ledger))
        )  # fmt: skip
    budget = Policy().quiet_millibits_per_developer
    ordinary = leakage.bits_per_job(wall_seconds=600, runs=[1]).told_millibits
    slots, seconds = (in_bits(leakage.millibits(2 * 3600 // slot)) for slot in (leakage.SLOT_SECONDS, 1))
    said = below.format(slots=slots, seconds=seconds, budget=in_bits(budget), jobs=budget // ordinary)
    return f"{_table(heads, rows)}\n\n{said}"


def quiet_bits_zh() -> str:
    """The same for the Chinese page."""
    return quiet_bits("zh")


def policy_fields(language: Language = "en") -> str:
    """Every field of a source unit's policy, its default, and what it means."""
    heads = {"en": ("field", "default", "meaning"), "zh": ("项", "默认", "含义")}[language]
    rows = []
    for _, fields in SECTIONS:
        for field in fields:
            value = getattr(DEFAULT_POLICY, field)
            shown = ", ".join(f"`{name}`" for name in value) if isinstance(value, tuple) else f"`{value}`"
            join = ". " if language == "en" else "。"
            rows.append((f"`{field}`", shown, POLICY[field][language] + join + MEANINGS[field][language]))
    return _table(heads, rows)


def policy_fields_zh() -> str:
    """The same in Chinese."""
    return policy_fields("zh")


def _of_set(parameters: LatticeParameters) -> str:
    return parameters.name.split("-")[2].upper()


def lattice_sets() -> str:
    """The numbers of the lattice sum's parameter sets."""
    rows = []
    for title, say in {
        "name": lambda p: f"`{p.name}`",
        "n": lambda p: str(p.n),
        "primes, row 0 first": lambda p: ", ".join(map(str, p.primes)),
        "log2 Q": lambda p: f"{math.log2(math.prod(p.primes)):.2f}",
        "row 0 carries": lambda p: f"noise + {p.scale} word 0" if p.scale else "noise",
        "words of a coefficient, k": lambda p: str(p.slots),
        "words of a block, n k": lambda p: f"{p.block:,}",
        "H, the largest sum": lambda p: f"{p.largest:,} = {p.max_participants:,} * 2^{_half(p)}",
        "participants, at most": lambda p: f"{p.max_participants:,}",
        "secret and reveal": lambda p: f"{4 * p.rows * p.n >> 10} KiB",
        "bytes of a protected word": lambda _: "4",
    }.items():
        rows.append((title, *(say(p) for p in PARAMETERS)))
    return _table(("", *map(_of_set, PARAMETERS)), rows)


def _half(parameters: LatticeParameters) -> int:
    return (parameters.largest // parameters.max_participants).bit_length() - 1


def lattice_failures() -> str:
    """How likely honest members' noise is beyond what opening accepts, by their number, from the exact tail."""
    rows = []
    for parameters in PARAMETERS:
        for count in (2, 3, parameters.max_participants // 2, parameters.max_participants):
            bound = parameters.noise_bound(count)
            chance = _log2_tail(2 * NOISE_LIMIT * count, bound)
            whole = chance + 30 - math.log2(parameters.slots)
            # What a wrong row leaves standing in one block: the noise in row 0, the words in the others.
            top = parameters.scale or parameters.primes[0]
            missed = [parameters.n * math.log2(min(1.0, (2 * bound + 1) / top))]
            missed += [
                parameters.n * math.log2((2 * parameters.largest + 1) / prime)
                for prime in parameters.primes[1:]
            ]
            rows.append((_of_set(parameters), f"{count:,}", str(bound), f"2^{chance:.1f}", f"2^{whole:.1f}",
                         f"2^{max(missed):.0f}"))  # fmt: skip
    return _table(
        ("set", "members", "B", "one coefficient", "2^30 words", "a wrong secret passes a block"), rows
    )


def _log2_tail(bits: int, bound: int) -> float:
    """log2 of the chance that so many fair bits are more than ``bound`` away from half of them in sum."""
    at = bits // 2 + bound + 1
    term = math.comb(bits, at) if at <= bits else 0
    total = 0
    while term > total >> 64:
        total += term
        term = term * (bits - at) // (at + 1)
        at += 1
    return math.log2(2 * total) - bits if total else -math.inf


def lattice_precision() -> str:
    """Resolution and rounding error of a sum under each scheme, by participants."""
    masks = PairwiseMasks()
    schemes = [("masks", masks.largest, MAX_PARTICIPANTS)]
    schemes += [(_of_set(p), p.largest, p.max_participants) for p in PARAMETERS]

    def cell(count: int, own: int) -> str:
        worst, typical = count / (2 * own), math.sqrt(count / 12) / own
        return f"{math.log2(2 * own + 1):.1f}; {worst:.1e}; {typical:.1e}"

    rows = [
        (
            f"{count:,}",
            *(cell(count, largest // count) if count <= most else "" for _, largest, most in schemes),
        )
        for count in (2, 3, 5, 10, 20, 50, 100, 256, 500, 1000)
    ]
    return _table(("members", *(name for name, *_ in schemes)), rows)


def lattice_estimate() -> str:
    """What tools/lattice_estimate.py finds, the cheapest attack of each kind of knowledge."""
    found = json.loads((ROOT / "docs/lattice-estimate.json").read_text(encoding="utf-8"))
    models = list(found[0]["bits"])
    rows = [
        (row["set"], row["noise"], f"{row['sigma']:.2f}", row["attack"], f"{row['block']}, {row['search']}",
         str(row["dimension"]), *(f"{row['bits'][model]:.1f}" for model in models))
        for row in found
    ]  # fmt: skip
    return _table(("set", "noise", "sigma", "attack", "blocks", "dimension", *models), rows)


_LATTICE_ZH = {
    "name": "名称", "primes, row 0 first": "素数，第 0 行在前", "row 0 carries": "第 0 行所载", "noise": "噪声",
    "words of a coefficient, k": "每个系数的字数 k", "words of a block, n k": "每块的字数 n k",
    "H, the largest sum": "H，和的上限", "participants, at most": "参与方上限", "secret and reveal": "秘密与揭示的大小",
    "bytes of a protected word": "一个受保护字的字节数", "set": "参数集", "members": "成员数",
    "one coefficient": "一个系数", "2^30 words": "2^30 个字",
    "a wrong secret passes a block": "错误的秘密通过一块", "masks": "掩码",
    "sigma": "标准差", "attack": "攻击", "blocks": "块长", "dimension": "维数", "classical": "经典", "quantum": "量子",
    "core": "核心", "core-quantum": "核心（量子）", "gates": "门数",
    "fresh": "未泄露", "hint": "有提示", "chosen": "挑选", "theorem": "定理",
    "primal": "原始", "two steps": "两步", "dual": "对偶",
}  # fmt: skip


def _in_chinese(drawn: Callable[[], str]) -> Callable[[], str]:
    """The same table with what it says in Chinese."""

    def cell(text: str) -> str:
        head, plus, rest = text.partition(" + ")
        known = _LATTICE_ZH.get(text.strip())
        if known is None and plus:
            known = f"{_LATTICE_ZH[head.strip()]} + {rest.strip().replace('word 0', '× 字 0')}"
        return text if known is None else f" {known} "

    def draw() -> str:
        return "\n".join("|".join(map(cell, line.split("|"))) for line in drawn().splitlines())

    return draw


DRAWN: dict[str, Callable[[], str]] = {
    "rooms": rooms,
    "statements": statements,
    "dataset-states": dataset_states,
    "job-states": job_states,
    "job-owners": job_owners,
    "exit-codes": exit_codes,
    "job-fields": job_fields,
    "quiet-bits": quiet_bits,
    "quiet-bits-zh": quiet_bits_zh,
    "policy-fields": policy_fields,
    "policy-fields-zh": policy_fields_zh,
    "lattice-sets": lattice_sets,
    "lattice-failures": lattice_failures,
    "lattice-precision": lattice_precision,
    "lattice-estimate": lattice_estimate,
    "lattice-sets-zh": _in_chinese(lattice_sets),
    "lattice-failures-zh": _in_chinese(lattice_failures),
    "lattice-precision-zh": _in_chinese(lattice_precision),
    "lattice-estimate-zh": _in_chinese(lattice_estimate),
}


def redraw(text: str) -> str:
    """A page with every drawn part as the source has it now; KeyError for a part that nobody draws."""
    return _DRAWN.sub(lambda found: f"{found['open']}\n{DRAWN[found['name']]()}\n\n{found['close']}", text)


def main() -> None:
    """Write the pages, or say which one is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = []
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        fresh = redraw(text)
        if fresh != text:
            stale.append(page)
            if not options.check:
                path.write_text(fresh, encoding="utf-8")
    if options.check and stale:
        sys.exit(f"not what the source says: {', '.join(stale)}; run tools/write_docs.py")


if __name__ == "__main__":
    main()
