"""The handshake of a kernel that was given a registration file: it binds free ports, then tells them.

Thread: main, once, at the start, after the sockets were bound. The socket is gone when this returns.
Source: Jupyter messaging, "Kernel startup handshake", after JEP 66. Positron has a dialect of its own,
known by a file without `registration_ip`: a full Jupyter message from a REQ socket.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from fastshell._contract import CHANNELS, DELIMITER
from fastshell.protocol import wire
from fastshell.protocol.connection import ConnectionInfo, Registration


class RegistrationError(Exception):
    """Nobody took down where the kernel listens; one line says why."""


def register(registration: Registration, info: ConnectionInfo, session: str, timeout_s: float) -> None:
    """Send the ports; return when that was acknowledged. Raises RegistrationError."""
    import zmq

    ports: dict[str, Any] = {f"{channel}_port": info.port(channel) for channel in CHANNELS}
    if registration.is_documented:
        kind = zmq.DEALER
        texts = {name: str(port) for name, port in ports.items()}
        parts = [{"kernel_id": registration.kernel_id, **texts}]
    else:
        kind, parts = zmq.REQ, [_header(session), {}, {}, ports]
    encoded = [json.dumps(part).encode() for part in parts]
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.linger = 0
        socket.connect(registration.endpoint)
        socket.send_multipart([DELIMITER, wire.sign(info.key, encoded, info.signature_scheme), *encoded])
        if not socket.poll(round(timeout_s * 1000)):
            raise RegistrationError(
                f"{registration.endpoint}: no receipt of the ports within {timeout_s:g} s"
            )
        if not _is_receipt(socket.recv_multipart(), info):
            raise RegistrationError(f"{registration.endpoint}: the receipt of the ports is not signed")


def _is_receipt(frames: list[bytes], info: ConnectionInfo) -> bool:
    """What a receipt says is not specified; its signature is."""
    if DELIMITER not in frames[:-2]:
        return False
    signature, *parts = frames[frames.index(DELIMITER) + 1 :]
    return wire.verify(info.key, signature, parts, info.signature_scheme)


def _header(session: str) -> dict[str, Any]:
    return {
        "msg_id": str(uuid.uuid4()),
        "session": session,
        "username": "kernel",
        "date": datetime.now(UTC).isoformat(),
        "msg_type": "handshake_request",
        "version": "5.5",
    }
