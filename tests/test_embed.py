"""fastshell.embed_kernel: a kernel amid a program, in its names, and the program goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from client import Client

PROGRAM = """\
import signal, sys
from {package} import embed_kernel

at_module_level = "module"

def work(argument):
    local = [argument]
    before = (sys.stdout, sys.displayhook, input, signal.getsignal(signal.SIGINT))
    print("before", flush=True)
    {call}
    print("after", local, at_module_level, flush=True)
    after = (sys.stdout, sys.displayhook, input, signal.getsignal(signal.SIGINT))
    print("restored", after == before, flush=True)

if __name__ == "__main__":
    work("given")
"""
CALLS = {
    "frame": "embed_kernel(connection_file={file!r}, ip='127.0.0.1')",
    "given": "import types; other = types.ModuleType('other'); other.at_module_level = 'other';"
    " embed_kernel(other, {{'local': 'mine', 'argument': 0}}, connection_file={file!r})",
}


def run(package: str, call: str, folder: Path, router: str) -> tuple[list[str], str]:
    """Values that a cell sees, and what the program wrote after the kernel had been shut down."""
    file = folder / f"kernel-{package}-{call}.json"
    script = folder / f"program_{package}_{call}.py"
    script.write_text(PROGRAM.format(package=package, call=CALLS[call].format(file=str(file))))
    env = os.environ | {"IPYTHONDIR": str(folder), "FASTSHELL_ROUTER": router}
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, text=True
    )
    try:
        while not file.exists() or not file.read_text():
            assert process.poll() is None, process.communicate()
            os.sched_yield()
        manager = KernelManager(connection_file=str(file))
        manager.load_connection_file()
        client = Client(manager, expects_welcome=package == "fastshell")
        client.wait_ready()
        client.execute("local.append(1) if isinstance(local, list) else None; new = 5").ok()
        code = "print(local, argument, at_module_level, new, __name__, sep='|')"
        seen = client.execute(code).ok().text().strip().split("|")
        found = client.request("complete_request", {"code": "argum", "cursor_pos": 5}).content["matches"]
        client.reply(client.send("shutdown_request", {"restart": False}, channel="control"))
        client.close()
        if package == "fastshell":
            written, _ = process.communicate(timeout=20)
            assert process.returncode == 0, written
        else:
            process.kill()
            written = ""
        return [*seen, str("argument" in found)], written
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("call", list(CALLS))
def test_a_kernel_amid_a_program(tmp_path: Path, router: str, call: str) -> None:
    ours, written = run("fastshell", call, tmp_path, router)
    theirs, _ = run("ipykernel.embed", call, tmp_path, router)
    assert ours == theirs
    assert ours[0] == ("['given', 1]" if call == "frame" else "mine")
    assert "before\n" in written
    local = "['given', 1]" if call == "frame" else "['given']"
    assert f"after {local} module\nrestored True\n" in written
