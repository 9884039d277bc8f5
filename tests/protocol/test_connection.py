import json
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastshell._contract import CHANNELS
from fastshell.protocol import connection
from fastshell.protocol.connection import ConnectionFileError, ConnectionInfo

PUBLIC, SECRET = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"

TCP = {
    "shell_port": 50001,
    "iopub_port": 50002,
    "stdin_port": 50003,
    "control_port": 50004,
    "hb_port": 50005,
    "ip": "127.0.0.1",
    "key": "a0436f6c-1916-498b-8eb9-e81ab9368e84",
    "transport": "tcp",
    "signature_scheme": "hmac-sha256",
    "kernel_name": "fastshell",
}
CURVE = {"curve_publickey": PUBLIC, "curve_secretkey": SECRET}


def parsed(**changes: object) -> ConnectionInfo:
    return connection.parse(json.dumps(TCP | changes).encode(), "k.json")


# --- read ---


def test_every_field_is_read() -> None:
    info = parsed(**CURVE, jupyter_session="Untitled.ipynb", version=5)
    assert info == ConnectionInfo(
        transport="tcp",
        ip="127.0.0.1",
        shell_port=50001,
        control_port=50004,
        stdin_port=50003,
        iopub_port=50002,
        hb_port=50005,
        key=b"a0436f6c-1916-498b-8eb9-e81ab9368e84",
        signature_scheme="hmac-sha256",
        kernel_name="fastshell",
        curve_publickey=PUBLIC.encode(),
        curve_secretkey=SECRET.encode(),
        extra={"jupyter_session": "Untitled.ipynb", "version": 5},
    )
    assert info.curve == (PUBLIC.encode(), SECRET.encode())


def test_what_may_be_left_out() -> None:
    text = {name: value for name, value in TCP.items() if name.endswith("_port") or name in ("ip", "key")}
    info = connection.parse(json.dumps(text).encode(), "k.json")
    assert (info.transport, info.signature_scheme, info.kernel_name) == ("tcp", "hmac-sha256", "")
    assert info.curve is None


def test_an_empty_key_means_no_signatures() -> None:
    assert parsed(key="").key == b""


@pytest.mark.parametrize("scheme", ["hmac-sha1", "hmac-sha512", "hmac-blake2b", "hmac-sha3_256", "hmac-md5"])
def test_schemes_of_hashlib(scheme: str) -> None:
    assert parsed(signature_scheme=scheme).signature_scheme == scheme


def test_secrets_are_not_in_the_repr() -> None:
    text = repr(parsed(**CURVE))
    assert SECRET not in text and TCP["key"] not in text  # type: ignore[operator]


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in TCP.items() if key != name}).encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"ip": "\xff"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "expected a JSON object, found an array"),
        (b"null", "expected a JSON object, found null"),
        (without("shell_port"), "field 'shell_port': expected a port number, found nothing"),
        (without("hb_port"), "field 'hb_port': expected a port number, found nothing"),
        (without("ip"), "field 'ip': expected a string, found nothing"),
        (without("key"), "field 'key': expected a string, found nothing"),
    ],
)
def test_what_is_no_connection_file(text: bytes, message: str) -> None:
    with pytest.raises(ConnectionFileError) as error:
        connection.parse(text, "/run/k.json")
    assert str(error.value).startswith("/run/k.json: " + message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("shell_port", "50001", "expected a port number, found a string"),
        ("iopub_port", 5.5, "expected a port number, found a number"),
        ("stdin_port", True, "expected a port number, found a boolean"),
        ("control_port", None, "expected a port number, found null"),
        ("hb_port", -1, "expected a port number from 0 to 65535, found -1"),
        ("hb_port", 65536, "expected a port number from 0 to 65535, found 65536"),
        ("hb_port", 10**30, "expected a port number"),
        ("transport", "udp", "expected one of tcp, ipc, found 'udp'"),
        ("transport", 1, "expected a string, found a number"),
        ("ip", ["127.0.0.1"], "expected a string, found an array"),
        ("ip", "", "expected an address, found an empty string"),
        ("key", {"a": 1}, "expected a string, found an object"),
        ("key", None, "expected a string, found null"),
        ("signature_scheme", "sha256", "expected hmac- and a digest of hashlib"),
        ("signature_scheme", "hmac-sha257", "expected hmac- and a digest of hashlib"),
        ("signature_scheme", "hmac-new", "expected hmac- and a digest of hashlib"),
        ("signature_scheme", "hmac-shake_128", "expected hmac- and a digest of hashlib"),
        ("kernel_name", 3, "expected a string, found a number"),
        ("curve_publickey", PUBLIC[1:], "expected a key of 40 Z85 characters, found 39"),
        ("curve_secretkey", SECRET + "0", "expected a key of 40 Z85 characters, found 41"),
        ("curve_secretkey", "~" * 40, "expected a key of 40 Z85 characters, found another character"),
        ("curve_secretkey", 5, "expected a string, found a number"),
        ("curve_secretkey", None, "expected both keys of the CURVE pair or neither, found one only"),
        ("curve_publickey", None, "expected both keys of the CURVE pair or neither, found one only"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, message: str) -> None:
    with pytest.raises(ConnectionFileError) as error:
        parsed(**CURVE | {field: value})
    assert str(error.value).startswith(f"k.json: field {field!r}: {message}")
    assert SECRET not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFileError, match=r"missing\.json: cannot be read: No such file"):
        connection.read(tmp_path / "missing.json")
    with pytest.raises(ConnectionFileError, match="cannot be read"):
        connection.read(tmp_path)


# --- endpoints ---


@pytest.mark.parametrize(
    ("ip", "port", "endpoint"),
    [
        ("127.0.0.1", 50001, "tcp://127.0.0.1:50001"),
        ("0.0.0.0", 0, "tcp://0.0.0.0:*"),
        ("*", 1, "tcp://*:1"),
        ("::1", 50001, "tcp://[::1]:50001"),
        ("[::1]", 0, "tcp://[::1]:*"),
        ("eth0", 9, "tcp://eth0:9"),
    ],
)
def test_tcp_endpoint(ip: str, port: int, endpoint: str) -> None:
    assert connection.endpoints(parsed(ip=ip, shell_port=port))["shell"] == endpoint


def test_endpoints_by_channel() -> None:
    assert connection.endpoints(parsed()) == {
        "shell": "tcp://127.0.0.1:50001",
        "control": "tcp://127.0.0.1:50004",
        "stdin": "tcp://127.0.0.1:50003",
        "iopub": "tcp://127.0.0.1:50002",
        "hb": "tcp://127.0.0.1:50005",
    }


def test_ipc_endpoints_and_their_files() -> None:
    info = parsed(transport="ipc", ip="/tmp/k-ipc", hb_port=5)
    assert connection.endpoints(info)["hb"] == "ipc:///tmp/k-ipc-5"
    assert connection.ipc_paths(info)[CHANNELS.index("hb")] == "/tmp/k-ipc-5"
    assert len(connection.ipc_paths(info)) == 5


def test_files_of_a_relative_prefix_are_absolute() -> None:
    """User code may change the working directory before the kernel unlinks them."""
    paths = connection.ipc_paths(parsed(transport="ipc", ip="kernel-ipc"))
    assert paths[0] == os.path.join(os.getcwd(), "kernel-ipc-50001")


def test_no_files_without_ipc_or_with_abstract_names() -> None:
    assert connection.ipc_paths(parsed()) == []
    assert connection.ipc_paths(parsed(transport="ipc", ip="@kernel")) == []


def test_ipc_port_0_has_no_endpoint() -> None:
    with pytest.raises(ValueError, match="other than 0"):
        connection.endpoints(parsed(transport="ipc", hb_port=0))


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "0.0.0.0"])
def test_bound_tcp_ports_come_back(ip: str) -> None:
    wanted = parsed(ip=ip)
    unbound = parsed(ip=ip, shell_port=0, iopub_port=0, stdin_port=0, control_port=0, hb_port=0)
    assert connection.with_bound(unbound, connection.endpoints(wanted)) == wanted


def test_bound_ipc_numbers_come_back() -> None:
    info = parsed(transport="ipc", ip="/tmp/a-b", shell_port=7)
    assert connection.with_bound(info, connection.endpoints(info)) == info


# --- new ---


def test_new_tcp_connection() -> None:
    info = connection.new()
    assert set(connection.endpoints(info).values()) == {"tcp://127.0.0.1:*"}
    assert len(info.key) >= 32
    assert connection.new().key != info.key


def test_new_ipc_connection_avoids_files_that_exist(tmp_path: Path) -> None:
    prefix = str(tmp_path / "k")
    Path(prefix + "-2").touch()
    info = connection.new("ipc", prefix)
    assert [info.port(channel) for channel in CHANNELS] == [1, 3, 4, 5, 6]


def test_new_ipc_connection_has_a_prefix_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    assert connection.new("ipc").ip == str(tmp_path / f"kernel-{os.getpid()}-ipc")


def test_new_with_an_unknown_transport() -> None:
    with pytest.raises(ValueError, match="expected one of tcp, ipc"):
        connection.new("udp")


def test_ipc_port_0_of_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    changes: dict[str, Any] = {"transport": "ipc", "ip": str(tmp_path / "k"), "hb_port": 0, "shell_port": 1}
    path.write_text(json.dumps(TCP | changes))
    assert connection.read(path).hb_port == 2


# --- write ---


@pytest.mark.parametrize("changes", [{}, CURVE, {"jupyter_session": "a b", "deep": {"x": [1, None]}}])
def test_what_is_written_is_read(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "k.json"
    connection.write(path, parsed(**changes))
    assert connection.read(path) == parsed(**changes)
    assert json.loads(path.read_text()) == TCP | changes


def test_an_extra_field_does_not_replace_a_known_one() -> None:
    info = replace(parsed(), extra={"key": "other", "x": 1})
    assert connection.to_dict(info) == TCP | {"x": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_the_key_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    real: Callable[..., None] = os.replace

    def spy(source: str, target: str) -> None:
        modes.append(stat.S_IMODE(os.stat(source).st_mode))
        real(source, target)

    path = tmp_path / "k.json"
    path.write_text("old")
    path.chmod(0o644)
    monkeypatch.setattr(os, "replace", spy)
    previous = os.umask(0)
    try:
        connection.write(path, parsed())
    finally:
        os.umask(previous)
    assert modes == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        connection.write(path, parsed())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["k.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_default_path_makes_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "share" / "runtime"
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    assert connection.default_path() == folder / f"kernel-{os.getpid()}.json"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert connection.default_path().parent == folder


# --- jupyter_client ---


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_files_of_jupyter_client_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    from jupyter_client.manager import KernelManager

    monkeypatch.chdir(tmp_path)
    manager = KernelManager(transport=transport, connection_file=str(tmp_path / "kernel-1.json"))
    manager.write_connection_file(jupyter_session="/home/ada/Untitled.ipynb")
    info = connection.read(manager.connection_file)
    assert info.transport == transport
    assert info.key == manager.session.key
    for channel in CHANNELS:
        assert info.port(channel) == getattr(manager, f"{channel}_port")
        assert connection.endpoints(info)[channel] == manager._make_url(channel)
    assert info.extra == {"jupyter_session": "/home/ada/Untitled.ipynb"}


def test_our_files_are_read_by_jupyter_client(tmp_path: Path) -> None:
    from jupyter_client.blocking.client import BlockingKernelClient

    path = tmp_path / "kernel-1.json"
    connection.write(path, parsed())
    client = BlockingKernelClient(connection_file=str(path))
    client.load_connection_file()
    assert client.session.key == parsed().key
    assert client.shell_port == 50001
