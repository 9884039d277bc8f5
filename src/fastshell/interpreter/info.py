"""What a Python kernel says of itself, known without importing IPython."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any


def language_info() -> dict[str, Any]:
    """As ipykernel's, which front ends know how to highlight."""
    return {
        "name": "python",
        "version": platform.python_version(),
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": sys.version_info.major},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    }


def banner() -> str:
    return (
        f"Python {sys.version}\nType 'copyright', 'credits' or 'license' for more information\n"
        f"IPython {version('ipython')} -- An enhanced Interactive Python. Type '?' for help.\n"
    )


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
