"""What the doctor says to people: every kind of sandbox, what is in the way, and what to write where. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from trustspace.domain.tiers import ANY_TIER, TIERS, tier_satisfies
from trustspace.sandbox.doctor import HostFacts, HostReport, lines
from trustspace.sandbox.remedies import TIER_WORDS, WORDS, Finding

# Findings about the computer rather than about one kind of sandbox: said once.
COMMON: Final = frozenset({"libseccomp", "user", "runtime", "swap", "core-pattern", "uncounted", "same-user"})


def strongest(reports: Iterable[HostReport]) -> HostReport | None:
    """The one with the strongest tier, if any has one."""
    able = [each for each in reports if each.tier is not None]
    return min(able, key=lambda each: TIERS.index(each.tier or ""), default=None)


def accepted(reports: Sequence[HostReport], chosen: str, minimum: str = ANY_TIER) -> bool:
    """Whether an enclave that is set so would start here."""
    now = next(each for each in reports if each.backend == chosen)
    return now.tier is not None and tier_satisfies(now.tier, minimum)


def render(
    reports: Sequence[HostReport], chosen: str, language: str, *, own: bool, minimum: str = ANY_TIER
) -> str:
    """The whole survey for a terminal.

    ``chosen`` is the configured kind and ``minimum`` the weakest tier to start with, ``own``: an enclave of this home
    says so.
    """

    def word(name: str, **details: str) -> str:
        return WORDS[name][language].format(**details)

    facts = reports[0].facts
    said = [word("computer", what={"en": ", ", "zh": "，"}[language].join(_computer(facts, word)))]
    said += lines((each for each in reports[0].findings if each.name in COMMON), language)
    for report in reports:
        mark = f"  # {word('set' if own else 'default')}" if report.backend == chosen else ""
        said += ["", f'sandbox = "{report.backend}"{mark}']
        if report.tier is None:
            said.append(f"  {word('none')}")
        else:
            said += [f"  {word('tier', tier=report.tier)}", f"  {TIER_WORDS[report.tier][language]}"]
        said += lines((each for each in report.findings if each.name not in COMMON), language)
    return "\n".join([*said, "", _advice(reports, chosen, minimum, word)])


def _computer(facts: HostFacts, word: Any) -> list[str]:
    system = f"{facts.distribution} {facts.distribution_version}".strip()
    return [
        *([system] if system else []),
        word("kernel", said=facts.kernel),
        word("root" if facts.root else "ordinary"),
        *([word("inside", said=facts.container)] if facts.container else []),
    ]


def _advice(reports: Sequence[HostReport], chosen: str, minimum: str, word: Any) -> str:
    """The last line: whether an enclave can run here, and which line of enclave.toml would change that."""
    best = strongest(reports)
    now = next(each for each in reports if each.backend == chosen)
    if best is None:
        return str(word("nothing"))
    if now.tier is None:
        return str(word("other", now=chosen, backend=best.backend, tier=best.tier or ""))
    said = str(word("ready") if accepted(reports, chosen, minimum) else word("minimum", tier=minimum))
    if best.tier == now.tier:
        return said
    return f"{said}\n{word('stronger', backend=best.backend, tier=best.tier or '')}"


def document(reports: Sequence[HostReport], chosen: str, language: str) -> dict[str, Any]:
    """The same for programs: the configured kind first, then all of them."""
    facts = reports[0].facts
    now = next(each for each in reports if each.backend == chosen)
    return {
        "sandbox": chosen,
        "tier": now.tier or "",
        "findings": _findings(now.findings, language),
        "kinds": [
            {
                "sandbox": each.backend,
                "tier": each.tier or "",
                "findings": _findings(each.findings, language),
            }
            for each in reports
        ],
        "computer": {
            "distribution": facts.distribution,
            "version": facts.distribution_version,
            "kernel": facts.kernel,
            "container": facts.container,
            "root": facts.root,
            "control_groups": facts.counted,
        },
    }


def _findings(findings: Iterable[Finding], language: str) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "blocks": each.blocks, "text": each.text[language], "fix": each.fix[language]}
        for each in findings
    ]
