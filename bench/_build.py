"""Compile `_client.pyx`, the client and the shell in C that the benchmarks use, when it is first asked for.

The result lies in `.build/<hash>/`, where the hash is of everything that goes into it: a changed source
is compiled anew, and two versions of fastshell can be compared in turn. It needs Cython and a C compiler.
"""

import hashlib
import importlib.util
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent


def load_client():
    """Return the module `_client`, compiled for this Python and for the fastshell that is imported."""
    import fastshell

    package = Path(fastshell.__file__).resolve().parent
    sources = [HERE / "_client.pyx", *sorted(package.glob("*.pxd")), *sorted(package.glob("_c/*.h"))]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    folder = HERE / ".build" / digest[:12]
    file = folder / f"_client{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not file.exists():
        compile_client(package, folder)
    spec = importlib.util.spec_from_file_location("_client", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["_client"] = module
    spec.loader.exec_module(module)
    return module


def compile_client(package, folder):
    """package: where fastshell's .pxd and _c/ are; folder: where the extension goes."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    print("compiling bench/_client.pyx", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    (HERE / ".build" / ".gitignore").write_text("*\n")
    extension = Extension(
        "_client",
        [str(HERE / "_client.pyx")],
        include_dirs=[str(package)],
        libraries=["dl", "pthread"] if sys.platform == "linux" else [],
        extra_compile_args=["-std=gnu11", "-O3", "-g1", "-Wall", "-Wno-unused-function"],
    )
    translated = cythonize(
        [extension],
        build_dir=str(folder / "c"),
        include_path=[str(package.parent)],
        compiler_directives={"language_level": "3", "freethreading_compatible": True},
        quiet=True,
    )
    command = build_ext(Distribution({"name": "bench-client", "ext_modules": translated}))
    command.build_lib = str(folder)
    command.build_temp = str(folder / "c")
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    print(load_client().__file__)
