"""What cells show, beside ipykernel: display and its kin, hooks, and libraries that choose a format."""

from __future__ import annotations

import importlib.util

import pytest

from both import Both

DISPLAYS = [
    "display('x', display_id='a'); display('y', display_id='a', update=True)",
    "h = display('x', display_id='b'); h.update('z'); h.display('w')",
    "h = display(display_id='c'); h.update({'a': 1})",
    "update_display('q', display_id='was never shown')",
    "display()",
    "display(None)",
    "display({'text/plain': 'x', 'a/b': 3}, raw=True, metadata={'a/b': {'x': 1}}, transient={'k': 1})",
    "display(1, include=['text/html'])",
    "display('x', exclude=['text/plain'])",
    "display(HTML('<b>'), Markdown('x'), Latex('$x$'), JSON({'a': 1}), Code('x=1', language='python'))",
    "display(ProgressBar(3))",
    "publish_display_data({'text/plain': 'p'}, metadata={'m': 1}, transient={'display_id': 'z'})",
    "publish_display_data('no dict')",
    "publish_display_data({'text/plain': 'p'}, metadata=3)",
    "clear_output(); clear_output(wait=True); print('x')",
    "print('before'); clear_output(); print('after'); display(1); clear_output(wait=True); display(2)",
    "display({'image/png': b'\\x89PNG', 'application/pdf': b'1', 'image/gif': b'x'}, raw=True)",
    "display({'application/x': {1: 2, 'set': {1}, 'tuple': (1, (2,)), 'range': range(3)}}, raw=True)",
    "display({'application/x': datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)}, raw=True)",
    "Image(url='http://x/y.png')",
    "Image(b'\\x89PNG\\r\\n', format='png', width=3)",
    "Audio([0, 1, 0, 1], rate=8000)",
    "IFrame('x', 1, 2)",
    "SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')",
    "GeoJSON({'type': 'Point', 'coordinates': [0, 0]})",
    "1;",
    "1; 2",
    "import sys; sys.displayhook(5); 6",
    "class A:\n  def _repr_mimebundle_(self, **k): return {'text/plain': 'z', 'image/png': b'\\x89PNG'}\nA()",
    "class A:\n  def _repr_png_(s): return b'\\x89'\n  def _repr_jpeg_(s): return b'\\xd8', {'w': 1}\nA()",
    "class A:\n  def _ipython_display_(self): print('by itself')\nA()",
    "class R:\n  def __repr__(self): return 5\nR()",
    "class R:\n  def _repr_html_(self): 1/0\nR()",
    "class R:\n  def _ipython_display_(self): 1/0\nR()",
    "class R:\n  def _repr_mimebundle_(self, **k): 1/0\nR()",
    "%%html\n<b>",
    "%%javascript\n1",
    "%%latex\nx",
    "%%svg\n<svg/>",
    "%%markdown\nx",
    "%precision 2\n3.14159",
    "%precision\n3.14159",
    "%pprint\nlist(range(40))",
    "%pprint\nlist(range(40))",
    "%%capture c\nprint(1); display(2); 3",
    "c.show()",
    "c.outputs",
    "c()",
    "from IPython.utils.capture import capture_output\nwith capture_output() as c: display(1)\nc.outputs",
]


@pytest.mark.parametrize("code", DISPLAYS)
def test_display(both: Both, code: str) -> None:
    both.setup("import datetime\nfrom IPython.display import *")
    both.execute(code)


# --- hooks ---

HOOKS = """
import threading
pub, results = get_ipython().display_pub, get_ipython().displayhook
seen = []
def keep(message): seen.append(message)
def look(message): seen.append(message); return message
def change(message):
    message["content"]["data"]["text/plain"] = "changed"
    message["header"]["msg_type"] = "update_display_data"
    message["content"]["transient"] = {"display_id": "a"}
    message["metadata"] = {"meta": 1}
    message["buffers"] = [b"xx"]
    return message
def fail(message): 1 / 0
"""
KEPT = [
    "pub.register_hook(keep); display(1); print('text'); pub.clear_output(); pub.unregister_hook(keep)",
    "pub.unregister_hook(keep)",
    "[(sorted(m), m['msg_type'], m['content'], m['metadata']) for m in seen]",
    "m = seen[0]; m['header']['msg_type'], m['msg_id'] == m['header']['msg_id'], type(m['header']['date'])",
    "m['parent_header']['msg_type'], type(m['parent_header']['date'])",
    "sorted(m['header']), m['header']['session'] == pub.session.session == results.session.session",
    "pub.session.send(pub.pub_socket, 'own_message', {'a': 1}, parent=pub.parent_header) and None",
    "pub.register_hook(change); display(1); pub.unregister_hook(change)",
    "pub.register_hook(look); pub.register_hook(keep); display(2); seen[-1] is seen[-2]",
    "pub.unregister_hook(look), pub.unregister_hook(keep)",
    "pub.register_hook(fail); display(1)",
    "pub.unregister_hook(fail)",
    "pub.register_hook(keep)\nt = threading.Thread(target=display, args=['thread']); t.start(); t.join()",
    "pub.unregister_hook(keep)",
    "results.register_hook(look); 'result'",
    "seen[-1]['msg_type'], seen[-1]['content']['data']",
    "results.unregister_hook(look), results.unregister_hook(look)",
    "results.register_hook(keep); 'kept'",
    "results.unregister_hook(keep)",
    "pub.store_display_history",
    "pub.store_display_history = True; display('stored')",
    "pub.store_display_history = False; display('not stored')",
    "[[o.bundle for o in l if o.output_type == 'display_data'] for l in "
    "get_ipython().history_manager.outputs.values()][-2:]",
]


def test_hooks(both: Both) -> None:
    """Each cell on from the last: what hooks see, keep and change."""
    both.setup(HOOKS)
    for code in KEPT:
        both.execute(code)


# --- libraries ---

LIBRARIES = {
    "pandas": [
        "import pandas as pd; df = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']}); df",
        "df.a",
        "display(df, df.T)",
        "df.style.set_uuid('x')",
        "with pd.option_context('display.max_rows', 1): display(df)",
        "print(df)",
    ],
    "numpy": [
        "import numpy; numpy.arange(3)",
        "display({'application/x': [numpy.float64(1.5), numpy.int8(3), numpy.eye(2)]}, raw=True)",
        "numpy.float64(1.5)",
        "print(numpy.eye(2))",
    ],
    "rich": [
        "import rich, rich.table; rich.print('[bold]x[/bold]', {'a': 1})",
        "t = rich.table.Table('a'); t.add_row('1'); t",
        "from rich.console import Console; Console().print('[red]hi'); Console().is_jupyter",
        "from rich.progress import track\nfor i in track([1]): pass",
    ],
    "sympy": [
        "import sympy; sympy.init_printing(); sympy.Symbol('x') ** 2 / 3",
        "sympy.Matrix([[1, 2], [3, 4]])",
        "sympy.init_printing(pretty_print=False)",
    ],
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_library(both: Both, library: str) -> None:
    """It finds itself in a notebook, and shows the same as there."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    for code in LIBRARIES[library]:
        if "rich" in code and "track" in code:
            pytest.importorskip("ipywidgets")
            continue  # its bar has the time in it
        both.execute(code)
