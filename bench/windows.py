"""How soon does a kernel answer while a window of Tk or Qt lives?

A timer of the window ticks every 10 ms between cells; `pass` is executed on main all the while. Needs
a display for Tk (Xvfb will do) and a Qt for Python; what is not there is left out.
"""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import lean

FULL = SimpleNamespace(count=500, seconds=6.0)
SMOKE = SimpleNamespace(count=20, seconds=2.0)

TK = """\
import tkinter
root = tkinter.Tk()
ticks = 0
def tick():
    global ticks
    ticks += 1
    root.after(10, tick)
tick()
"""
QT = """\
from IPython.external.qt_for_kernel import QtCore
timer = QtCore.QTimer()
ticks = 0
def tick():
    global ticks
    ticks += 1
timer.timeout.connect(tick)
timer.start(10)
"""
WINDOWS = {"tk": TK, "qt": QT}


def one_round(kind, results, smoke):
    """Without a window first; then a kernel for each toolkit that is there."""
    sizes = SMOKE if smoke else FULL
    faults = results.faults_of(kind)
    for gui, setup in {"no window": "", **WINDOWS}.items():
        kernel = lean.Kernel(kind)
        client = lean.Client(kernel.connection)
        try:
            client.wait_ready()
            client.run(lean.SETUP)
            if setup:
                try:
                    client.run(f"get_ipython().run_line_magic('gui', {gui!r})")
                    client.run(setup)
                except lean.Wrong:
                    print(f"{kind.label}: no {gui} here", file=sys.stderr)
                    continue

            def execute(number, client=client):
                code = f"pass  # {number}"
                message = client.execute(code)
                answer = client.ask(message)
                lean.check_executed(client, message, answer, code)
                return answer.idle_ns

            times = lean.repeat(execute, sizes.count, faults, seconds=sizes.seconds)
            results.add(kind, f"execute to idle, {gui}", times)
            if setup and int(client.evaluate("ticks")) < 2:
                raise lean.Wrong(f"the timer of {gui} did not tick")
        finally:
            kernel.stop(client)
            client.close()


@contextmanager
def display():
    """A virtual display, if there is none and Xvfb can make one."""
    if "DISPLAY" in os.environ or shutil.which("Xvfb") is None:
        yield
        return
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "640x480x8"]
    server = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL)
    os.close(write_end)
    with os.fdopen(read_end) as number:
        os.environ["DISPLAY"] = f":{number.readline().strip()}"
    try:
        yield
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with display():
        sys.exit(lean.compare(__doc__.splitlines()[0], one_round, rounds=3))
