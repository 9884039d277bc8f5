"""Read, make and write connection files: where a kernel listens, and with which keys.

Thread: any; no shared state. Functions that touch the file system say so.
Source: Jupyter client documentation, "Connection files"; CURVE as in jupyter_client 8.10.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from fastshell._contract import CHANNELS

TRANSPORTS: Final = ("tcp", "ipc")

#: The digests that hmac can use: those of a fixed size, spelled as hashlib's functions.
SCHEMES: Final = frozenset(
    f"hmac-{name}" for name in hashlib.algorithms_guaranteed if not name.startswith("shake_")
)

_Z85_KEY_LENGTH: Final = 40  # 32 bytes, five characters for every four
_Z85_ALPHABET: Final = frozenset(
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
)


class ConnectionFileError(Exception):
    """A connection file cannot be used; one line names the file, the field, and what was expected."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Where a kernel that chooses its ports itself tells them: what a registration file says."""

    endpoint: str
    kernel_id: str
    is_documented: bool  # as Jupyter's documentation has it; else Positron's


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What a connection file says. Secrets are left out of repr()."""

    transport: str  # one of TRANSPORTS
    ip: str  # address; for ipc the prefix of the socket files' paths
    shell_port: int  # 0: any free one
    control_port: int
    stdin_port: int
    iopub_port: int
    hb_port: int
    key: bytes = field(repr=False)  # b"": messages are not signed
    signature_scheme: str = "hmac-sha256"  # one of SCHEMES
    kernel_name: str = ""
    curve_publickey: bytes | None = None  # Z85; both keys or none
    curve_secretkey: bytes | None = field(default=None, repr=False)
    registration: Registration | None = None  # of a registration file; all ports are 0 then
    extra: Mapping[str, object] = field(default_factory=dict)  # fields that we do not know, kept

    @property
    def curve(self) -> tuple[bytes, bytes] | None:
        """The CURVE key pair (public, secret), or None for plain sockets."""
        if self.curve_publickey is None or self.curve_secretkey is None:
            return None
        return self.curve_publickey, self.curve_secretkey

    def port(self, channel: str) -> int:
        """The port of one of CHANNELS; for ipc the number at the end of its path."""
        port: int = getattr(self, f"{channel}_port")
        return port


_KNOWN: Final = frozenset(ConnectionInfo.__dataclass_fields__) - {"extra", "registration"}


def read(path: str | os.PathLike[str]) -> ConnectionInfo:
    """Read and check a connection file.

    Ports 0 of an ipc kernel are replaced by free numbers, since ipc has no "any port" to bind.
    Raises ConnectionFileError.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConnectionFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    return _with_free_ipc_ports(parse(text, str(path)))


def parse(text: bytes, path: str) -> ConnectionInfo:
    """Check the bytes of a connection or registration file; `path` is for the messages only.

    transport defaults to tcp, signature_scheme to hmac-sha256, as for all who read these files.
    Raises ConnectionFileError.
    """
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConnectionFileError(f"{path}: not JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise ConnectionFileError(f"{path}: expected a JSON object, found {_kind(decoded)}")
    fields = _Fields(path, decoded)

    transport = fields.text("transport", "tcp")
    if transport not in TRANSPORTS:
        fields.fail("transport", f"one of {', '.join(TRANSPORTS)}", repr(transport))
    registration = fields.registration(transport) if "registration_port" in decoded else None
    ip = fields.text("ip", None if registration is None else _ip_of_registered(transport, fields))
    if not ip:
        fields.fail("ip", "an address" if transport == "tcp" else "a path prefix", "an empty string")
    scheme = fields.text("signature_scheme", "hmac-sha256")
    if scheme not in SCHEMES:
        fields.fail("signature_scheme", "hmac- and a digest of hashlib, such as hmac-sha256", repr(scheme))
    publickey, secretkey = fields.curve("curve_publickey"), fields.curve("curve_secretkey")
    if (publickey is None) != (secretkey is None):
        missing = "curve_publickey" if publickey is None else "curve_secretkey"
        fields.fail(missing, "both keys of the CURVE pair or neither", "one only")
    return ConnectionInfo(
        transport=transport,
        ip=ip,
        **{f"{one}_port": 0 if registration else fields.port(f"{one}_port") for one in CHANNELS},
        key=fields.text("key").encode(),
        signature_scheme=scheme,
        kernel_name=fields.text("kernel_name", ""),
        curve_publickey=publickey,
        curve_secretkey=secretkey,
        registration=registration,
        extra={name: value for name, value in decoded.items() if name not in _KNOWN},
    )


def new(transport: str = "tcp", ip: str | None = None) -> ConnectionInfo:
    """Make the connection of a kernel that was started without a file, with a random key.

    ip: by default 127.0.0.1; for ipc a path of this process in Jupyter's runtime folder.
    tcp ports are 0; ipc numbers are the first whose files do not exist. Looks at the file system.
    Raises ValueError for an unknown transport.
    """
    if transport not in TRANSPORTS:
        raise ValueError(f"transport {transport!r}: expected one of {', '.join(TRANSPORTS)}")
    if ip is None:
        ip = "127.0.0.1" if transport == "tcp" else str(default_path().with_suffix("")) + "-ipc"
    return _with_free_ipc_ports(
        ConnectionInfo(
            transport=transport,
            ip=ip,
            shell_port=0,
            control_port=0,
            stdin_port=0,
            iopub_port=0,
            hb_port=0,
            key=secrets.token_hex(32).encode(),
            kernel_name="fastshell",
        )
    )


def endpoints(info: ConnectionInfo) -> dict[str, str]:
    """The ZeroMQ endpoint to bind for each of CHANNELS; a tcp port 0 becomes `*`, any free one.

    Raises ValueError for an ipc port 0, which `read` and `new` never leave.
    """
    return {channel: _endpoint(info, info.port(channel)) for channel in CHANNELS}


def with_bound(info: ConnectionInfo, bound: Mapping[str, str]) -> ConnectionInfo:
    """Take over the ports of the endpoints that were really bound, by channel.

    Raises ValueError for an endpoint without a number at its end.
    """
    separator = ":" if info.transport == "tcp" else "-"
    ports = {f"{channel}_port": int(bound[channel].rpartition(separator)[2]) for channel in CHANNELS}
    return replace(info, **ports)  # type: ignore[arg-type]  # ports holds names of int fields only


def with_ports(info: ConnectionInfo, ports: Mapping[str, int]) -> ConnectionInfo:
    """Replace the ports of those channels."""
    named = {f"{channel}_port": port for channel, port in ports.items()}
    return replace(info, **named) if named else info  # type: ignore[arg-type]  # names of int fields only


def ipc_paths(info: ConnectionInfo) -> list[str]:
    """The socket files of an ipc kernel, absolute; none for tcp and for Linux's abstract names.

    Ask before user code runs: it may change the working directory that a relative prefix starts from.
    """
    if info.transport != "ipc" or info.ip.startswith("@"):
        return []
    return [os.path.abspath(f"{info.ip}-{info.port(channel)}") for channel in CHANNELS]


def to_dict(info: ConnectionInfo) -> dict[str, object]:
    """The JSON object of a connection file, in the order in which jupyter_client writes it."""
    fields: dict[str, object] = {
        "shell_port": info.shell_port,
        "iopub_port": info.iopub_port,
        "stdin_port": info.stdin_port,
        "control_port": info.control_port,
        "hb_port": info.hb_port,
        "ip": info.ip,
        "key": info.key.decode(),
        "transport": info.transport,
        "signature_scheme": info.signature_scheme,
        "kernel_name": info.kernel_name,
    }
    if info.curve is not None:
        public, secret = info.curve
        fields |= {"curve_publickey": public.decode(), "curve_secretkey": secret.decode()}
    return fields | {name: value for name, value in info.extra.items() if name not in fields}


def write(path: str | os.PathLike[str], info: ConnectionInfo) -> None:
    """Write a connection file that only the user can read, at no moment half written.

    Raises OSError.
    """
    path = Path(path)
    # Made with mode 0600, in the same folder since os.replace cannot cross file systems.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            if sys.platform == "win32":
                from jupyter_core.paths import win32_restrict_file_to_user

                win32_restrict_file_to_user(temporary)
            file.write(msgspec.json.format(msgspec.json.encode(to_dict(info)), indent=2))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def default_path(kernel_id: str = "") -> Path:
    """The file of a kernel that was given none: kernel-<id or pid>.json in Jupyter's runtime folder.

    Makes the folder, for the user only. Raises OSError.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    folder = Path(jupyter_runtime_dir())
    os.makedirs(folder, mode=0o700, exist_ok=True)
    is_usable = kernel_id and all(character.isalnum() or character in "-_" for character in kernel_id)
    return folder / f"kernel-{kernel_id if is_usable else os.getpid()}.json"


class _Fields:
    """Takes fields out of the JSON object, each checked, and words the complaint."""

    def __init__(self, path: str, decoded: dict[str, object]) -> None:
        self._path = path
        self._decoded = decoded

    def fail(self, name: str, expected: str, found: str) -> NoReturn:
        raise ConnectionFileError(f"{self._path}: field {name!r}: expected {expected}, found {found}")

    def text(self, name: str, default: str | None = None) -> str:
        if name not in self._decoded:
            if default is not None:
                return default
            self.fail(name, "a string", "nothing")
        value = self._decoded[name]
        if not isinstance(value, str):
            self.fail(name, "a string", _kind(value))
        return value

    def port(self, name: str) -> int:
        if name not in self._decoded:
            self.fail(name, "a port number", "nothing")
        value = self._decoded[name]
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(name, "a port number", _kind(value))
        if not 0 <= value <= 65535:
            self.fail(name, "a port number from 0 to 65535", str(value))
        return value

    def registration(self, transport: str) -> Registration:
        is_documented = "registration_ip" in self._decoded
        ip = self.text("registration_ip" if is_documented else "ip")
        number = self.port("registration_port")
        return Registration(
            endpoint=f"{transport}://{ip}{':' if transport == 'tcp' else '-'}{number}",
            kernel_id=self.text("kernel_id", ""),
            is_documented=is_documented,
        )

    def curve(self, name: str) -> bytes | None:
        if self._decoded.get(name) is None:
            return None
        key = self.text(name).encode()
        expected = f"a key of {_Z85_KEY_LENGTH} Z85 characters"
        if len(key) != _Z85_KEY_LENGTH:
            self.fail(name, expected, str(len(key)))
        if not _Z85_ALPHABET.issuperset(key):
            self.fail(name, expected, "another character")
        return key


def _ip_of_registered(transport: str, fields: _Fields) -> str:
    """Where a kernel binds that was told no address: on this machine; for ipc, beside the registration."""
    return "127.0.0.1" if transport == "tcp" else fields.text("registration_ip")


def _kind(value: object) -> str:
    """What JSON calls the kind of a value."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "an array", dict: "an object"}
    return names[type(value)]


def _endpoint(info: ConnectionInfo, port: int) -> str:
    if info.transport == "ipc":
        if port == 0:
            raise ValueError("an ipc endpoint needs a port number other than 0")
        return f"ipc://{info.ip}-{port}"
    is_bare_ipv6 = ":" in info.ip and not info.ip.startswith("[")
    host = f"[{info.ip}]" if is_bare_ipv6 else info.ip
    return f"tcp://{host}:{port or '*'}"


def _with_free_ipc_ports(info: ConnectionInfo) -> ConnectionInfo:
    """Replace each port 0 of an ipc kernel by the first number that is free, as jupyter_client does."""
    if info.transport != "ipc":
        return info
    taken = {info.port(channel) for channel in CHANNELS}
    number = 0
    for channel in CHANNELS:
        if info.port(channel) == 0:
            while number in taken or os.path.exists(f"{info.ip}-{number}"):
                number += 1
            taken.add(number)
            info = replace(info, **{f"{channel}_port": number})  # type: ignore[arg-type]
    return info
