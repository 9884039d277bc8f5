"""python -m fastshell: run a kernel, Python's or another one, or install and remove its kernelspec."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # The working directory, which may hold a module of the name of one of ours; it comes back behind
    # the standard library (InteractiveShellApp.init_path).
    del sys.path[0]

import atexit
import gc
import os
import traceback

GC_AT_START = 50_000  # new objects before the collector looks: importing makes many, and no garbage


def main() -> None:
    """Leave without waiting for threads: those of user code may never end."""
    argv = sys.argv[1:]
    if argv and argv[0] in ("install", "uninstall"):
        from fastshell import kernelspec

        sys.exit(
            kernelspec.install_main(argv[1:]) if argv[0] == "install" else kernelspec.uninstall_main(argv[1:])
        )
    if argv and argv[0] == "run":
        _run(argv[1:])
        return
    thresholds = gc.get_threshold()
    gc.set_threshold(GC_AT_START, *thresholds[1:])
    from fastshell.app import App
    from fastshell.options import UsageError

    try:
        app = App(argv)
        app.start()
    except UsageError as error:
        print(f"fastshell: {error}", file=sys.stderr)
        sys.exit(2)
    gc.freeze()  # what is loaded stays: no collection need look at it, the first one included
    gc.set_threshold(*thresholds)
    status = 1
    try:
        app.run()
        status = 0
    finally:
        atexit._run_exitfuncs()
        app.close()
        if status:
            traceback.print_exc(file=app.log_file)
        os._exit(status)


def _run(argv: list[str]) -> None:
    from fastshell.app import run_program

    if not argv or argv[0].startswith("-"):
        print("usage: python -m fastshell run PROGRAM [-f FILE] [options]", file=sys.stderr)
        sys.exit(2)
    run_program(argv)


if __name__ == "__main__":
    main()
