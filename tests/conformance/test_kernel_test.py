"""The suite that Jupyter has for kernels, jupyter_kernel_test, with all that Python can show it."""

from __future__ import annotations

import importlib
import sys
import tempfile
from typing import Any, ClassVar

import jupyter_kernel_test
import pytest

from fastshell import kernelspec


class _Installed:
    """A kernelspec of ours that jupyter_client finds, and a choice of the router."""

    kernel_name = "fastshell-test"
    router: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        if cls.router == "compiled" and sys.platform == "linux":
            importlib.import_module("fastshell._router")  # its absence is a failure
        cls._folder = tempfile.TemporaryDirectory()
        prefix = cls._folder.name
        cls._environment = pytest.MonkeyPatch()
        cls._environment.setenv("JUPYTER_PATH", f"{prefix}/share/jupyter")
        cls._environment.setenv("IPYTHONDIR", f"{prefix}/ipython")
        cls._environment.setenv("FASTSHELL_ROUTER", cls.router)
        kernelspec.install(prefix=prefix, name=cls.kernel_name)
        try:
            super().setUpClass()  # type: ignore[misc]
        except BaseException:
            cls._clean()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            super().tearDownClass()  # type: ignore[misc]
        finally:
            cls._clean()

    @classmethod
    def _clean(cls) -> None:
        cls._environment.undo()
        cls._folder.cleanup()


class _Samples:
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples: ClassVar[list[dict[str, Any]]] = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "import tokeni", "matches": {"tokenize"}},
        {"text": "%lsma", "matches": {"%lsmagic"}},
        {"text": "a_name_that_is_nowhere"},
    ]
    complete_code_samples: ClassVar[list[str]] = [
        "1",
        "print('hello, world')",
        "def f(x):\n  return x*2\n\n\n",
        "%matplotlib inline",
        "x = '''\ntext\n'''",
        "await x",
    ]
    incomplete_code_samples: ClassVar[list[str]] = [
        "print('''hello",
        "def f(x):\n  x*2",
        "(1 +",
        "for i in range(3):",
        "x = \\",
    ]
    invalid_code_samples: ClassVar[list[str]] = ["import = 7q", "x = )", "'"]
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('of the test')"
    code_execute_result: ClassVar[list[dict[str, str]]] = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {
            "code": "from IPython.display import HTML; HTML('<b>x</b>')",
            "mime": "text/html",
            "result": "<b>x</b>",
        },
    ]
    code_display_data: ClassVar[list[dict[str, str]]] = [
        {"code": f"from IPython.display import *; display({expression})", "mime": mime}
        for expression, mime in [
            ("HTML('<b>test</b>')", "text/html"),
            ("Math('\\\\frac{1}{2}')", "text/latex"),
            ("Latex('$x$')", "text/latex"),
            ("Markdown('*x*')", "text/markdown"),
            ("JSON({'a': [1, None]})", "application/json"),
            ("GeoJSON({'type': 'Point', 'coordinates': [0, 1]})", "application/geo+json"),
            ("Javascript('1')", "application/javascript"),
            ("SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')", "image/svg+xml"),
            ("Image(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(40), format='png')", "image/png"),
            ("Image(b'\\xff\\xd8\\xff' + bytes(40), format='jpeg')", "image/jpeg"),
            ("{'application/x-own': 1}, raw=True", "application/x-own"),
            ("'text'", "text/plain"),
        ]
    ]
    supported_history_operations = ("tail", "range", "search")
    code_history_pattern = "1?2*"
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"
    support_iopub_welcome = True


class TestCompiled(_Samples, _Installed, jupyter_kernel_test.KernelTests):
    router = "compiled"


class TestPlain(_Samples, _Installed, jupyter_kernel_test.KernelTests):
    router = "plain"


class TestWelcomeCompiled(_Samples, _Installed, jupyter_kernel_test.IopubWelcomeTests):
    router = "compiled"


class TestWelcomePlain(_Samples, _Installed, jupyter_kernel_test.IopubWelcomeTests):
    router = "plain"
