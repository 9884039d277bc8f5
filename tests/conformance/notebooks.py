"""Execute nbclient's own test notebooks under fastshell and under ipykernel, and compare the outputs.

The notebooks come from nbclient's sdist, of the version that is installed, fetched when this runs.

    python tests/conformance/notebooks.py [--router compiled|plain] [WORD ...]

runs the cases whose name contains one of the words, all by default, and prints a table; the exit
status is 1 if there is a difference that ALLOWED does not name.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import copy
import difflib
import json
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.util import run_sync
from traitlets import default

from fastshell import kernelspec

sys.path.insert(0, str(Path(__file__).parent))
import sdists

TIMEOUT_S = 60  # of a cell, unless a case says otherwise
KERNELS = ("fastshell", "ipykernel")


class Case(NamedTuple):
    """Notebooks that run at the same time, and the options of NotebookClient."""

    notebooks: tuple[str, ...]
    options: Mapping[str, Any] = MappingProxyType({})
    kernel_name: str = "python3"  # nbclient tells ipykernel by its name: then it sets hist_file


#: By a name of their own; the options are those of nbclient's tests for that notebook.
CASES: dict[str, Case] = {
    "Autokill": Case(("Autokill",)),
    "Check History in Memory": Case(("Check History in Memory",)),
    "Check History in Memory, by argument": Case(
        ("Check History in Memory",), {"extra_arguments": ["--HistoryManager.hist_file=:memory:"]}, "other"
    ),
    "Clear Output": Case(("Clear Output",)),
    "Disable Stdin": Case(("Disable Stdin",), {"allow_errors": True}),
    "Empty Cell": Case(("Empty Cell",)),
    "Error": Case(("Error",)),
    "Error, allowed by name": Case(("Error",), {"allow_error_names": ["ZeroDivisionError"]}),
    "Factorials": Case(("Factorials",)),
    "HelloWorld": Case(("HelloWorld",)),
    "HelloWorld, four at once": Case(("HelloWorld",) * 4),
    "Inline Image": Case(("Inline Image",)),
    "Interrupt": Case(("Interrupt",), {"timeout": 3, "interrupt_on_timeout": True, "allow_errors": True}),
    "Interrupt, by death": Case(("Interrupt",), {"timeout": 1}),
    "JupyterWidgets": Case(("JupyterWidgets",)),
    "Other Comms": Case(("Other Comms",)),
    "Output": Case(("Output",), {"allow_errors": True}),
    "Parallel Execute": Case(("Parallel Execute A", "Parallel Execute B")),
    "SVG": Case(("SVG",)),
    "Skip Exceptions": Case(("Skip Exceptions",), {"allow_errors": True}),
    "Skip Exceptions, not allowed": Case(("Skip Exceptions",), {"allow_errors": False}),
    "Skip Exceptions with Cell Tags": Case(("Skip Exceptions with Cell Tags",)),
    "Skip Exceptions with Cell Tags, forced": Case(
        ("Skip Exceptions with Cell Tags",), {"force_raise_errors": True}
    ),
    "Skip Execution with Cell Tag": Case(("Skip Execution with Cell Tag",)),
    "Sleep1s": Case(("Sleep1s",)),
    "Unicode": Case(("Unicode",)),
    "UnicodePy3": Case(("UnicodePy3",)),
    "update-display-id": Case(("update-display-id",)),
}

_TWICE = (
    "jupyter_client interrupts before it sends shutdown_request, which interrupts again: where that comes "
    "while IPython still formats the first KeyboardInterrupt, it prints a line to stderr and no error message"
)
#: (case, cell index): what may differ there, and why.
ALLOWED: dict[tuple[str, int], str] = {
    (
        "Autokill",
        0,
    ): "ipykernel may be dead before its execute_input, and with it the cell's number, has left",
    ("Disable Stdin", 0): "the traceback goes through the frames of the kernel's own input(), other files",
    ("Interrupt, by death", 0): _TWICE,
}

#: Of these, the ones that a race decides.
SOMETIMES = {("Autokill", 0), ("Interrupt, by death", 0)}


class Outcome(NamedTuple):
    """What is compared of an executed notebook: for each cell, a JSON-able record."""

    cells: list[Any]
    notebook: Any  # metadata, and the exception of nbclient if there was one
    seconds: float


def fetch(folder: Path) -> Path:
    """Download and unpack nbclient's sdist; return the folder of its notebooks. Raises Unavailable."""
    files = sdists.fetch("nbclient", folder) / "tests" / "files"
    if not files.is_dir():
        raise sdists.Unavailable("nbclient's sdist has no tests/files")
    return files


class Runner:
    """Executes cases under one kernel, in a folder of its own."""

    def __init__(self, files: Path, folder: Path, kernel: str, router: str = "compiled") -> None:
        """kernel: one of KERNELS. router: of fastshell."""
        self._files = files
        self._folder = folder
        self._env = os.environ | {
            "FASTSHELL_ROUTER": router,
            "IPYTHONDIR": str(folder / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "COLUMNS": "80",  # as nbclient's tests do: both shape tracebacks
            "LINES": "24",
        }
        self._env.pop("MPLBACKEND", None)
        kernels = folder / "share" / "jupyter" / "kernels"
        for name in ("python3", "other"):
            if kernel == "fastshell":
                kernelspec.install(prefix=folder, name=name)
            else:
                _install_reference(kernels / name)

        class Manager(AsyncKernelManager):
            @default("kernel_spec_manager")
            def _only_ours(self) -> KernelSpecManager:
                return KernelSpecManager(kernel_dirs=[str(kernels)])

        self._manager = Manager

    def run(self, name: str) -> Outcome:
        """Execute one of CASES."""
        case = CASES[name]
        start = time.monotonic()
        with (
            tempfile.TemporaryDirectory(dir=self._folder) as scratch,
            concurrent.futures.ThreadPoolExecutor(len(case.notebooks)) as pool,
        ):
            env = self._env | {"NBEXECUTE_TEST_PARALLEL_TMPDIR": scratch}
            outcomes = list(pool.map(lambda notebook: self._execute(notebook, case, env), case.notebooks))
        cells = [cell for one, _ in outcomes for cell in one]
        return Outcome(cells, [about for _, about in outcomes], time.monotonic() - start)

    def _execute(self, notebook_name: str, case: Case, env: dict[str, str]) -> tuple[list[Any], Any]:
        notebook = nbformat.read(self._files / f"{notebook_name}.ipynb", 4)
        for cell in notebook.cells:
            cell.pop("execution_count", None)
            if cell.cell_type == "code":
                cell["outputs"] = []
        options = {"timeout": TIMEOUT_S, "extra_arguments": []} | copy.deepcopy(dict(case.options))
        client = NotebookClient(
            notebook,
            kernel_name=case.kernel_name,
            kernel_manager_class=self._manager,
            resources={"metadata": {"path": str(self._files)}},
            **options,
        )
        failure = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run_sync(client.async_execute)(env=env)
        except Exception as error:  # a dead kernel, a timeout, an error in a cell: an outcome as well
            failure = [type(error).__name__, str(error)]
        code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        about = {"metadata": notebook.metadata, "failure": failure}
        return [_normal(_record(cell)) for cell in code_cells], _normal(about)


def _install_reference(folder: Path) -> None:
    """ipykernel's kernelspec, for this interpreter."""
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "reference", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))


def _record(cell: Any) -> dict[str, Any]:
    """A cell's outputs, with adjacent stream outputs of one name merged, and its count."""
    outputs: list[dict[str, Any]] = []
    for output in json.loads(json.dumps(cell.outputs)):
        last = outputs[-1] if outputs else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            outputs.append(output)
    return {"execution_count": cell.get("execution_count"), "outputs": outputs}


#: What differs between two runs of the same kernel.
_VARIABLE = [
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"\b0x[0-9a-f]{6,16}\b"), "<address>"),
    (
        re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
        "<id>",
    ),
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py|<ipython-input-\d+-[0-9a-f]+>"), "<cell>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"), "<time>"),
]


def _normal(value: Any) -> Any:
    if isinstance(value, str):
        for pattern, replacement in _VARIABLE:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, dict):
        return {_normal(key): _normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item) for item in value]
    return value


def differences(ours: Outcome, reference: Outcome) -> dict[int, str]:
    """By cell index, -1 for the notebook as a whole: a diff, reference first."""
    found = {}
    pairs = list(zip(reference.cells, ours.cells, strict=True))
    for index, (expected, actual) in [*enumerate(pairs), (-1, (reference.notebook, ours.notebook))]:
        if expected != actual:
            lines = [json.dumps(one, indent=1, sort_keys=True).splitlines() for one in (expected, actual)]
            found[index] = "\n".join(difflib.unified_diff(*lines, "ipykernel", "fastshell", lineterm="", n=2))
    return found


def judge(name: str, found: dict[int, str]) -> tuple[str, str]:
    """The word for the table, and what is wrong: "" if nothing is."""
    wrong = [
        f"{name}, cell {index}:\n{diff}" for index, diff in found.items() if (name, index) not in ALLOWED
    ]
    wrong += [
        f"{name}, cell {index}: ALLOWED names a difference that is none"
        for allowed_name, index in ALLOWED
        if allowed_name == name and index not in found and (name, index) not in SOMETIMES
    ]
    return ("DIFFERENT" if wrong else "allowed" if found else "same"), "\n".join(wrong)


def row(name: str, word: str, ours: Outcome, reference: Outcome) -> str:
    return f"{name:42} {word:10} {ours.seconds:6.1f} s {reference.seconds:6.1f} s"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--router", default="compiled", choices=("compiled", "plain"))
    parser.add_argument("words", nargs="*", metavar="WORD")
    options = parser.parse_args(argv)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for part in ("sdist", *KERNELS):
            Path(folder, part).mkdir()
        files = fetch(Path(folder, "sdist"))
        ours, reference = (Runner(files, Path(folder, kernel), kernel, options.router) for kernel in KERNELS)
        print(f"{'notebook':42} {'outputs':10} {'fastshell':>8} {'ipykernel':>8}")
        for name in CASES:
            if options.words and not any(word in name for word in options.words):
                continue
            outcomes = ours.run(name), reference.run(name)
            word, wrong = judge(name, differences(*outcomes))
            print(row(name, word, *outcomes), flush=True)
            if wrong:
                problems.append(wrong)
    print(*problems, sep="\n\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
