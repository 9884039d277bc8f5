"""options.py: the command line; and what a user sees when a kernel cannot start."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastshell.options import Options, UsageError, parse

GOOD: dict[str, Any] = {
    "transport": "tcp",
    "ip": "127.0.0.1",
    "shell_port": 0,
    "control_port": 0,
    "stdin_port": 0,
    "iopub_port": 0,
    "hb_port": 0,
    "key": "secret",
    "signature_scheme": "hmac-sha256",
}


@pytest.mark.parametrize(
    "argv", [["-f", "x.json"], ["--f=x.json"], ["-f=x.json"], ["--IPKernelApp.connection_file=x.json"]]
)
def test_ways_to_name_the_connection_file(argv: list[str]) -> None:
    assert parse(argv).connection_file == "x.json"


def test_what_is_left_to_the_configuration() -> None:
    """All but what is ours alone; and nothing behind -- is read here."""
    options = parse(
        ["--HistoryManager.hist_file=:memory:", "-f", "x", "--matplotlib", "--router=plain", "--", "--ip=1"]
    )
    assert options.arguments == (
        "--HistoryManager.hist_file=:memory:",
        "--IPKernelApp.connection_file=x",
        "--matplotlib",
        "--",
        "--ip=1",
    )
    assert (options.router, options.ip) == ("plain", None)
    assert parse([]) == Options()


def test_connection_by_options() -> None:
    options = parse(["--shell=5001", "--IPKernelApp.hb_port=5002", "--stdin=0", "--user=me", "--ident=s"])
    assert options.ports == {"shell": 5001, "hb": 5002}
    assert (options.username, options.session, options.is_signed) == ("me", "s", True)
    assert not parse(["--no-secure"]).is_signed
    assert not parse(["--IPKernelApp.capture_fd_output=False"]).capture


@pytest.mark.parametrize(
    "argv",
    [
        ["-f"],
        ["--router=fast"],
        ["--transport=udp"],
        ["--iopub-hwm=-1"],
        ["--iopub-hwm=x"],
        ["--ip"],
        ["--hb=x"],
    ],
)
def test_values_that_cannot_be(argv: list[str]) -> None:
    with pytest.raises(UsageError, match=argv[0].partition("=")[0]):
        parse(argv)


def start(path: Path, *argv: str, router: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastshell", "-f", str(path), *argv],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"FASTSHELL_ROUTER": router},
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"transport": "udp"}, "transport"),
        ({"shell_port": "x"}, "shell_port"),
        ({"hb_port": 99999}, "hb_port"),
        ({"key": None}, "key"),
        ({"signature_scheme": "hmac-rot13"}, "signature_scheme"),
        ({"curve_publickey": "x" * 40}, "curve_secretkey"),
        (None, "JSON"),
    ],
    ids=str,
)
def test_a_wrong_connection_file_is_one_line(
    tmp_path: Path, change: dict[str, Any] | None, named: str, router: str
) -> None:
    path = tmp_path / "kernel-x.json"
    path.write_text("not json" if change is None else json.dumps(GOOD | change))
    done = start(path, router=router)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(path) in done.stderr
    assert named in done.stderr


def test_a_port_in_use_is_one_line(tmp_path: Path, router: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = tmp_path / "kernel-x.json"
        path.write_text(json.dumps(GOOD | {"control_port": port}))
        done = start(path, router=router)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(path) in done.stderr
    assert "control" in done.stderr
    assert str(port) in done.stderr


def test_a_file_that_cannot_be_read(tmp_path: Path, router: str) -> None:
    done = start(tmp_path, router=router)  # a folder
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(tmp_path) in done.stderr


def test_a_connection_file_of_its_own(tmp_path: Path, router: str) -> None:
    """It is written 0600 with the ports in use, and gone when the kernel is."""
    path = tmp_path / "kernel-new.json"
    kernel = subprocess.Popen(
        [sys.executable, "-m", "fastshell", f"--f={path}"],
        stderr=subprocess.PIPE,
        env=os.environ | {"FASTSHELL_ROUTER": router, "IPYTHONDIR": str(tmp_path)},
    )
    try:
        while not path.exists():
            assert kernel.poll() is None
            os.sched_yield()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        info = json.loads(path.read_text())
        with socket.create_connection((info["ip"], info["shell_port"]), timeout=5):
            pass
    finally:
        kernel.terminate()
        assert kernel.wait(10) == 0
    assert not path.exists()
    assert kernel.stderr is not None
    kernel.stderr.close()
