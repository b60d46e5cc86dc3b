"""A developer's code as one canonical text: what is signed, sealed, shown to a reviewer and run.

``{"files": {relative path: text, ...}, "format": "trustspace-bundle-v1"}`` in canonical JSON, so that the
same files give the same bytes and digest on every machine. Only text that a reviewer can read goes in.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import unicodedata
from pathlib import Path

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed

FORMAT = "trustspace-bundle-v1"
MAX_BYTES = 1 << 20
MAX_FILES = 100
SUFFIXES = (".py", ".json", ".toml", ".txt", ".md")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
_SKIPPED = {"__pycache__"}


def build_bundle(path: Path) -> bytes:
    """Bundle one file or everything in a folder (hidden entries and ``__pycache__`` are left out).

    Windows line ends and a byte order mark are normalised away. Raises InvalidInput for a missing path, a
    symbolic link, a file that is not plain UTF-8 text of an allowed kind, more than 100 files or 1 MiB.
    """
    if path.is_symlink() or not path.exists():
        raise InvalidInput(
            "The code at {path} is missing or a symbolic link.", fix="Name a file or folder.", path=str(path)
        )
    if path.is_file():
        return make_bundle({path.name: _read(path)})
    files: dict[str, str] = {}
    for folder, names, file_names in os.walk(path):
        names[:] = sorted(n for n in names if n not in _SKIPPED and not n.startswith("."))
        for name in (*names, *file_names):
            if (Path(folder) / name).is_symlink():
                raise InvalidInput(
                    "The code folder holds a symbolic link: {name}.",
                    fix="Put the file itself there.",
                    name=name,
                )
        for name in file_names:
            if not name.startswith("."):
                found = Path(folder) / name
                files[found.relative_to(path).as_posix()] = _read(found)
        if len(files) > MAX_FILES:
            break
    return make_bundle(files)


def make_bundle(files: dict[str, str]) -> bytes:
    """The bundle of ``files`` (relative path to text). Raises InvalidInput when a rule is broken."""
    _check(files)
    data = canonical_json({"format": FORMAT, "files": dict(files)})
    if len(data) > MAX_BYTES:
        raise InvalidInput(
            "The code is larger than {limit} bytes.", fix="Leave out what does not run.", limit=MAX_BYTES
        )
    return data


def parse_bundle(data: bytes) -> dict[str, str]:
    """The files of a bundle. Raises VerificationFailed unless :func:`make_bundle` would have written it."""
    value = parse_canonical(data, what="code bundle", max_bytes=MAX_BYTES)
    match value:
        case {"format": "trustspace-bundle-v1", "files": dict(found), **rest} if not rest:
            files = {path: text for path, text in found.items() if isinstance(text, str)}
        case _:
            raise VerificationFailed("The code bundle is not of format {format}.", format=FORMAT)
    if len(files) != len(found):
        raise VerificationFailed("The code bundle holds something that is not text.")
    try:
        _check(files)
    except TrustspaceError as error:
        raise VerificationFailed(
            "The code bundle breaks a rule: {reason}", reason=error.public_message
        ) from None
    return files


def require_entry(files: dict[str, str], file: str, function: str) -> None:
    """Raise InvalidInput unless ``file`` is in the bundle and defines ``function`` at its top level.

    Only the text is parsed: nothing of the developer's runs here.
    """
    if file not in files:
        raise InvalidInput(
            "The code has no {file}.",
            fix="Put a {file} with {function}(...) at the top of the code.",
            file=file,
            function=function,
        )
    try:
        tree = ast.parse(files[file], filename=file)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 0
        raise InvalidInput("{file} is not valid Python (line {line}).", file=file, line=line) from None
    if not any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body):
        raise InvalidInput(
            "{file} does not define {function}().",
            fix="Define it with `def {function}(...)` at the top level.",
            file=file,
            function=function,
        )


def _read(path: Path) -> str:
    if not path.is_file():
        raise InvalidInput("{name} is not a regular file.", name=path.name)
    if path.suffix not in SUFFIXES:
        raise InvalidInput(
            "{name} is of a kind that may not be in a code bundle.",
            fix="Keep only {suffixes} files in the code folder.",
            name=path.name,
            suffixes=", ".join(SUFFIXES),
        )
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidInput("{name} is larger than {limit} bytes.", name=path.name, limit=MAX_BYTES)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise InvalidInput("{name} is not UTF-8 text.", fix="Save it as UTF-8.", name=path.name) from None


def _check(files: dict[str, str]) -> None:
    if not files or len(files) > MAX_FILES:
        raise InvalidInput("A code bundle holds 1 to {limit} files.", limit=MAX_FILES)
    seen: set[str] = set()
    for path, text in files.items():
        parts = path.split("/")
        if len(parts) > 8 or not all(_PART.fullmatch(part) for part in parts):
            raise InvalidInput(
                "A path in the code bundle is not allowed.",
                fix="Use letters, digits, dots, dashes and underscores; no leading dot, at most 8 folders.",
            )
        if not path.endswith(SUFFIXES):
            raise InvalidInput("{path} is of a kind that may not be in a code bundle.", path=path)
        if path.casefold() in seen:
            raise InvalidInput("Two paths in the code bundle differ only in case: {path}.", path=path)
        seen.add(path.casefold())
        top = parts[0].removesuffix(".py")
        if path.endswith(".py") and top in sys.stdlib_module_names:
            raise InvalidInput(
                "{path} has the name of a module of Python's own.", fix="Give it another name.", path=path
            )
        for character in text:
            if character in "\n\t" or character.isprintable():
                continue
            # Bidirectional overrides make code read otherwise than it runs (CVE-2021-42574).
            if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}:
                raise InvalidInput(
                    "{path} holds an invisible or control character (U+{point}).",
                    fix="Remove it: a reviewer must see exactly what runs.",
                    path=path,
                    point=f"{ord(character):04X}",
                )
