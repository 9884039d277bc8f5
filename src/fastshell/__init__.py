"""A Jupyter kernel for Python with subshells, on a native router.

The layers, each importing only what stands to its right: `app` -> `interpreter` (the user's Python,
by IPython) -> `kernel` (requests to replies, any language) -> `protocol` (bytes to meaning).
`_router`, compiled, and `_pyrouter`, its plain twin, own the sockets and import none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, which a module of the working directory may hide at this time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

__version__ = "0.1.0"

__all__ = ["embed_kernel", "launch"]


def launch(kernel_class: type[Any] | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a kernel until it is told to end; return the exit status.

    kernel_class: another language's, a subclass of fastshell.kernel.Kernel; default IPython's.
    argv: command line without the program's name, as `python -m fastshell` takes it; default sys.argv[1:].
    """
    from fastshell.app import launch

    return launch(kernel_class, argv)


def embed_kernel(
    module: ModuleType | None = None, local_ns: dict[str, Any] | None = None, **kwargs: Any
) -> None:
    """Run a kernel in the middle of a program, as ipykernel's embed_kernel; return when it is shut down.

    module, local_ns: where cells run, by default the caller's module and a copy of its local names.
    kwargs: traits of IPKernelApp, as connection_file, ip, transport, config. Thread: main.
    """
    import sys

    from fastshell.app import embed

    frame = sys._getframe(1)
    if module is None:
        module = sys.modules[frame.f_globals["__name__"]]
    embed(module, dict(frame.f_locals) if local_ns is None else local_ns, kwargs)
