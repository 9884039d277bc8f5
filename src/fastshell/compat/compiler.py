"""ipykernel.compiler: the file names of cells."""

from __future__ import annotations

from fastshell.compat import _finder
from fastshell.interpreter.compiler import (
    XCachingCompiler,
    get_file_name,
    get_tmp_directory,
    get_tmp_hash_seed,
    murmur2_x86,
)

__all__ = ["XCachingCompiler", "get_file_name", "get_tmp_directory", "get_tmp_hash_seed", "murmur2_x86"]

__getattr__ = _finder.fall_through("compiler")
