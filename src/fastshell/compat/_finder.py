"""Makes the folder compat/ the package `ipykernel` of this process.

Thread: `install` on main, before user code; the rest any. Nothing is imported until it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastshell.kernel.base import Kernel

PACKAGE = "ipykernel"
#: The installed ipykernel under a name of its own, for attributes that our files lack.
INSTALLED = "_installed_ipykernel"

_FOLDER = str(Path(__file__).parent)
_OWN_FILE = str(Path(_FOLDER, "__init__.py"))
_lock = threading.RLock()


class Finder:
    """Finds the package; its submodules are found by its __path__: ours, then the installed ones."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == PACKAGE:
            return importlib.util.spec_from_file_location(
                PACKAGE,
                _OWN_FILE,
                submodule_search_locations=[_FOLDER, *installed_folders()],
            )
        if name == INSTALLED and (folders := installed_folders()):
            spec = importlib.machinery.ModuleSpec(INSTALLED, None, is_package=True)
            spec.submodule_search_locations = folders
            return spec
        return None


class Running:
    """The kernel of this process, for those who ask `IPKernelApp.instance()` and the like."""

    kernel: Kernel | None = None
    connection_file: str | None = None


def install() -> None:
    """Serve ipykernel's names from now on, unless an ipykernel was imported already: that one stays."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


def serve(kernel: Kernel, connection_file: str) -> None:
    """Let the names stand for this kernel. Call it before the first line of user code runs."""
    install()
    Running.kernel = kernel
    Running.connection_file = connection_file


def note_notebook(shell: Any) -> None:
    """What libraries look for in a kernel without importing it: a loaded module, a section of the config."""
    if getattr(sys.modules.get(PACKAGE), "__file__", _OWN_FILE) == _OWN_FILE:
        importlib.import_module(f"{PACKAGE}.zmqshell")
    shell.config.IPKernelApp.setdefault("connection_file", Running.connection_file)


def installed_folders() -> list[str]:
    """Where an installed ipykernel lies: no folder, or one."""
    spec = importlib.machinery.PathFinder.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    return [folder for folder in folders or () if folder != _FOLDER]


def fall_through(module: str) -> Callable[[str], Any]:
    """`__getattr__` for a file that stands for ipykernel's `module` ("" for the package itself).

    Gives the attribute of the installed ipykernel's own file, executed beside ours. Raises AttributeError.
    """

    def __getattr__(name: str) -> Any:
        own = f"{PACKAGE}.{module}".rstrip(".")
        if not name.startswith("__") and (installed := installed_module(module)) is not None:
            try:
                return getattr(installed, name)
            except AttributeError:
                pass
        raise AttributeError(f"module {own!r} has no attribute {name!r}", name=name)

    return __getattr__


def installed_module(module: str) -> ModuleType | None:
    """The installed ipykernel's file of that name ("" for __init__), None where there is none."""
    if not installed_folders():
        return None
    with _lock, _comms_kept():
        try:
            return importlib.import_module(f"{INSTALLED}.{module or '__init__'}")
        except ImportError:
            return None


@contextmanager
def _comms_kept() -> Iterator[None]:
    """ipykernel replaces functions of the `comm` package when it is imported; ours stay."""
    import comm

    before = comm.create_comm, comm.get_comm_manager
    try:
        yield
    finally:
        comm.create_comm, comm.get_comm_manager = before
