"""Compile the two extensions and place the kernelspec; all else is in pyproject.toml.

Environment variables, read when building:
FASTSHELL_PURE=1         build no extension; the plain Python router and wire serve.
FASTSHELL_DEBUG=1        no optimisation, C assertions on, line tracing on.
FASTSHELL_SANITIZE=LIST  compile and link with -fsanitize=LIST, such as address,undefined.
FASTSHELL_ANNOTATE=1     let Cython write its annotated html as well, below build/annotate.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("src/fastshell")
EXTENSIONS = ("_router", "_wire")

debug = os.environ.get("FASTSHELL_DEBUG", "") not in ("", "0")
annotate = os.environ.get("FASTSHELL_ANNOTATE", "") not in ("", "0")
sanitize = os.environ.get("FASTSHELL_SANITIZE", "")
# pyzmq's Windows wheel shares no libzmq (DESIGN.md, D4), so there is nothing to compile for.
pure = sys.platform == "win32" or os.environ.get("FASTSHELL_PURE", "") not in ("", "0")


def build_base():
    """One folder for each kind of build, or setuptools would reuse the objects of another kind."""
    if annotate:
        return "build/annotate"
    if sanitize:
        return "build/sanitize-" + sanitize.replace(",", "-")
    return "build/debug" if debug else "build"


def extension(name):
    compile_args = ["-std=gnu11", "-Wall", "-Wno-unused-function"]
    link_args = []
    macros = []
    if debug:
        compile_args += ["-O0", "-g3", "-UNDEBUG"]
        macros += [("FASTSHELL_DEBUG", "1"), ("CYTHON_TRACE", "1")]
    elif sanitize:
        compile_args += ["-O1", "-g1", "-UNDEBUG"]
    else:
        compile_args += ["-O3", "-g1"]
    if sanitize:
        compile_args += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer"]
        link_args += [f"-fsanitize={sanitize}"]
    return Extension(
        f"fastshell.{name}",
        sources=[str(PACKAGE / f"{name}.pyx")],
        depends=[str(path) for path in sorted(PACKAGE.glob("_c/*.h"))],
        include_dirs=[str(PACKAGE)],
        libraries=["dl", "pthread"] if sys.platform == "linux" else [],
        define_macros=macros,
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )


class Build(build_ext):
    """Translate to C only when something is really built: metadata and sdist do without."""

    def run(self):
        if self.extensions:
            from Cython.Build import cythonize

            translated = cythonize(
                self.extensions,
                build_dir=f"{build_base()}/cython",
                annotate=annotate,
                force=annotate,
                compiler_directives={
                    "language_level": "3",
                    "boundscheck": debug,
                    "wraparound": False,
                    "freethreading_compatible": True,
                    "linetrace": debug,
                },
            )
            # cythonize makes new objects; setuptools has already put its notes on the old ones.
            for original, replacement in zip(self.extensions, translated, strict=True):
                original.sources = replacement.sources
        super().run()


setup(
    ext_modules=[] if pure else [extension(name) for name in EXTENSIONS],
    cmdclass={"build_ext": Build},
    options={"build": {"build_base": build_base()}},
    data_files=[
        (
            "share/jupyter/kernels/fastshell",
            sorted(path.as_posix() for path in (PACKAGE / "resources").iterdir() if path.is_file()),
        )
    ],
)
