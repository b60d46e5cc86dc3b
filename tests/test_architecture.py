"""The house keeps its shape: imports run one way, nothing is in a knot, no file is dead, the core stays pure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "trustspace"
FLOORS = {
    "errors": 0,
    "crypto": 1, "ledger": 1, "domain": 1, "aggregation": 1, "privacy": 1,
    "jobs": 2, "data": 2, "evidence": 2,
    "sandbox": 3, "transport": 3, "storage": 3, "api": 3,
    "space": 4, "enclave": 4, "client": 4,
    "web": 5, "cli": 5, "demo": 5, "rehearsal": 5, "__main__": 5,
}  # fmt: skip
# Rooms on one floor that lean on each other, always in this direction.
SIDEWAYS = {
    ("domain", "crypto"), ("domain", "ledger"), ("ledger", "crypto"), ("jobs", "data"), ("evidence", "jobs"),
    ("evidence", "data"),  ("transport", "api"), ("transport", "storage"), ("cli", "demo"), ("cli", "rehearsal"),
    ("cli", "web"),
    ("__main__", "cli"),
}  # fmt: skip
GENERATED = SOURCE / "api" / "v1"
IMPURE = {
    "socket", "subprocess", "threading", "multiprocessing", "asyncio", "sqlite3", "time", "datetime", "pathlib",
    "tempfile", "shutil", "random", "grpc", "logging",
}  # fmt: skip


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        if GENERATED in path.parents:
            continue
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(("trustspace", *(p for p in parts if p != "__init__")))
        found[name] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Every trustspace module that a file imports, wherever in the file, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            base = node.module or ""
            for alias in node.names:
                name = f"{base}.{alias.name}"
                found.add(name if name in MODULES or name.startswith("trustspace.api.v1.") else base)
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("module", [m for m in MODULES if room(m)])
def test_imports_run_down_the_floors(module: str) -> None:
    here = room(module)
    assert here in FLOORS, f"{here} is not a room: give it a floor in this table and in docs/architecture.md"
    for target in imports(MODULES[module]):
        if not target.startswith("trustspace."):
            continue
        there = room(target)
        if there == here:
            continue
        down = FLOORS[there] < FLOORS[here] or (here, there) in SIDEWAYS
        assert down, f"{module} must not import {target}"


@pytest.mark.parametrize("module", [m for m in MODULES if room(m)])
def test_generated_code_stays_behind_the_transport(module: str) -> None:
    uses = any(target.startswith("trustspace.api.v1") for target in imports(MODULES[module]))
    assert not uses or room(module) in {"transport", "space", "enclave", "api"}


@pytest.mark.parametrize("module", [m for m in MODULES if FLOORS.get(room(m)) == 1])
def test_the_core_opens_nothing_and_reads_no_clock(module: str) -> None:
    tops = {name.split(".")[0] for name in imports(MODULES[module])}
    assert not tops & IMPURE, f"{module} imports {sorted(tops & IMPURE)}"
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "open" not in calls


@pytest.mark.parametrize(
    "module", [m for m in MODULES if room(m) in {"space", "enclave", "transport", "client"}]
)
def test_torch_is_imported_in_sandboxes_only(module: str) -> None:
    assert not {"torch", "safetensors", "PIL"} & {name.split(".")[0] for name in imports(MODULES[module])}


def test_no_import_cycles() -> None:
    edges = {
        name: {t for t in imports_at_load(path) if t in MODULES and t != name}
        for name, path in MODULES.items()
    }
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> None:
        assert name not in path, f"import cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        path.append(name)
        for target in sorted(edges[name]):
            visit(target)
        path.pop()
        done.add(name)

    for name in MODULES:
        visit(name)


def imports_at_load(path: Path) -> set[str]:
    """Imports that run when the module does: those inside functions cannot tie a knot at load time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    checking = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in inside or id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else str(node.module))
    return found


def test_no_dead_files() -> None:
    used = {"trustspace", "trustspace.__main__"}
    tools = (SOURCE.parent.parent / "tools").glob("*.py")
    for path in (*MODULES.values(), *tools):
        used |= imports(path)
    # Started by name: the worker inside a sandbox and the launcher's own process.
    text = "\n".join(path.read_text(encoding="utf-8") for path in MODULES.values())
    for module, path in MODULES.items():
        if path.name == "__init__.py":
            continue
        assert module in used or module in text, f"nothing uses {module}"
