"""Libraries recognise the kernel as a notebook: with ipykernel installed beside it, and without.

What they must choose is what they choose in ipykernel, in the same run. How they tell a notebook has
nothing to do with the router, so that one of them will do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests' own modules; pytest adds only tests/
import environments

from client import Client, Done
from conftest import RunningKernel

# Making the environments takes a minute, once.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIBRARIES = [
    "tqdm>=4.70",
    "rich",
    "plotly",
    "nbformat",  # by which plotly shows figures
    "pandas",
    "altair",
    "bokeh",
    "matplotlib",
    "sympy",
    "ipywidgets",
]
OLD_TQDM = "tqdm==4.60.0"


@pytest.fixture(scope="session")
def without(pytestconfig: pytest.Config) -> Any:
    """The libraries and what fastshell needs; no ipykernel."""
    return environments.environment(pytestconfig, "without", [*LIBRARIES, *environments.dependencies()])


@pytest.fixture(scope="session")
def with_ipykernel(pytestconfig: pytest.Config, without: Any) -> Any:
    """The same and ipykernel."""
    return environments.environment(pytestconfig, "with", ["ipykernel>=7.4,<7.5"], beneath=without)


@pytest.fixture(scope="session")
def old_tqdm(without: Any) -> Path:
    """A folder to be put into sys.path."""
    folder: Path = without.folder / "old-tqdm"
    if not (folder / "tqdm").exists():
        environments.install(without.python, [OLD_TQDM], "--no-deps", "--target", str(folder))
    return folder


def start(folders: pytest.TempPathFactory, where: Any, module: str) -> RunningKernel:
    argv = [where.python, "-m", module, "-f", "{connection_file}"]
    env = where.env | {"PYTHONPATH": ""}
    return RunningKernel(folders.mktemp("k"), argv, env, expects_welcome=module == "fastshell")


class Reference:
    """ipykernel in the environment that has it; it runs a cell once, however often it is asked."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._done: dict[str, Done] = {}

    def execute(self, code: str) -> Done:
        if code not in self._done:
            self._done[code] = self._client.execute(code, timeout_s=90)
        return self._done[code]


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, with_ipykernel: Any) -> Iterator[Reference]:
    running = start(tmp_path_factory, with_ipykernel, "ipykernel_launcher")
    yield Reference(running.client)
    running.kill()


@pytest.fixture(scope="module", params=["without ipykernel", "with ipykernel"])
def ours(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, without: Any
) -> Iterator[Client]:
    """A front end of fastshell, in either environment."""
    is_with = request.param == "with ipykernel"
    where = request.getfixturevalue("with_ipykernel") if is_with else without
    running = start(tmp_path_factory, where, "fastshell")
    yield running.client
    try:
        running.client.check()
        running.shutdown()
    finally:
        running.kill()


class Library(NamedTuple):
    """A cell, and what its output has in a notebook: mime types, result or text, targets of comms."""

    code: str
    shows: set[str]


WIDGET = "application/vnd.jupyter.widget-view+json"
LIBRARY = {
    "tqdm": Library(
        "from tqdm.auto import tqdm\nfrom tqdm.notebook import tqdm_notebook\nfor _ in tqdm(range(3)): pass\n"
        "issubclass(tqdm, tqdm_notebook)",
        {WIDGET, "jupyter.widget", "True"},
    ),
    "rich": Library(
        "from rich.console import Console\nfrom rich.table import Table\nfrom rich import print as show\n"
        "show('[bold]text[/]', Table('a'))\nConsole().is_jupyter",
        {"text/html", "True"},
    ),
    "plotly figure": Library(
        "import plotly.graph_objects as go\nimport plotly.io\n"
        "figure = go.Figure(go.Scatter(y=[1, 2]))\nfigure",
        {"application/vnd.plotly.v1+json"},
    ),
    "plotly show": Library("figure.show()", {"application/vnd.plotly.v1+json"}),
    "plotly renderer": Library("plotly.io.renderers.default", set()),
    "pandas": Library("import pandas\npandas.DataFrame({'a': [1]})", {"text/html"}),
    "pandas style": Library("pandas.DataFrame({'a': [1]}).to_html(notebook=True)[:4]", {"'<div'"}),
    "altair": Library(
        "import altair\naltair.Chart(pandas.DataFrame({'a': [1]})).mark_point().encode(x='a')",
        {"text/html"},
    ),
    "altair mime type": Library(
        "with altair.renderers.enable('mimetype'): display(altair.Chart().mark_point())",
        {"application/vnd.vegalite.v6.json"},
    ),
    "bokeh": Library(
        "from bokeh.io import output_notebook, push_notebook, show\n"
        "from bokeh.plotting import figure as plot\n"
        "output_notebook(hide_banner=True)\np = plot()\np.line([1, 2], [3, 4])\n"
        "handle = show(p, notebook_handle=True)\npush_notebook(handle=handle)",
        {"application/vnd.bokehjs_load.v0+json", "application/vnd.bokehjs_exec.v0+json"},
    ),
    "matplotlib": Library("import matplotlib.pyplot as plt\nplt.plot([1, 2]);", {"image/png"}),
    "matplotlib backend": Library("plt.get_backend()", {"'module://matplotlib_inline.backend_inline'"}),
    "sympy": Library(
        "import sympy\nsympy.init_printing()\nsympy.sqrt(sympy.Symbol('x')) / 2", {"text/latex"}
    ),
    "ipywidgets": Library("import ipywidgets\nipywidgets.IntSlider(3)", {WIDGET, "jupyter.widget"}),
    "interact": Library("ipywidgets.interact(lambda x: print('x is', x), x=3);", {WIDGET, "jupyter.widget"}),
    "ipython": Library("from IPython.display import HTML\ndisplay(HTML('<b>b</b>'))", {"text/html"}),
}


def seen(done: Done) -> list[Any]:
    """What came, without what differs from run to run: ids, and the text of objects that show theirs."""
    found: list[Any] = []
    for message in done.of("display_data", "execute_result", "stream", "error", "comm_open"):
        content = message.content
        if message.msg_type == "comm_open":
            is_id = content["target_name"][1:].isdecimal()  # bokeh's
            found.append(("comm_open", "an id" if is_id else content["target_name"]))
        elif message.msg_type in ("display_data", "execute_result"):
            found.append((message.msg_type, sorted(content["data"])))
        else:
            found.append((message.msg_type, content))
    return found


def words(done: Done) -> set[str]:
    """All mime types, targets of comms, and the result's text."""
    found = {mime for m in done.of("display_data", "execute_result") for mime in m.content["data"]}
    found |= {m.content["target_name"] for m in done.of("comm_open")}
    return found | {done.result or ""}


@pytest.mark.parametrize("library", LIBRARY.values(), ids=LIBRARY)
def test_library(ours: Client, reference: Reference, library: Library) -> None:
    expected = reference.execute(library.code).ok()
    done = ours.execute(library.code, timeout_s=90).ok()
    assert library.shows <= words(expected)
    assert library.shows <= words(done)
    assert seen(done) == seen(expected)


def test_old_tqdm(ours: Client, reference: Reference, old_tqdm: Path) -> None:
    """It looks for IPKernelApp in the configuration."""
    code = (
        f"import sys\nsys.path.insert(0, {str(old_tqdm)!r})\n"
        "for name in [name for name in sys.modules if name.split('.')[0] == 'tqdm']: del sys.modules[name]\n"
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass\n"
        "sys.modules['tqdm'].__version__"
    )
    expected, done = reference.execute(code).ok(), ours.execute(code).ok()
    assert done.result == "'4.60.0'"
    assert WIDGET in words(done)
    assert seen(done) == seen(expected)


def test_the_environment_is_what_it_says(ours: Client, request: pytest.FixtureRequest) -> None:
    is_with = "without" not in request.node.name
    found = ours.execute(
        "from importlib import metadata\n"
        "[one.name for one in metadata.distributions() if one.name == 'ipykernel']"
    )
    assert found.ok().result == str(["ipykernel"] if is_with else [])


@pytest.mark.parametrize(
    "fact",
    [
        "str(type(get_ipython()))",
        "'ipykernel.zmqshell' in __import__('sys').modules",
        "'IPKernelApp' in get_ipython().config",
        "__import__('ipykernel').version_info[0]",
        "__import__('ipykernel.comm').comm.Comm.__module__",
        "hasattr(__import__('ipykernel.iostream').iostream, 'nothing')",
    ],
)
def test_fact(ours: Client, reference: Reference, fact: str) -> None:
    assert ours.execute(fact).ok().result == reference.execute(fact).ok().result


def test_what_we_lack(ours: Client, request: pytest.FixtureRequest) -> None:
    """It comes from an installed ipykernel, or it is missing."""
    is_with = "without" not in request.node.name
    module = ours.execute("import ipykernel.heartbeat")
    attribute = ours.execute("import ipykernel.iostream\nipykernel.iostream.IOPubThread")
    assert (module.status, attribute.status) == (("ok", "ok") if is_with else ("error", "error"))
    if not is_with:
        assert (module.content["ename"], attribute.content["ename"]) == (
            "ModuleNotFoundError",
            "AttributeError",
        )
