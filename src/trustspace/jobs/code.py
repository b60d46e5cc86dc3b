"""Imports a developer's bundle from memory, inside the sandbox: nothing is written to disk.

The bundle comes last in the search, so it cannot take the place of Python's or the platform's modules by
accident. It is no defence against the developer: what runs here may do anything the sandbox allows.
"""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import CodeType, ModuleType
from typing import Any

from trustspace.errors import InvalidInput
from trustspace.jobs.bundle import parse_bundle, require_entry

ROOT = "bundle"


class Files(dict[str, str]):
    """The files of a bundle, path to text. Of ``blind`` code no line may come to stand in a log."""

    blind = False


def files_of(inputs: Mapping[str, Any]) -> Files:
    """The bundle among a program's inputs; an input ``blind`` beside it says that it was sealed.

    Raises KeyError where there is none.
    """
    files = Files(parse_bundle(bytes(inputs["code"])))
    files.blind = "blind" in inputs
    return files


class _Bundle(MetaPathFinder, InspectLoader):
    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self._blind = isinstance(files, Files) and files.blind

    def _path(self, name: str) -> str | None:
        base = name.replace(".", "/")
        return next((p for p in (f"{base}.py", f"{base}/__init__.py") if p in self.files), None)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if self._path(name) is None:
            return None
        return spec_from_loader(name, self, origin=f"{ROOT}/{self._path(name)}")

    def is_package(self, fullname: str) -> bool:
        return str(self._path(fullname)).endswith("/__init__.py")

    def _source(self, fullname: str) -> str:
        path = self._path(fullname)
        if path is None:
            raise ImportError(fullname)
        return self.files[path]

    def get_source(self, fullname: str) -> str | None:
        # What a traceback asks for the line to show.
        return None if self._blind else self._source(fullname)

    def get_code(self, fullname: str) -> CodeType:
        source, shown = self._source(fullname), f"{ROOT}/{self._path(fullname)}"
        if self._blind:
            try:
                return compile(source, shown, "exec", dont_inherit=True)
            except SyntaxError as error:  # which quotes the line
                raise ImportError(f"{shown} is not valid Python (line {error.lineno})") from None
        # So that a traceback in the sealed log shows the line that failed.
        linecache.cache[shown] = (len(source), None, source.splitlines(keepends=True), shown)
        return compile(source, shown, "exec", dont_inherit=True)


def load_entry(files: Mapping[str, str], file: str, function: str) -> Callable[..., Any]:
    """Import ``file`` of the bundle and return its ``function``.

    Raises InvalidInput when it is not there, and whatever the developer's code raises while it is imported.
    """
    require_entry(dict(files), file, function)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Bundle)]
    for name in [
        n for n, module in sys.modules.items() if isinstance(getattr(module, "__loader__", None), _Bundle)
    ]:
        del sys.modules[name]
    sys.meta_path.append(_Bundle(files))
    name = file.removesuffix(".py")
    module = importlib.import_module(name)
    entry = getattr(module, function, None)
    if not isinstance(module.__loader__, _Bundle) or not callable(entry):
        raise InvalidInput("{file} does not define {function}().", file=file, function=function)
    loaded: Callable[..., Any] = entry
    return loaded
