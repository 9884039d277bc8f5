"""python -m fastshell: run a kernel, or install and remove its kernelspec."""

from __future__ import annotations

import atexit
import os
import sys


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
    app.run()
    atexit._run_exitfuncs()
    app.close()
    os._exit(0)


if __name__ == "__main__":
    main()
