"""What a Python kernel says of itself, known without importing IPython."""

from __future__ import annotations

import functools
import runpy
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any


def language_info() -> dict[str, Any]:
    """As ipykernel's, which front ends know how to highlight."""
    return {
        "name": "python",
        "version": sys.version.split()[0],
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": sys.version_info.major},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    }


def banner() -> str:
    return (
        f"Python {sys.version}\nType 'copyright', 'credits' or 'license' for more information\n"
        f"IPython {ipython_version()} -- An enhanced Interactive Python. Type '?' for help.\n"
    )


@functools.cache
def ipython_version() -> str:
    """From the one file that says it: importlib.metadata takes 10 ms to import, IPython 40."""
    spec = PathFinder.find_spec("IPython")
    if spec is None or spec.origin is None:
        return ""
    release = runpy.run_path(str(Path(spec.origin).with_name("core") / "release.py"))
    return str(release["version"])


HELP_LINKS = [
    {
        "text": "Python Reference",
        "url": f"https://docs.python.org/{sys.version_info[0]}.{sys.version_info[1]}",
    },
    {"text": "IPython Reference", "url": "https://ipython.org/documentation.html"},
    {"text": "NumPy Reference", "url": "https://docs.scipy.org/doc/numpy/reference"},
    {"text": "SciPy Reference", "url": "https://docs.scipy.org/doc/scipy/reference"},
    {"text": "Matplotlib Reference", "url": "https://matplotlib.org/contents.html"},
    {"text": "SymPy Reference", "url": "http://docs.sympy.org/latest/index.html"},
    {"text": "pandas Reference", "url": "https://pandas.pydata.org/pandas-docs/stable/"},
]
