"""Run demo.ipynb under fastshell and under ipykernel, and meanwhile ask a subshell how far it is.

nbclient executes the notebook on one thread. On another, a second client of the same kernel creates a
subshell (JEP 91) and asks it for `progress` every 20 ms. Both kernels are found by their kernelspecs.

The exit status is 1 if fastshell's subshell gave a wrong answer or none. Leaves in build/demo the
executed notebook, demo-fastshell.ipynb, and a picture of the latencies, latency.png.
"""

import argparse
import ast
import asyncio
import os
import platform
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import nbformat
import zmq
from jupyter_client import KernelManager
from jupyter_client.session import Session
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
KERNELS = {"fastshell": "fastshell", "ipykernel": "python3"}  # label: kernelspec

EVERY_S = 0.02
TIMEOUT_S = 5.0


@dataclass
class Run:
    """What one execution of the notebook gave."""

    seconds: float = 0.0  # that the main cell took
    reply_ms: list = field(default_factory=list)  # of each answer while the main cell ran
    idle_ms: list = field(default_factory=list)
    faults: list = field(default_factory=list)  # a line for each answer that was wrong or did not come


class Asker:
    """A second front end: sockets and a session of its own, and a subshell to ask."""

    def __init__(self, connection):
        """connection: as `KernelManager.get_connection_info` returns it."""
        self.session = Session(key=connection["key"], signature_scheme=connection["signature_scheme"])
        self.context = zmq.Context()
        self.shell = self._connect(connection, "shell", zmq.DEALER)
        self.control = self._connect(connection, "control", zmq.DEALER)
        self.iopub = self._connect(connection, "iopub", zmq.SUB)
        self.iopub.subscribe(b"")
        self.subshell_id = None
        self.last = 0  # sweeps done, at the last answer

    def _connect(self, connection, channel, socket_type):
        socket = self.context.socket(socket_type)
        socket.linger = 0
        socket.rcvtimeo = int(TIMEOUT_S * 1000)
        if socket_type == zmq.DEALER:
            socket.routing_id = self.session.bsession
        socket.connect(f"{connection['transport']}://{connection['ip']}:{connection[f'{channel}_port']}")
        return socket

    def close(self):
        for socket in (self.shell, self.control, self.iopub):
            socket.close()
        self.context.term()

    def create_subshell(self):
        """Raises TimeoutError if the kernel does not answer, KeyError if it knows no subshells."""
        # ipykernel fails on a create_subshell_request that comes before its shell is ready.
        self._receive(self.shell, self.session.send(self.shell, "kernel_info_request", {}))
        request = self.session.send(self.control, "create_subshell_request", {})
        self.subshell_id = self._receive(self.control, request)["content"]["subshell_id"]

    def ask(self):
        """Return (seconds to the reply, seconds to idle). Raises TimeoutError; ValueError if it is wrong."""
        request = self.session.msg(
            "execute_request",
            {
                "code": "pass",
                "silent": False,
                "store_history": False,
                "user_expressions": {"progress": "dict(progress)"},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        )
        request["header"]["subshell_id"] = self.subshell_id
        started = time.perf_counter()
        self.session.send(self.shell, request)
        reply = self._receive(self.shell, request)
        replied = time.perf_counter() - started
        while self._receive(self.iopub, request)["content"].get("execution_state") != "idle":
            pass
        idle = time.perf_counter() - started
        self._check(reply["content"])
        return replied, idle

    def _receive(self, socket, request):
        """Wait for the next message that `request` caused. Raises TimeoutError."""
        while True:
            _, message = self.session.recv(socket, mode=0)
            if message is None:
                raise TimeoutError(f"no answer within {TIMEOUT_S:.0f} s")
            if message["parent_header"].get("msg_id") == request["header"]["msg_id"]:
                return message

    def _check(self, content):
        """Raise ValueError unless an execute_reply tells a progress that is possible."""
        if content["status"] != "ok" or content["user_expressions"]["progress"]["status"] != "ok":
            raise ValueError(f"error: {content}")
        progress = ast.literal_eval(content["user_expressions"]["progress"]["data"]["text/plain"])
        if not self.last <= progress["done"] <= progress["total"]:
            raise ValueError(f"progress was {self.last}, and now is {progress}")
        self.last = progress["done"]


class Execution(threading.Thread):
    """nbclient executes the notebook; `running` is set while the cell tagged "main" runs."""

    def __init__(self, notebook, manager):
        super().__init__()
        self.running = threading.Event()
        self.over = threading.Event()  # the main cell has been answered, or the notebook failed
        self.seconds = 0.0
        self.failure = None
        self.client = NotebookClient(
            notebook,
            km=manager,
            timeout=300,
            resources={"metadata": {"path": str(HERE)}},
            on_cell_execute=self._cell_starts,
            on_cell_executed=self._cell_ended,
        )

    def run(self):
        try:
            asyncio.run(self.client.async_execute())
        except Exception as error:
            self.failure = error
        finally:
            self.over.set()

    def _cell_starts(self, cell, cell_index):
        if "main" in cell.metadata.get("tags", ()):
            self.started = time.perf_counter()
            self.running.set()

    def _cell_ended(self, cell, cell_index, execute_reply):
        if "main" in cell.metadata.get("tags", ()):
            self.seconds = time.perf_counter() - self.started
            self.over.set()


def run_notebook(kernel_name, notebook):
    """Execute `notebook` in place and ask a subshell for its progress meanwhile. Returns a Run."""
    manager = KernelManager(kernel_name=kernel_name)
    manager.start_kernel()
    asker = Asker(manager.get_connection_info())
    run = Run()
    try:
        asker.create_subshell()
        execution = Execution(notebook, manager)
        execution.start()
        while not execution.running.wait(0.1) and not execution.over.is_set():
            pass
        while not execution.over.wait(EVERY_S):
            try:
                reply_s, idle_s = asker.ask()
            except (TimeoutError, ValueError, KeyError) as error:
                run.faults.append(f"{type(error).__name__}: {error}")
            else:
                run.reply_ms.append(reply_s * 1000)
                run.idle_ms.append(idle_s * 1000)
        execution.join()
        if execution.failure is not None:
            raise execution.failure
        run.seconds = execution.seconds
    finally:
        asker.close()
        manager.shutdown_kernel(now=True)
    return run


# --- what is shown ---


def machine():
    """One line: CPU, cores, Python, and the versions of what is compared."""
    from importlib.metadata import version

    import fastshell

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.open() if line.startswith("model name")]
        model = models[0] if models else model
    versions = f"fastshell {fastshell.__version__}, ipykernel {version('ipykernel')}"
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def percentile(values, share):
    """The value that `share` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def print_table(runs):
    """runs: {label: [Run]}."""
    head = ("", "main cell, s", "answers", "reply p50 / p99 / max, ms", "idle p50 / p99 / max, ms", "faults")
    rows = [head]
    for label, of_label in runs.items():
        row = [label, f"{statistics.median(run.seconds for run in of_label):.2f}"]
        row.append(str(sum(len(run.reply_ms) for run in of_label)))
        for name in ("reply_ms", "idle_ms"):
            values = [value for run in of_label for value in getattr(run, name)]
            row.append(
                f"{percentile(values, 0.5):.2f} / {percentile(values, 0.99):.2f} / {max(values):.2f}"
                if values
                else "none"
            )
        row.append(str(sum(len(run.faults) for run in of_label)))
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def draw(runs, path):
    """How many of the answers had come after how long, one curve for each kernel; logarithmic in time."""
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    colours = {"fastshell": "#1b7f5c", "ipykernel": "#c8553d"}
    for label, of_label in runs.items():
        values = sorted(value for run in of_label for value in run.reply_ms)
        if not values:
            continue
        shares = [100 * (number + 1) / len(values) for number in range(len(values))]
        axes.step(values, shares, where="post", color=colours[label], linewidth=2.2)
        median = percentile(values, 0.5)
        axes.plot([median], [50], "o", color=colours[label], markersize=7)
        axes.annotate(
            f"{label}\n{median:.2g} ms" if median < 10 else f"{label}\n{median:.0f} ms",
            (median, 50), xytext=(-12, 14), textcoords="offset points", ha="right",
            color=colours[label], fontsize=12, fontweight="bold",
        )  # fmt: skip
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.1), max(high, 100))
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.set(ylim=(0, 103), xlabel="time from request to reply, ms", ylabel="answers that had come, %")
    axes.set_title("A subshell's answers while the main thread computes in pure Python", loc="left")
    axes.grid(axis="x", which="major", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.995, 0.005, machine(), ha="right", va="bottom", fontsize=6.5, color="0.45")
    figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.97))
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="default 1; the kernels take turns")
    parser.add_argument("--build", type=Path, default=HERE.parent / "build" / "demo", help="where results go")
    options = parser.parse_args()
    options.build.mkdir(parents=True, exist_ok=True)
    print(machine(), flush=True)
    runs = {label: [] for label in KERNELS}
    for number in range(options.rounds):
        for label in list(KERNELS) if number % 2 == 0 else reversed(KERNELS):
            print(f"{label} runs the notebook ...", flush=True)
            notebook = nbformat.read(HERE / "demo.ipynb", as_version=4)
            run = run_notebook(KERNELS[label], notebook)
            runs[label].append(run)
            if label == "fastshell":
                nbformat.write(notebook, options.build / "demo-fastshell.ipynb")
    print()
    print_table(runs)
    draw(runs, options.build / "latency.png")
    print(f"\nleft in {options.build}: demo-fastshell.ipynb, latency.png")
    for label, of_label in runs.items():
        for fault in [fault for run in of_label for fault in run.faults][:5]:
            print(f"{label}: {fault}", file=sys.stderr)
    is_good = all(run.reply_ms and not run.faults for run in runs["fastshell"])
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
