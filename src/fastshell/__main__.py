"""python -m fastshell: run a kernel, or install and remove its kernelspec."""

from __future__ import annotations

import atexit
import os
import sys
import traceback


def main() -> None:
    """Leave without waiting for threads: those of user code may never end."""
    argv = sys.argv[1:]
    if argv and argv[0] in ("install", "uninstall"):
        from fastshell import kernelspec

        sys.exit(
            kernelspec.install_main(argv[1:]) if argv[0] == "install" else kernelspec.uninstall_main(argv[1:])
        )
    from fastshell.app import App
    from fastshell.options import UsageError

    try:
        app = App(argv)
        app.start()
    except UsageError as error:
        print(f"fastshell: {error}", file=sys.stderr)
        sys.exit(2)
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


if __name__ == "__main__":
    main()
