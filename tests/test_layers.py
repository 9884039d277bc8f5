"""The arrows of DESIGN.md, part 4, read from the imports; and what else must agree between files.

No module is imported to read its imports: Python files are parsed, Cython files matched line by line.
Imports inside functions and below TYPE_CHECKING count as well.
"""

import ast
import importlib
import re
import tomllib
from collections.abc import Set
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fastshell"

ROUTERS = {"_router", "_pyrouter", "_wire"}
LAYERS = {"app", "interpreter", "kernel", "protocol", "compat"}

#: Unit -> units it may import. A unit is a folder or a module directly below src/fastshell.
ALLOWED: dict[str, set[str]] = {
    "app": {"interpreter", "kernel", "protocol", "compat", "kernelspec", "options", "_contract"} | ROUTERS,
    "interpreter": {"kernel", "protocol", "_contract"},
    "kernel": {"protocol", "_contract"},
    "protocol": {"_contract"},
    "compat": {"interpreter", "kernel", "protocol", "options", "_contract"},
    "client": set(),
    "options": set(),
    "kernelspec": set(),
    "__main__": {"kernelspec", "options"},
    "__init__": set(),
    "_contract": set(),
    "_router": {"_contract", "_libzmq", "_c"},
    "_wire": {"_contract", "_c"},
    "_pyrouter": {"_contract", "protocol"},
    "_libzmq": set(),
    "_c": set(),
}

#: The same, for single modules of a unit.
ALLOWED_MODULES: dict[str, set[str]] = {"kernel/channel": ROUTERS}

#: Only inside a function: the command line starts fast, and a name may lead back to app.
ALLOWED_LAZILY: dict[str, set[str]] = {
    "__init__": {"app"},
    "__main__": {"app", "client", "launch"},
    "kernelspec": {"app"},
    "compat": {"app", "launch", "embed_kernel"},  # IPKernelApp.launch_instance starts a kernel
}

#: Packages of others -> the only units that may import them.
OTHERS: dict[str, set[str]] = {
    "IPython": {"interpreter", "compat"},
    "jupyter_client": {"client"},
    "ipykernel": {"compat"},
    "tornado": set(),
    "nest_asyncio": set(),
}

#: protocol/ is pure.
IMPURE = {"zmq", "threading", "asyncio", "socket", "selectors"}


class Import(NamedTuple):
    line: int
    module: str  # dotted, absolute
    is_lazy: bool  # in a function


def unit_of(path: str) -> str:
    """The unit of a path relative to src/fastshell."""
    return path.split("/")[0].split(".")[0]


def imports_of_python(path: str, source: str) -> list[Import]:
    found: list[Import] = []

    def absolute(node: ast.ImportFrom) -> str:
        package = ["fastshell", *path.split("/")[:-1]]
        base = package[: len(package) - node.level + 1] if node.level else []
        return ".".join([*base, *([node.module] if node.module else [])])

    def visit(node: ast.AST, is_lazy: bool) -> None:
        match node:
            case ast.Import(names=names):
                found.extend(Import(node.lineno, alias.name, is_lazy) for alias in names)
            case ast.ImportFrom(names=names):
                module = absolute(node)
                found.extend(Import(node.lineno, f"{module}.{alias.name}", is_lazy) for alias in names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                found.append(Import(node.lineno, name, is_lazy))
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, is_lazy or is_function)

    visit(ast.parse(source), False)
    return found


_FROM = re.compile(r"^([ \t]*)from[ \t]+([\w.]+)[ \t]+c?import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE)
_PLAIN = re.compile(r"^([ \t]*)c?import[ \t]+([\w., \t]+)", re.MULTILINE)
_STRING_OR_COMMENT = re.compile(r'""".*?"""|\'\'\'.*?\'\'\'|#[^\n]*', re.DOTALL)


def imports_of_cython(path: str, source: str) -> list[Import]:
    code = _STRING_OR_COMMENT.sub(lambda match: "\n" * match[0].count("\n"), source)
    found: list[Import] = []
    for match in _FROM.finditer(code):
        line = code.count("\n", 0, match.start()) + 1
        module = match[2]
        if module.startswith("."):
            module = f"fastshell.{module[1:]}".rstrip(".")  # extensions lie directly in the package
        names = [name.split()[0] for name in match[3].strip("()").split(",") if name.strip()]
        found.extend(Import(line, f"{module}.{name}", bool(match[1])) for name in names)
    for match in _PLAIN.finditer(code):
        line = code.count("\n", 0, match.start()) + 1
        names = [name.split()[0] for name in match[2].split(",") if name.strip()]
        found.extend(Import(line, name, bool(match[1])) for name in names)
    return found


def violations(path: str, source: str) -> list[str]:
    """What a file (relative to src/fastshell) imports and should not, as file:line: text."""
    is_cython = path.endswith((".pyx", ".pxd"))
    imports = (imports_of_cython if is_cython else imports_of_python)(path, source)
    unit = unit_of(path)
    if unit not in ALLOWED:
        return [f"{path}:1: {unit} has no place in the layers; give it one in tests/test_layers.py"]
    allowed = ALLOWED[unit] | ALLOWED_MODULES.get(path.rsplit(".", 1)[0], set()) | {unit}
    lazily = ALLOWED_LAZILY.get(unit, set())
    found = []
    for line, module, is_lazy in imports:
        first, _, rest = module.partition(".")
        where = f"src/fastshell/{path}:{line}"
        if first == "fastshell":
            target = rest.split(".")[0]
            if target in allowed or target == "__version__":
                continue
            if target in lazily:
                if not is_lazy:
                    found.append(f"{where}: {unit} may import {target} only in a function")
            elif target in ALLOWED:
                found.append(f"{where}: {unit} may not import {target}")
            else:
                found.append(f"{where}: {unit} may not import {target or 'fastshell itself'} from the root")
        elif unit not in OTHERS.get(first, {unit}):
            found.append(f"{where}: {unit} may not import {first}")
        elif unit == "protocol" and first in IMPURE:
            found.append(f"{where}: protocol is pure, without {first}")
    return found


def test_every_import_points_the_right_way() -> None:
    found = []
    for suffix in (".py", ".pyi", ".pyx", ".pxd"):
        for file in sorted(PACKAGE.rglob(f"*{suffix}")):
            path = file.relative_to(PACKAGE).as_posix()
            found += violations(path, file.read_text("utf-8"))
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("protocol/wire.py", "from fastshell.kernel import dispatch"),
        ("protocol/wire.py", "from ..kernel import dispatch"),
        ("protocol/wire.py", "from .. import kernel"),
        ("protocol/wire.py", "import fastshell.kernel.dispatch as d"),
        ("protocol/wire.py", "from fastshell import _wire"),
        ("protocol/wire.py", "import zmq"),
        ("protocol/message.py", "def f():\n    import threading"),
        ("kernel/dispatch.py", "from fastshell.interpreter import shell"),
        ("kernel/dispatch.py", "def f():\n    from fastshell.interpreter.shell import Shell"),
        ("kernel/dispatch.py", "if TYPE_CHECKING:\n    from fastshell.interpreter.shell import Shell"),
        ("kernel/dispatch.py", "from fastshell._router import Router"),
        ("kernel/dispatch.py", "import IPython.core.inputtransformer2"),
        ("kernel/dispatch.py", "importlib.import_module('IPython')"),
        ("kernel/dispatch.py", "from fastshell import launch"),
        ("kernel/dispatch.py", "import fastshell"),
        ("interpreter/shell.py", "from fastshell import app"),
        ("interpreter/shell.py", "from fastshell._pyrouter import Router"),
        ("interpreter/shell.py", "from fastshell.compat import zmqshell"),
        ("interpreter/shell.py", "import tornado.ioloop"),
        ("client/top.py", "from fastshell.protocol import connection"),
        ("client/top.py", "from fastshell._contract import CHANNELS"),
        ("__main__.py", "from fastshell.app import run"),
        ("kernelspec.py", "from jupyter_client.kernelspec import KernelSpecManager"),
        ("_contract.py", "from fastshell.protocol import wire"),
        ("_pyrouter.py", "from fastshell.kernel import channel"),
        ("_router.pyi", "from fastshell.kernel.channel import Channel"),
        ("_router.pyx", "from fastshell.protocol cimport wire"),
        ("_router.pyx", "from .protocol import wire"),
        ("_router.pyx", "from fastshell.protocol.wire import (\n    DELIMITER,\n)"),
        ("_router.pyx", "def f():\n    import IPython"),
        ("strange.py", "import os"),
    ],
)
def test_wrong_arrow_is_seen(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "app.py",
            "from fastshell import _router, _pyrouter, kernelspec\nimport fastshell.interpreter.shell",
        ),
        ("kernel/channel.py", "from fastshell._router import Router\nfrom .. import _pyrouter"),
        ("kernel/dispatch.py", "from . import request\nfrom .request import Request\nimport asyncio, zmq"),
        ("kernel/introspection.py", "from fastshell import __version__"),
        ("interpreter/shell.py", "from ..kernel.dispatch import X\nfrom IPython.core import y"),
        ("compat/kernelapp.py", "import IPython\ndef f():\n    from fastshell.app import run"),
        ("client/subshells.py", "import jupyter_client\nfrom . import top"),
        ("__main__.py", "def main():\n    from fastshell import launch, kernelspec"),
        ("_router.pyx", '"""Text.\n\nfrom fastshell.kernel import x\n"""\ncimport cython\nimport threading'),
        (
            "_router.pyx",
            "from fastshell._libzmq cimport (  # zmq.h\n    fs_frame,\n    fs_poll,\n)\nimport zmq",
        ),
        ("_pyrouter.py", "import zmq\nfrom fastshell.protocol import wire"),
    ],
)
def test_right_arrow_is_let_through(path: str, source: str) -> None:
    assert violations(path, source) == []


# --- stubs against modules ---


def names_in_stub(name: str) -> dict[str, set[str]]:
    """Public names of a .pyi, each with the public attributes of its class (none if it is no class)."""
    tree = ast.parse((PACKAGE / f"{name}.pyi").read_text("utf-8"))
    return {bound: members for node in tree.body for bound, members in _bound(node) if _is_public(bound)}


def names_in_module(module: ModuleType, imported: Set[str] = frozenset()) -> dict[str, set[str]]:
    """The same of a module that is loaded; what it imported from elsewhere is not its own."""
    names = {}
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", module.__name__) == module.__name__
        if _is_public(name) and is_own and name not in imported and not isinstance(value, ModuleType):
            members = vars(value) if isinstance(value, type) else ()
            names[name] = {member for member in members if _is_public(member)}
    return names


def _bound(node: ast.stmt) -> list[tuple[str, set[str]]]:
    match node:
        case ast.ClassDef(name=name, body=body):
            members = {member for statement in body for member, _ in _bound(statement)}
            return [(name, {member for member in members if _is_public(member)})]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [(name, set())]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [(name, set())]
        case ast.Assign(targets=targets):
            return [(target.id, set()) for target in targets if isinstance(target, ast.Name)]
    return []


def _is_public(name: str) -> bool:
    return not name.startswith("_")


@pytest.mark.parametrize("name", ["_router", "_wire"])
def test_stub_lists_what_the_compiled_module_offers(name: str) -> None:
    try:
        module = importlib.import_module(f"fastshell.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"fastshell.{name}":
            raise
        pytest.skip(f"fastshell.{name} is not built for this Python")
    imports = imports_of_cython(f"{name}.pyx", (PACKAGE / f"{name}.pyx").read_text("utf-8"))
    imported = {found.module.rpartition(".")[2] for found in imports}
    assert names_in_module(module, imported) == names_in_stub(name)


def test_plain_router_offers_what_the_stub_lists() -> None:
    module = names_in_module(importlib.import_module("fastshell._pyrouter"))
    compiled_only = {"Frame", "kick_by_signal", "kick_yield"}
    for name, members in names_in_stub("_router").items():
        if name in compiled_only:
            continue
        assert name in module
        assert members <= module[name], name


# --- one version ---


def test_version_is_said_once() -> None:
    import fastshell

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert fastshell.__version__ == project["version"]
