"""The compiler of cells, which names each cell's file as ipykernel does: by a hash of what was typed.

Front ends and the debugger compute the same name from the text. No such file exists: IPython keeps the
source in `linecache`.

Thread: any that runs user code; each shell has a compiler of its own.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile

from IPython.core.compilerop import CachingCompiler

HASH_SEED = 0xC70F6907  # part of the contract with front ends, as is the hash
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2_x86(data: str, seed: int) -> int:
    """The 32-bit MurmurHash2 of the text in UTF-8."""
    raw = data.encode("utf-8", "surrogatepass")
    count = len(raw) // 4
    value = seed ^ len(raw)
    for word in struct.unpack_from(f"<{count}I", raw):
        word = word * _MULTIPLIER & _MASK
        value = value * _MULTIPLIER & _MASK ^ (word ^ word >> 24) * _MULTIPLIER & _MASK
    rest = raw[4 * count :]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _MASK
    value = (value ^ value >> 13) * _MULTIPLIER & _MASK
    return value ^ value >> 15


def get_tmp_hash_seed() -> int:
    return HASH_SEED


def get_tmp_directory() -> str:
    """The folder in which the cells of this process seem to be."""
    return os.path.join(_long_path(tempfile.gettempdir()), f"ipykernel_{os.getpid()}")


def get_file_name(code: str) -> str:
    """The file of a cell with that text; IPYKERNEL_CELL_NAME names one for all."""
    name = os.environ.get("IPYKERNEL_CELL_NAME")
    if name is not None:
        return name
    return os.path.join(get_tmp_directory(), f"{murmur2_x86(code, HASH_SEED)}.py")


def _long_path(path: str) -> str:
    """On Windows without the short names of old, such as PROGRA~1, which front ends do not know."""
    return os.path.realpath(path) if sys.platform == "win32" else path


class XCachingCompiler(CachingCompiler):
    """IPython's, but for the names of files."""

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        return get_file_name(raw_code)
