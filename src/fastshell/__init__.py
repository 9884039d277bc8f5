"""A Jupyter kernel for Python with subshells, on a native router.

The layers, each importing only what stands to its right: `app` -> `interpreter` (the user's Python,
by IPython) -> `kernel` (requests to replies, any language) -> `protocol` (bytes to meaning).
`_router`, compiled, and `_pyrouter`, its plain twin, own the sockets and import none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, which a module of the working directory may hide at this time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__version__ = "0.1.0"

__all__ = ["launch"]


def launch(kernel_class: type[Any] | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a kernel until it is told to end; return the exit status.

    kernel_class: another language's, a subclass of fastshell.kernel.Kernel; default IPython's.
    argv: command line without the program's name, as `python -m fastshell` takes it; default sys.argv[1:].
    """
    from fastshell.app import launch

    return launch(kernel_class, argv)
