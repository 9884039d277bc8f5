"""The version of ipykernel whose interface is served."""

from __future__ import annotations

from fastshell.protocol.content import PROTOCOL_VERSION

version_info = (7, 4, 0)
__version__ = ".".join(map(str, version_info))

kernel_protocol_version_info = tuple(int(part) for part in PROTOCOL_VERSION.split("."))
kernel_protocol_version = PROTOCOL_VERSION
