"""Data in words, names and durations: what the developer may read of its job, on a real space with a real sandbox."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import dataclass, replace
from typing import Any

from support.enclaves import JOB
from support.enclaves import patients as ward
from support.story import Story

from redteam.arena import Arena
from redteam.attacks.files import own_folder
from redteam.model import JOBS, KIT, Attack, Seen, both
from trustspace.client.broker import Broker
from trustspace.crypto.padding import size_class
from trustspace.domain import leakage, states
from trustspace.domain.records import JobRecord, OutputRecord
from trustspace.errors import TrustspaceError

_COARSE = both(
    "developers are told one of five coarse states, as of the last slot", "开发方只知粗略状态，且以时段为界"
)
_SEALED = both("logs and errors are sealed to the source unit, and nobody else is told of them",
               "日志与错误密封给数据源单位，他人无从得知")  # fmt: skip
_PADDED = both("sizes are padded to classes, and no developer reads an output's statement",
               "大小填充到等级，开发方读不到产出声明")  # fmt: skip
_DATA = both("rows, past every reviewer", "绕过审查带出数据")


class _Lent:
    """The arena's launcher, which outlives the enclave that borrows it."""

    def __init__(self, launcher: Any) -> None:
        self._launcher = launcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)

    def close(self) -> None:
        """Stays open."""


@dataclass(frozen=True)
class Told:
    """What the developer's own session can learn of one job before release; ``fine`` is what really happened."""

    text: str
    types: tuple[str, ...]
    keys: tuple[str, ...]
    leaves: int
    state_later: str
    blobs: int
    fine: str
    log: str
    sealed_bytes: tuple[int, ...]

    @property
    def all_but_growth(self) -> tuple[Any, ...]:
        """What does not depend on how busy the space is."""
        return self.types, self.keys, self.state_later, self.blobs


def story_of(arena: Arena) -> Story:
    """A hospital, a developer and a buyer over a real space; runs go to the arena's sandbox."""

    def plant(stack: contextlib.ExitStack) -> Story:
        story = Story(launcher=_Lent(arena.launcher))  # type: ignore[arg-type]
        stack.callback(story.close)
        return story

    story: Story = arena.bait("story", plant)
    return story


def told(arena: Arena, code: str, *, runs: int = 1, text: str = JOB) -> Told:
    """Let the developer submit this, run it to its end, and read all that the developer can read."""
    story = story_of(arena)
    link = story.developer.session.link
    story.ask(text, code)
    story.grant(runs=runs)
    before = _size(link)
    for _ in range(runs):
        # One challenge for each offer; a run that failed leaves the job granted.
        if story.state == "granted":
            Broker(story.hospital).attend()
            story.enclave.attend()
            Broker(story.hospital).attend()
            story.enclave.attend()
    record = story.world.ledger.view.get(JobRecord, story.job)
    assert record is not None
    listed = [job for job in link.view("jobs") if job["statement"] == story.job]
    statements = story.developer.session.job(story.job).statements
    entries = link.read(0, 4096, 0)[0]
    output = story.world.ledger.view.get(OutputRecord, record.output) if record.output else None
    fetched = 0
    if output is not None:
        for blob in (*(a.blob for a in output.body.artifacts), *(e.blob for e in output.body.evidence)):
            with contextlib.suppress(TrustspaceError):
                link.fetch(blob, 1 << 20)
                fetched += 1
    readable = json.dumps(listed, ensure_ascii=False) + "".join(e.envelope.decode("latin-1") for e in entries)
    readable += "".join(json.dumps(s.body.model_dump(mode="json"), ensure_ascii=False) for s in statements)
    later = max((at for at, _ in record.moves), default=0) + 2 * leakage.SLOT_SECONDS
    failures = [f for f in story.enclave.failures() if f.job == story.job]
    log = failures[-1].log if failures else ""
    return Told(
        readable, tuple(s.type for s in statements), tuple(sorted(key for job in listed for key in job)),
        _size(link) - before, states.coarse_state(record.moves, later, leakage.SLOT_SECONDS), fetched,
        record.state, log, tuple(a.sealed_bytes for a in output.body.artifacts) if output is not None else (),
    )  # fmt: skip


def _size(link: Any) -> int:
    """How long the log is: everybody enrolled sees that, and the leaves' hashes."""
    return int(link.checkpoint(0)[0].split("\n")[1])


# -- words

_RAISES = (
    "def run(inputs, outputs):\n"
    "    value = inputs.table().column(0)[0].as_py()\n"
    "    print('row', value)\n"
    "    raise ValueError(f'{value!r} is the first of {inputs.table().num_rows} rows')\n"
)
_FINISHES = "def run(inputs, outputs):\n    outputs.json('summary.json', {'rows': inputs.table().num_rows})\n"


def _words_without(arena: Arena) -> Seen:
    """A system that sends the developer the error of its job."""
    end = arena.bare(_RAISES)
    return Seen(
        "'patient-0' is the first of 8 rows" in end.log, "the traceback quotes a patient and counts rows"
    )


def _words_within(arena: Arena) -> Seen:
    value = repr(ward().column("size")[0].as_py())
    seen = told(arena, _RAISES)
    assert value in seen.log, "the source unit reads it in its own log"
    leaked = value in seen.text or "ValueError" in seen.text
    return Seen(
        leaked, f"told of {len(seen.text)} characters, none of the error's; later: {seen.state_later}"
    )


_PRINTS = (
    "def run(inputs, outputs):\n"
    "    print('row', inputs.table().column(0)[0].as_py())\n"
    "    outputs.json('summary.json', {'rows': inputs.table().num_rows})\n"
)


def _log_without(arena: Arena) -> Seen:
    end = arena.bare(_PRINTS, outputs=(("summary.json", "application/json", 4096),))
    return Seen("row patient-0" in end.log, "the log shows a patient")


def _log_within(arena: Arena) -> Seen:
    value = repr(ward().column("size")[0].as_py())
    seen = told(arena, _PRINTS)
    assert seen.fine == "in-review", seen.log
    return Seen(
        value in seen.text or seen.blobs > 0, f"{seen.blobs} sealed files to be had, not even as ciphertext"
    )


# -- exit codes


def _exits(code: int) -> str:
    return f"import os\ndef run(inputs, outputs):\n    os._exit({code})\n"


def _code_without(arena: Arena) -> Seen:
    """A system that reports a job's exit code."""
    codes = [
        subprocess.run(
            arena.python(f"import os; os._exit({wanted})"), check=False, cwd="/", env=arena.environment(),
            **arena.identity.drop(),
        ).returncode
        for wanted in (31, 44)
    ]  # fmt: skip
    return Seen(codes == [31, 44], "a patient's age as the exit code")


def _code_within(arena: Arena) -> Seen:
    seen = [told(arena, _exits(code)) for code in (31, 44)]
    same = seen[0].all_but_growth == seen[1].all_but_growth and seen[0].leaves == seen[1].leaves
    return Seen(not same, f"both are: {seen[0].state_later}")


# -- names


_NAMES = (
    "import os, sys\n"
    "from resources_output import output_descriptor\n"
    "from trustspace.jobs.container import RawArtifact, pack\n"
    "def run(inputs, outputs):\n"
    "    value = str(inputs.table().column(0)[0].as_py()).replace('.', '-')\n"
    "    content = pack([RawArtifact(f'row-{value}.json', 'application/json', b'{}')])\n"
    "    output = output_descriptor()\n"
    "    os.pwrite(output, content, 0)\n"
    "    os.ftruncate(output, len(content))\n"
    "    os._exit(0)\n"
)


def _name_files() -> dict[str, str]:
    return {
        "main.py": _NAMES, "kit.py": KIT.read_text(encoding="utf-8"),
        "resources_output.py": (JOBS / "resources_output.py").read_text(encoding="utf-8"),
    }  # fmt: skip


def _names_without(arena: Arena) -> Seen:
    """A system that lists the files that came out."""
    end = arena.bare(_name_files())
    return Seen("row-patient-0.json" in end.artifacts, "a file is called after a patient")


def _names_within(arena: Arena) -> Seen:
    files = _name_files()
    folder = story_of(arena).world.path / "job" / "code"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name in ("kit.py", "resources_output.py"):
            (folder / name).write_text(files[name], encoding="utf-8")
        seen = told(arena, files["main.py"])
    finally:
        for name in ("kit.py", "resources_output.py"):
            (folder / name).unlink()
    value = str(ward().column("size")[0].as_py()).replace(".", "-")
    assert value in seen.log, "the source unit reads which name was refused"
    return Seen(value in seen.text, f"a name that nobody declared is refused; later: {seen.state_later}")


# -- sizes


def _of_size(count: int) -> str:
    return (
        "def run(inputs, outputs):\n"
        f"    print('x' * {count})\n"
        f"    outputs.json('summary.json', {{'x': 'x' * {count}}})\n"
    )


def _size_without(arena: Arena) -> Seen:
    ends = [
        arena.bare(_of_size(count), outputs=(("summary.json", "application/json", 4096),))
        for count in (31, 44)
    ]
    sizes = [len(end.artifacts["summary.json"].data) for end in ends]
    return Seen(sizes[1] - sizes[0] == 13, f"sealed without padding: {sizes[0]} and {sizes[1]} bytes")


def _size_within(arena: Arena) -> Seen:
    """Not to the developer, and not to whoever stores the ciphertext."""
    seen = [told(arena, _of_size(count)) for count in (31, 3000)]
    assert all(one.fine == "in-review" for one in seen), seen[0].log
    assert size_class(31) == size_class(3000)
    same = seen[0].all_but_growth == seen[1].all_but_growth and seen[0].sealed_bytes == seen[1].sealed_bytes
    return Seen(
        not same, f"31 and 3000 bytes: both {', '.join(map(str, sorted(set(seen[0].sealed_bytes))))} sealed"
    )


# -- what is left: endings, and the growth of the log


def _bits(runs: int = 1) -> leakage.Leakage:
    return leakage.bits_per_job(wall_seconds=600, runs=(runs,))


def _ending_without(arena: Arena) -> Seen:
    """To the second, and with the status: as most systems tell."""
    ends = [arena.bare(_FINISHES, outputs=(("summary.json", "application/json", 4096),)), arena.bare(_RAISES)]
    return Seen(
        ends[0].status != ends[1].status, "status and duration to the millisecond: 20 bits in a quarter hour"
    )


def _ending_within(arena: Arena) -> Seen:
    seen = [told(arena, code).state_later for code in (_FINISHES, _RAISES)]
    bits = _bits().told_millibits / 1000
    return Seen(
        seen[0] != seen[1], f"{seen[0]} or {seen[1]}, in slots: at most {bits:.1f} bits a job of ten minutes"
    )


def _growth_without(arena: Arena) -> Seen:
    """A log of jobs that everybody reads."""
    path = own_folder(arena, "public-log") / "runs.txt"
    for attempt in (1, 2):
        end = arena.bare(_RAISES)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"attempt {attempt}: {end.status}\n")
    return Seen(
        path.read_text(encoding="utf-8").count("attempt") == 2, "the number of runs, and when each ended"
    )


def _growth_within(arena: Arena) -> Seen:
    once, twice = told(arena, _FINISHES, runs=2), told(arena, _RAISES, runs=2)
    bits = _bits(2).ledger_millibits / 1000
    detail = (
        f"{once.leaves} or {twice.leaves} new leaves, as hashes: at most {bits:.1f} bits a job of two runs"
    )
    return Seen(once.leaves != twice.leaves, detail)


ATTACKS = [
    Attack("leaks/exception", "leaks", both("Quotes a row and counts rows in an exception", "在异常文字中引用数据与行数"),
           _DATA, _SEALED, _words_without, _words_within),
    Attack("leaks/log", "leaks", both("Prints a row", "打印一行数据"), _DATA, _SEALED, _log_without, _log_within),
    Attack("leaks/exit-code", "leaks", both("Ends with a patient's age as its exit code", "以患者年龄为退出码"),
           _DATA, _COARSE, _code_without, _code_within),
    Attack("leaks/file-names", "leaks", both("Calls a file after a row", "以数据命名文件"),
           _DATA, _SEALED, _names_without, _names_within),
    Attack("leaks/sizes", "leaks", both("Hands out and prints as many bytes as a row says", "以输出与日志的大小传信"),
           _DATA, _PADDED, _size_without, _size_within),
    Attack(
        "leaks/ending", "leaks", both("Ends early or late, well or badly, by what it saw", "按所见数据决定何时结束、成败"),
        _DATA, _COARSE, _ending_without, _ending_within,
        open_because=both(
            "A job that ends must be seen to end. What is told is coarse and in slots of ten minutes; the bits that are "
            "left are counted, shown to the source unit, and a budget of each developer and dataset bounds their sum.",
            "任务总会结束，而结束总会被看到。所告知的状态粗略，且以十分钟为一时段；剩余的比特数已计量并告知数据源单位，"
            "并按开发方与数据集设预算加以限制。",
        ),
    ),
    Attack(
        "leaks/log-growth", "leaks", both("Fails a number of times; the log's growth tells how often", "以失败次数使账本增长"),
        _DATA, both("others' leaves are salted hashes; grants limit the runs", "他人的叶子是加盐哈希，授权限制次数"),
        _growth_without, _growth_within,
        open_because=both(
            "Every act is a leaf, and everybody must be able to check that the log only grows. Whoever watches it all the "
            "time sees how many leaves came and when, among those of all other jobs. Counted apart in domain/leakage.py; "
            "a grant of one run, the default, leaves the moment of one ending.",
            "每个行为都是账本中的一片叶子，人人都须能验证账本只增不减。持续观察者能看到叶子的数量与时刻（混在其他任务之中）。"
            "此量在 domain/leakage.py 中单独计算；默认只授权一次运行，仅余一次结束的时刻。",
        ),
    ),
]  # fmt: skip

# Left to the slow tests: others of their kind, which stand behind the same defence, are quick.
_SLOWER = {"log", "exit-code", "file-names", "sizes", "log-growth"}
ATTACKS = [replace(attack, quick=attack.name.partition("/")[2] not in _SLOWER) for attack in ATTACKS]
