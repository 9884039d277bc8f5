"""ipykernel.kernelapp: the application of this kernel, for those who ask for it.

The kernel is run by `fastshell.app`. Where it is Python's, the application has read its configuration;
for another language's it is made here, and tells of the kernel only; or it is made first, by the program
of that kernel, and lets `fastshell.app` run it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastshell.compat import _finder
from fastshell.interpreter.configuration import IPKernelApp
from fastshell.options import UsageError, parse

__all__ = ["IPKernelApp", "launch_new_instance"]

if _finder.Running.kernel is not None and not IPKernelApp.initialized():
    IPKernelApp.instance(kernel=_finder.Running.kernel, connection_file=_finder.Running.connection_file or "")


def _run(application: IPKernelApp, argv: Sequence[str]) -> None:
    """Run the application's kernel until it is told to end, or the subcommand that argv names."""
    from fastshell.app import launch

    kernel_class = application.kernel_class
    if kernel_class is None:  # Python's, which makes its application itself
        type(application).clear_instance()
        sys.exit(launch(None, argv))
    try:
        arguments = parse(argv).arguments
    except UsageError as error:
        sys.exit(f"{application.name}: {error}")
    application.classes = [*application.classes, kernel_class]
    application.initialize(arguments)
    if application.subapp is not None:
        application.start()
    elif status := launch(kernel_class, argv, parent=application):
        sys.exit(status)


IPKernelApp.program = staticmethod(_run)
launch_new_instance = IPKernelApp.launch_instance

__getattr__ = _finder.fall_through("kernelapp")
