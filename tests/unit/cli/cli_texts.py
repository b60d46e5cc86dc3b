"""Every text that the command line may show, found by reading the source: what a catalogue has to hold."""

import ast
import inspect
from pathlib import Path

import click

from trustspace.cli.main import cli

SOURCE = Path(__file__).resolve().parents[3] / "src" / "trustspace"


def trees():
    for path in sorted(SOURCE.rglob("*.py")):
        if "api" not in path.relative_to(SOURCE).parts:
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def error_classes():
    """TrustspaceError and everything below it, by name, wherever it is defined."""
    found = {"TrustspaceError"}
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for _path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found


class Reader:
    """Resolves the expressions that stand where a text is expected."""

    def __init__(self, path, tree):
        self.path = path
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.tree = tree

    def texts(self, node, depth=0):
        """The texts an expression may stand for; raises when that cannot be told by reading."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return {node.value}
        if isinstance(node, ast.IfExp):
            return self.texts(node.body, depth) | self.texts(node.orelse, depth)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return {a + b for a in self.texts(node.left, depth) for b in self.texts(node.right, depth)}
        if isinstance(node, ast.Name) and depth < 3:
            found = set()
            for assigned in self.assignments(node):
                found |= self.texts(assigned, depth + 1)
            if found:
                return found
        raise ValueError(f"{self.path}:{node.lineno}: {ast.unparse(node)}")

    def scope(self, node):
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, ast.FunctionDef):
                return node
        return self.tree

    def class_of(self, node):
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, ast.ClassDef):
                return node.name
        return ""

    def assignments(self, name):
        for scope in (self.scope(name), self.tree):
            found = [
                node.value
                for node in (scope.body if isinstance(scope, ast.Module) else ast.walk(scope))
                if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
                if isinstance(target, ast.Name) and target.id == name.id
            ]
            if found:
                return found
        return []


def called(node):
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def error_texts():
    """(text, where) of every message and fix; ValueErrors for those that reading does not resolve."""
    classes, found, unresolved = error_classes(), {}, []
    for path, tree in trees():
        reader = Reader(path.relative_to(SOURCE), tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            arguments = []
            inside = called(node) == "__init__" and reader.class_of(node) in classes - {"TrustspaceError"}
            if called(node) in classes or inside:
                arguments = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "fix")]
            elif called(node) == "rule":
                arguments = [
                    *node.args[1:3],
                    *(k.value for k in node.keywords if k.arg in ("message", "fix")),
                ]
            for argument in arguments:
                try:
                    for text in reader.texts(argument):
                        found.setdefault(text, f"{reader.path}:{node.lineno}")
                except ValueError as error:
                    unresolved.append(str(error))
    return found, unresolved


def spoken_texts():
    """(text, where) of every text that cli/ marks for translation."""
    found = {}
    for path, tree in trees():
        if path.parent.name != "cli":
            continue
        reader = Reader(path.relative_to(SOURCE), tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in ("_", "mark", "compose"):
                for text in reader.texts(node.args[0]):
                    found.setdefault(text, f"{reader.path}:{node.lineno}")
    return found


def help_texts(command=cli):
    """(text, where) of every help text of every command and option."""
    found = {inspect.cleandoc(command.help or ""): command.name}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            found[parameter.help or ""] = f"{command.name} {parameter.opts[0]}"
    for child in getattr(command, "commands", {}).values():
        found |= help_texts(child)
    return found


def all_texts():
    """(text, where) of everything that may be shown."""
    errors, _unresolved = error_texts()
    found = {**help_texts(), **spoken_texts(), **errors}
    found.pop("", None)
    return found


def report():
    """What a catalogue lacks and what it holds in vain: run this file to see it."""
    from trustspace.cli.i18n import catalogue

    known = {text for text in catalogue() if not text.startswith("detail:")}
    texts = all_texts()
    missing = {text: where for text, where in texts.items() if text not in known}
    return missing, sorted(known - texts.keys())


if __name__ == "__main__":
    missing, stale = report()
    for text, where in missing.items():
        print(f"missing ({where}): {text!r}")
    for text in stale:
        print(f"stale: {text!r}")
