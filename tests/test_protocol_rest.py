"""Requests that concern the process, the connection and its keys, seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from jupyter_client.manager import KernelManager
from jupyter_client.session import Session

from client import Client
from fastshell.kernelspec import RESOURCES

Start = Callable[..., Any]
KEY = b"a key of this test"


def test_usage(kernel: Start, reference_kernel: Start) -> None:
    """The same fields with the same kinds of values; child processes count."""
    seen = []
    for start in (kernel, reference_kernel):
        running = start()
        client = running.client
        before = client.request("usage_request", channel="control").content
        code = (
            "import subprocess, sys\n"
            "child = subprocess.Popen([sys.executable, '-c', "
            "'x = bytearray(80_000_000); print(1, flush=True); input()'], "
            "stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
            "child.stdout.readline()"
        )
        client.execute(code).ok()
        after = client.request("usage_request", channel="control").content
        client.execute("_ = child.communicate(b'x')").ok()
        assert after["kernel_memory"] - before["kernel_memory"] > 60_000_000
        assert after["pid"] == running.pid
        optional = {"host_cpu_percent"}  # left out when it is 0
        seen.append({name: type(value) for name, value in after.items() if name not in optional})
        seen[-1]["keys of host_virtual_memory"] = sorted(after["host_virtual_memory"])
    seen[1].pop("kernel_cpu")
    assert issubclass(seen[0].pop("kernel_cpu"), int | float)
    assert seen[0] == seen[1]


def test_connect_and_versions(kernel: Start, reference_kernel: Start) -> None:
    """Ports as in the connection file; one protocol version in all places."""
    for start in (kernel, reference_kernel):
        running = start()
        client = running.client
        file = json.loads(Path(running.manager.connection_file).read_text())
        ports = {
            f"{name}_port": file[f"{name}_port"] for name in ("shell", "iopub", "stdin", "control", "hb")
        }
        content = client.request("connect_request").content
        assert content == {"status": "ok", **ports}
        info = client.request("kernel_info_request").reply
        assert info is not None
        if start is kernel:  # ipykernel says three: 5.3 here, its own 5.x in headers, 5.5 in the kernelspec
            assert info.content["protocol_version"] == "5.5"
            assert {message.header["version"] for message in client.received} == {"5.5"}
        assert "kernel subshells" in info.content["supported_features"]
    spec = json.loads((RESOURCES / "kernel.json").read_text())
    assert spec["kernel_protocol_version"] == "5.5"
    assert spec["metadata"]["supported_encryption"] == ["curve"]


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("encryption", ["required", "disabled"])
def test_restart_keeps_keys_and_ports(
    router: str, tmp_path_factory: pytest.TempPathFactory, transport: str, encryption: str
) -> None:
    """As jupyter_client restarts a kernel, with keys that it made or without."""
    folder = tmp_path_factory.mktemp("r")
    env = os.environ | {"FASTSHELL_ROUTER": router, "IPYTHONDIR": str(folder)}
    manager = KernelManager(
        transport=transport, connection_file=str(folder / "k.json"), transport_encryption=encryption
    )
    manager.kernel_spec.argv = [sys.executable, "-m", "fastshell", "-f", "{connection_file}"]
    manager.kernel_spec.metadata = {"supported_encryption": ["curve"]}
    manager.start_kernel(env=env)
    try:
        pids, files = [], []
        for _ in range(2):
            client = Client(manager)
            client.wait_ready()
            pids.append(client.execute("import os; print(os.getpid())").ok().text())
            files.append(json.loads((folder / "k.json").read_text()))
            client.check()
            client.close()
            if len(pids) == 1:
                manager.restart_kernel(env=env)
        assert pids[0] != pids[1]
        assert files[0] == files[1]
        assert ("curve_secretkey" in files[0]) == (encryption == "required")
    finally:
        manager.shutdown_kernel(now=True)


class Registrar:
    """Whoever starts a kernel with a registration file: a socket, and what it needs to sign."""

    def __init__(self, kind: int) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(kind)
        self.socket.linger = 0
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.session = Session(key=KEY, check_pid=False)

    def receive(self) -> list[bytes]:
        assert self.socket.poll(20_000), "no registration"
        return self.socket.recv_multipart()

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture(params=["documented", "positron"])
def registrar(request: pytest.FixtureRequest) -> Iterator[tuple[str, Registrar]]:
    made = Registrar(zmq.ROUTER if request.param == "documented" else zmq.REP)
    yield request.param, made
    made.close()


def start_registered(
    router: str, folder: Path, dialect: str, registrar: Registrar
) -> subprocess.Popen[bytes]:
    said: dict[str, Any] = {
        "transport": "tcp",
        "signature_scheme": "hmac-sha256",
        "key": KEY.decode(),
        "registration_port": registrar.port,
    }
    said |= (
        {"registration_ip": "127.0.0.1", "kernel_id": "the-id"}
        if dialect == "documented"
        else {"ip": "127.0.0.1"}
    )
    (folder / "registration.json").write_text(json.dumps(said))
    env = {"FASTSHELL_ROUTER": router, "IPYTHONDIR": str(folder), "JUPYTER_RUNTIME_DIR": str(folder / "run")}
    return subprocess.Popen(
        [sys.executable, "-m", "fastshell", "-f", str(folder / "registration.json")],
        env=os.environ | env,
        stderr=subprocess.PIPE,
    )


def ports_of(frames: list[bytes], dialect: str, session: Session) -> dict[str, int]:
    """What a kernel has said, its signature checked."""
    at = frames.index(b"<IDS|MSG>")
    signature, parts = frames[at + 1], frames[at + 2 :]
    assert signature == session.sign(parts)
    if dialect == "documented":
        assert len(parts) == 1
        content = json.loads(parts[0])
        assert content.pop("kernel_id") == "the-id"
        assert all(isinstance(port, str) for port in content.values())
    else:
        assert json.loads(parts[0])["msg_type"] == "handshake_request"
        content = json.loads(parts[3])
    return {name: int(port) for name, port in content.items()}


def test_handshake(router: str, tmp_path: Path, registrar: tuple[str, Registrar]) -> None:
    """The kernel binds ports of its own choice, tells them, and serves; its connection file says them too."""
    dialect, service = registrar
    process = start_registered(router, tmp_path, dialect, service)
    try:
        frames = service.receive()
        ports = ports_of(frames, dialect, service.session)
        parts = [b"ACK"] if dialect == "documented" else [b"{}", b"{}", b"{}", b'{"status":"ok"}']
        identities = frames[: frames.index(b"<IDS|MSG>")]
        service.socket.send_multipart([*identities, b"<IDS|MSG>", service.session.sign(parts), *parts])
        manager = KernelManager(connection_file="unused")
        manager.load_connection_info({"ip": "127.0.0.1", "key": KEY.decode(), "transport": "tcp", **ports})
        client = Client(manager)
        client.wait_ready()
        assert client.execute("6 * 7").ok().result == "42"
        files = list((tmp_path / "run").glob("kernel-*.json"))
        assert len(files) == 1
        written = json.loads(files[0].read_text())
        assert {name: written[name] for name in ports} == ports
        assert written["key"] == KEY.decode()
        client.reply(client.send("shutdown_request", {"restart": False}, channel="control"))
        client.close()
        assert process.wait(10) == 0
        assert not files[0].exists()
        assert (tmp_path / "registration.json").exists()
    finally:
        process.kill()
        process.communicate()


def test_a_receipt_of_somebody_else_ends_the_kernel(
    router: str, tmp_path: Path, registrar: tuple[str, Registrar]
) -> None:
    dialect, service = registrar
    process = start_registered(router, tmp_path, dialect, service)
    try:
        frames = service.receive()
        identities = frames[: frames.index(b"<IDS|MSG>")]
        parts = [b"ACK", b"{}", b"{}", b"{}"]
        service.socket.send_multipart([*identities, b"<IDS|MSG>", b"0" * 64, *parts])
        _, stderr = process.communicate(timeout=10)
        assert process.returncode == 2
        assert b"the receipt of the ports is not signed" in stderr
        assert list((tmp_path / "run").glob("kernel-*.json")) == []
    finally:
        process.kill()
        process.communicate()
