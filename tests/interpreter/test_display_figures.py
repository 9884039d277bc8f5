"""Figures of matplotlib, inline and as widgets, beside ipykernel: the same formats at the same moments."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from both import Both
from client import Client

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.timeout(120)

START = """
import os
import matplotlib.pyplot as plt
from matplotlib_inline.config import InlineBackend
os.environ["SOURCE_DATE_EPOCH"] = "0"  # the date in svg
plt.rcParams.update({"svg.hashsalt": "same", "figure.figsize": (1, 1)})
%matplotlib inline
backend = InlineBackend.instance()
backend.figure_formats = {"png"}
backend.print_figure_kwargs = {"bbox_inches": None}
"""


@pytest.fixture
def plots(both: Both) -> Iterator[Both]:
    """Both kernels with pyplot as at the start, and no figure."""
    both.setup(START)
    yield both
    both.setup("plt.close('all')")


SEQUENCES = {
    "at the end of the cell": [
        "plt.plot([1, 2])",
        "plt.plot([1, 2]); 'result'",
        "plt.figure(); plt.plot([1]); plt.figure(); plt.plot([2]);",
        "plt.plot([1]); print('text'); 1 / 0",
        "'nothing is left'",
        "plt.get_fignums()",
    ],
    "by show": [
        "plt.plot([1]); print('before'); plt.show(); print('after')",
        "plt.plot([1]); plt.draw(); plt.pause(0.01)",
        "f, a = plt.subplots(1, 2); f.show()",
        "plt.show()",
    ],
    "by display": [
        "f, a = plt.subplots(); display(f); plt.close(f)",
        "f",
        "fig = plt.figure(); fig",
        "from matplotlib.figure import Figure; Figure()",
    ],
    "closed": ["plt.plot([1]); plt.close()", "plt.plot([1]); plt.close('all'); 1"],
    "left open": [
        "%config InlineBackend.close_figures = False",
        "plt.plot([1]);",
        "plt.get_fignums()",
        "plt.plot([2]);",
        "plt.close('all')",
        "%config InlineBackend.close_figures = True",
    ],
    "svg": ["%config InlineBackend.figure_formats = ['svg']", "plt.plot([1]);"],
    "two formats": ["%config InlineBackend.figure_formats = ['png', 'svg']", "plt.plot([1]);"],
    "retina": ["%config InlineBackend.figure_format = 'retina'", "plt.plot([1]);"],
    "jpeg": [
        "%config InlineBackend.figure_formats = ['jpeg']",
        "plt.plot([1]);",
    ],
    "keywords": [
        "%config InlineBackend.print_figure_kwargs = {'bbox_inches': None, 'facecolor': 'r'}",
        "plt.plot([1]);",
        "%config InlineBackend.print_figure_kwargs = {}",
        "plt.plot([1]);",
    ],
    "rc": [
        "%config InlineBackend.rc = {'figure.figsize': (2, 2)}",
        "%matplotlib inline",
        "plt.rcParams['figure.figsize'], plt.plot([1])[0].figure.get_size_inches()",
        "%config InlineBackend.rc = {}",
    ],
    "set_matplotlib_formats": [
        "from matplotlib_inline.backend_inline import set_matplotlib_formats, set_matplotlib_close",
        "set_matplotlib_formats('svg')",
        "plt.plot([1]);",
        "set_matplotlib_close(False)",
        "plt.plot([1]); plt.get_fignums()",
        "set_matplotlib_close(True)",
        "set_matplotlib_formats('png')",
    ],
    "not interactive": [
        "plt.ioff(); plt.plot([1]); plt.isinteractive()",
        "plt.get_fignums()",
        "plt.show()",
        "plt.ion(); plt.isinteractive()",
    ],
    "inline twice": ["%matplotlib inline", "%matplotlib inline", "plt.plot([1]);", "plt.get_backend()"],
    "agg and back": [
        "%matplotlib agg",
        "plt.plot([1]);",
        "plt.close('all')",
        "%matplotlib inline",
        "plt.plot([1]);",
    ],
    "settings": ["%matplotlib", "%matplotlib --list", "%config InlineBackend", "plt.get_backend()"],
    "environment": ["import os; os.environ.get('MPLBACKEND')", "plt.isinteractive()"],
    "in a thread": [
        "import threading\ndef draw(): plt.plot([1])\nt = threading.Thread(target=draw); t.start(); t.join()",
    ],
    "async cell": ["import asyncio; plt.plot([1]); await asyncio.sleep(0)"],
    "silent": ["plt.plot([1]);"],
    "animation": [
        "from matplotlib.animation import FuncAnimation\n"
        "f, a = plt.subplots(); l, = a.plot([1])\n"
        "n = len(FuncAnimation(f, lambda i: [l], frames=2).to_jshtml()) > 100; plt.close(f); n"
    ],
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_inline(plots: Both, name: str) -> None:
    for code in SEQUENCES[name]:
        plots.execute(code, silent=name == "silent")


def test_pandas_plot(plots: Both) -> None:
    pytest.importorskip("pandas")
    plots.execute("import pandas; pandas.DataFrame({'a': [1, 2]}).plot()")


def test_retina_is_twice_as_large(plots: Both) -> None:
    """Not only alike: the image has twice the pixels that its metadata says."""
    plots.setup("from matplotlib_inline.backend_inline import set_matplotlib_formats as f; f('retina')")
    (message,) = plots.execute("plt.figure(figsize=(2, 1), dpi=100); plt.plot([1]);").of("display_data")
    png = base64.b64decode(message.content["data"]["image/png"])
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    assert message.content["metadata"]["image/png"] == {"width": width // 2, "height": height // 2}


def test_unknown_format(plots: Both) -> None:
    """It is named. The formats that there are come in any order, so the text is not compared."""
    for client in (plots.ours, plots.reference):
        done = client.execute("%config InlineBackend.figure_formats = ['bogus']").ok()
        assert "not 'bogus'" in done.text("stderr")


WIDGET = [
    "%matplotlib widget\nplt.rcParams['figure.figsize'] = (1, 1)",
    "f = plt.figure()",
    "plt.plot([1, 2]);",
]


def test_ipympl(plots: Both) -> None:
    """A figure is a widget: its comms open, its view is shown, and the front end's events reach it."""
    pytest.importorskip("ipympl")
    for code in WIDGET:
        plots.execute(code)
    seen: list[list[object]] = []
    for client in (plots.ours, plots.reference):
        model = client.execute("f.canvas.comm.comm_id").result
        content = {"comm_id": (model or "").strip("'"), "data": _event({"type": "send_image_mode"})}
        done = client.request("comm_msg", content)
        drawn = client.request("comm_msg", content | {"data": _event({"type": "draw"})})
        seen.append([m.content["data"] for m in done.of("comm_msg") + drawn.of("comm_msg")])
        seen[-1] += [bytes(m.buffers[0]) for m in drawn.of("comm_msg") if m.buffers]
    assert seen[0] == seen[1]
    assert isinstance(seen[0][-1], bytes)  # the image
    plots.setup("plt.close('all')\n%matplotlib inline")


def _event(content: dict[str, object]) -> dict[str, object]:
    return {"method": "custom", "content": content}


def test_figure_of_a_callback(plots: Both) -> None:
    """A figure that a comm message's handler draws comes under that message."""
    for client in (plots.ours, plots.reference):
        client.execute(
            "import comm\n"
            "def opened(one, message): plt.plot([1])\n"
            "comm.get_comm_manager().register_target('draws', opened)"
        ).ok()
        done = _shown_by_comm(client)
        assert done in ([], ["image/png"])
    assert _shown_by_comm(plots.ours) == _shown_by_comm(plots.reference)


def _shown_by_comm(client: Client) -> list[str]:
    content = {"comm_id": "draws-1", "target_name": "draws", "data": {}}
    done = client.request("comm_open", content)
    shown = [mime for m in done.of("display_data") for mime in m.content["data"] if mime != "text/plain"]
    client.execute("plt.close('all')").ok()
    return shown
