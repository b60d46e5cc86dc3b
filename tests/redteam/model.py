"""What an attack is, and the groups that the table is ordered by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redteam.arena import Arena, JobEnd

Text = dict[str, str]
JOBS = Path(__file__).parent / "jobs"
KIT = JOBS / "kit.py"

# In the order of the table. One module of redteam.attacks for each, of the same name.
GROUPS: dict[str, Text] = {
    "network": {"en": "Talking to the outside", "zh": "与外界通信"},
    "proc": {"en": "Reading the host through /proc", "zh": "通过 /proc 窥探宿主机"},
    "processes": {"en": "Other processes and more rights", "zh": "侵入其他进程与提升权限"},
    "kernel": {"en": "Dangerous doors into the kernel", "zh": "内核的危险入口"},
    "ipc": {"en": "Memory and queues shared on the host", "zh": "宿主机上的共享内存与消息队列"},
    "resources": {"en": "Using up the host", "zh": "耗尽宿主机资源"},
    "files": {"en": "Files of the host and of later runs", "zh": "宿主机与后续运行的文件"},
    "outputs": {"en": "Outputs that attack whoever opens them", "zh": "攻击打开者的输出"},
    "reviewer": {"en": "Outputs aimed at the reviewer", "zh": "针对审查员的输出"},
    "leaks": {"en": "Data in words, names and durations", "zh": "借文字、名称与时长泄露数据"},
    "neighbours": {"en": "Other runs and other domains", "zh": "其他运行与其他数据域"},
    "keys": {"en": "Keys and plain text in memory", "zh": "内存中的密钥与明文"},
    "capacity": {"en": "Hiding data in an approved result", "zh": "把数据藏进已批准的结果"},
}


class CannotShow(Exception):
    """The attack cannot be carried out on this host even without defences; the reason, in both languages."""

    def __init__(self, en: str, zh: str = "") -> None:
        super().__init__(en)
        self.reason: Text = {"en": en, "zh": zh or en}


@dataclass(frozen=True)
class Seen:
    """What came of one try. ``detail`` is one short line without paths, addresses or secrets of the host."""

    worked: bool
    detail: str


@dataclass(frozen=True)
class Attack:
    """One attack, its positive control (``without``) and what is left of it (``within``).

    Both are called in the same run of the suite. ``without`` raises CannotShow where the host cannot show
    the attack. ``open_because`` stands only on attacks that work with the defences too; ``open_in`` says the
    same by tier, for those that work in a weaker one alone.
    """

    name: str
    group: str
    title: Text
    wants: Text
    defence: Text
    without: Callable[[Arena], Seen]
    within: Callable[[Arena], Seen]
    quick: bool = True
    open_because: Text | None = None
    open_in: Mapping[str, Text] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.group not in GROUPS or not self.name.startswith(f"{self.group}/"):
            raise ValueError(f"{self.name} is not named after one of the groups")
        open_texts = (*self.open_in.values(), *([self.open_because] if self.open_because else []))
        for text in (self.title, self.wants, self.defence, *open_texts):
            if set(text) != {"en", "zh"} or not all(text.values()):
                raise ValueError(f"{self.name} lacks a text in English or Chinese")


def both(en: str, zh: str) -> Text:
    """A text in both languages."""
    return {"en": en, "zh": zh}


def job_files(source: str) -> dict[str, str]:
    """The bundle that an attacker submits: ``jobs/<source>`` as main.py, and the tools it imports."""
    return {
        "main.py": (JOBS / source).read_text(encoding="utf-8"),
        "kit.py": KIT.read_text(encoding="utf-8"),
    }


def seen_in(end: JobEnd, secret: str | None = None) -> Seen:
    """What a job that hands out finding.json saw; with ``secret``, only having it counts as success."""
    finding = end.finding
    if finding is None:
        return Seen(False, end.reason or end.status)
    worked = bool(finding["worked"])
    if worked and secret is not None:
        worked = secret in str(finding.get("loot", ""))
    return Seen(worked, str(finding["detail"])[:160])


def job_attack(
    name: str,
    *,
    title: Text,
    wants: Text,
    defence: Text,
    source: str,
    arguments: Mapping[str, str | int | bool] | Callable[[Arena], Mapping[str, Any]] | None = None,
    loot: bool | Callable[[Arena, str], bool] = False,
    confirm: Callable[[Arena], bool] | None = None,
    cannot: Mapping[str, Text] | None = None,
    limits: Mapping[str, int] | None = None,
    control: Mapping[str, Any] | Callable[[Arena], Mapping[str, Any]] | None = None,
    quick: bool = True,
    open_because: Text | None = None,
    open_in: Mapping[str, Text] | None = None,
) -> Attack:
    """An attack that is one job, run by the same program as the same user, once bare and once in a sandbox.

    ``arguments`` may be a function that plants on the host what the attack is after, and says where; it is
    called anew for each try. ``loot``: the job must hand out the arena's secret, its word alone does not
    count; or a function that says whether what it handed out is the host's. ``confirm`` looks on the host whether the attack had its effect. ``cannot`` names, by the detail
    that a bare try ends with, why this host cannot show the attack. ``control`` are further arguments of
    ``Arena.bare``.
    """

    def given(arena: Arena) -> Mapping[str, Any]:
        return arguments(arena) if callable(arguments) else arguments or {}

    def judge(arena: Arena, end: JobEnd) -> Seen:
        seen = seen_in(end, arena.secret if loot is True else None)
        if callable(loot) and seen.worked and not loot(arena, str((end.finding or {}).get("loot", ""))):
            return Seen(False, f"{seen.detail}, none of it the host's")
        if confirm is not None and confirm(arena) != seen.worked:
            # What happened counts, not what the job says of itself.
            return Seen(not seen.worked, f"{seen.detail} (seen on the host)")
        return seen

    def without(arena: Arena) -> Seen:
        more = control(arena) if callable(control) else control or {}
        end = arena.bare(job_files(source), arguments=given(arena), limits=limits, **more)
        seen = judge(arena, end)
        reason = (cannot or {}).get(seen.detail)
        if reason is not None and not seen.worked:
            raise CannotShow(reason["en"], reason["zh"])
        if end.finding is None and not seen.worked:
            return Seen(False, f"{seen.detail}: {end.log.strip().rpartition(chr(10))[2][:160]}")
        return Seen(True, f"{seen.detail} (as root)") if more.get("root") and seen.worked else seen

    def within(arena: Arena) -> Seen:
        try:
            wanted = given(arena)
        except CannotShow:
            return Seen(False, "nothing there to attack")
        return judge(arena, arena.inside(job_files(source), arguments=wanted, limits=limits))

    group = name.split("/", 1)[0]
    return Attack(name, group, title, wants, defence, without, within, quick, open_because, open_in or {})
