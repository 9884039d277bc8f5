"""Comms and the libraries on them, beside ipykernel: widgets, callbacks that fail, buffers of any size."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from both import Both
from client import Client

SETUP = """
import comm
manager = comm.get_comm_manager()
seen = []
def opened(one, message):
    seen.append(("open", one.comm_id, message["content"]["data"]))
    one.on_msg(lambda message: (seen.append(("msg", message["content"]["data"])), one.send({"echo": 1})))
    one.on_close(lambda message: seen.append(("close", message["content"]["data"])))
def fails_to_open(one, message): 1 / 0
def fails(one, message):
    one.on_msg(lambda message: 1 / 0)
    one.on_close(lambda message: 1 / 0)
def says_bye(one, message):
    one.on_msg(lambda message: one.close({"bye": 1}))
for name in ("opened", "fails_to_open", "fails", "says_bye"): manager.register_target(name, globals()[name])
"""


@pytest.fixture
def comms(both: Both) -> Both:
    """Both kernels, with targets named as their functions in SETUP."""
    both.setup(SETUP)
    return both


def opens(comm_id: str, target_name: str, **data: Any) -> dict[str, Any]:
    return {"comm_id": comm_id, "target_name": target_name, "data": data}


def test_opened_by_the_front_end(comms: Both) -> None:
    comms.request("comm_open", opens("o-1", "opened", a=1))
    comms.request("comm_info_request", {"target_name": "opened"})
    comms.request("comm_info_request", {"target_name": "nobody"})
    comms.request("comm_msg", {"comm_id": "o-1", "data": {"b": 2}})
    comms.request("comm_msg", {"comm_id": "o-1", "data": {}})
    comms.execute(
        "manager.comms['o-1'].send({'from a cell': 1}, {'meta': 2}, [b'buffer', memoryview(b'xy')])"
    )
    comms.request("comm_close", {"comm_id": "o-1", "data": {"c": 3}})
    comms.request("comm_close", {"comm_id": "o-1", "data": {}})  # closed twice
    comms.request("comm_info_request", {"target_name": "opened"})
    comms.execute("seen")


def test_opened_by_the_kernel(comms: Both) -> None:
    """Its id is the kernel's; comm_info knows it, and the front end closes it."""
    comms.execute("c = comm.create_comm('front', data={'x': 1}, metadata={'m': 2}, buffers=[b'b'])")
    comms.execute(
        "c.on_msg(seen.append); c.on_close(lambda m: seen.append(m['content'])); c.primary, c.target_name"
    )
    comms.execute("c.send({'y': 2}); c.send(); manager.get_comm(c.comm_id) is c")
    for client in (comms.ours, comms.reference):
        comm_id = (client.execute("c.comm_id").result or "").strip("'")
        info = client.request("comm_info_request", {"target_name": "front"}).ok()
        assert info.content["comms"] == {comm_id: {"target_name": "front"}}
        client.request("comm_close", {"comm_id": comm_id, "data": {"bye": 1}})
        assert client.execute("seen[-1]['data'], c.comm_id in manager.comms").result == "({'bye': 1}, False)"
    comms.execute("c.close(); c.close()")
    comms.execute("d = comm.create_comm('front', target_module='module', comm_id='own-id'); d.comm_id")
    comms.execute("d.close({'reason': 1}); d.close()")
    comms.execute("d = comm.create_comm('front', comm_id='dropped'); del d; import gc; n = gc.collect()")
    comms.execute("x = manager.comms.pop('dropped'); x.send({'works': 1}); del x")


def test_message_as_callbacks_get_it(comms: Both) -> None:
    """Its keys and the types of its values, the date in its headers too."""
    comms.setup("def look(one, message): seen.append(message)\nmanager.register_target('look', look)")
    comms.request("comm_open", opens("l-1", "look", a=1), metadata={"m": 1}, buffers=[b"abc", b""])
    comms.execute("m = seen[-1]; {k: type(v).__name__ for k, v in sorted(m.items())}")
    comms.execute("{k: type(v).__name__ for k, v in sorted(m['header'].items())}")
    comms.execute("m['content'], m['metadata'], m['parent_header'], m['msg_type']")
    comms.execute("[(type(b).__name__, bytes(b), b.nbytes) for b in m['buffers']]")


@pytest.mark.parametrize(
    ("msg_type", "content"),
    [
        ("comm_open", opens("x-1", "nobody")),
        ("comm_open", opens("x-2", "fails_to_open")),
        ("comm_msg", {"comm_id": "unknown", "data": {}}),
        ("comm_close", {"comm_id": "unknown", "data": {}}),
    ],
)
def test_what_goes_wrong_is_told(comms: Both, msg_type: str, content: dict[str, Any]) -> None:
    """Unknown targets are answered by comm_close; all of it stands in stderr of the message."""
    for client in (comms.ours, comms.reference):
        done = client.request(msg_type, content)
        text = done.text("stderr")
        assert ("No such comm" in text) == (content.get("target_name") != "fails_to_open")
        assert ("ZeroDivisionError" in text) == (content.get("target_name") == "fails_to_open")
        closed = [m.content for m in done.of("comm_close")]
        assert closed == ([{"comm_id": content["comm_id"], "data": {}}] if msg_type == "comm_open" else [])
    comms.request("comm_info_request", {"target_name": content.get("target_name", "unknown")})
    comms.execute("1 + 1")


def test_callback_that_fails(comms: Both) -> None:
    """It is shown under its message, and the comm goes on."""
    comms.request("comm_open", opens("f-1", "fails"))
    for client in (comms.ours, comms.reference):
        for msg_type in ("comm_msg", "comm_msg", "comm_close"):
            done = client.request(msg_type, {"comm_id": "f-1", "data": {}})
            assert "ZeroDivisionError" in done.text("stderr")
    comms.request("comm_info_request", {"target_name": "fails"})
    comms.execute("1 + 1")


def test_callback_that_closes(comms: Both) -> None:
    comms.request("comm_open", opens("b-1", "says_bye"))
    comms.request("comm_msg", {"comm_id": "b-1", "data": {}})
    comms.request("comm_info_request", {"target_name": "says_bye"})


def test_target_by_import_string_and_without(comms: Both) -> None:
    comms.setup("manager.register_target('len', 'builtins.len')")
    comms.execute("manager.targets['len'] is len, manager.unregister_target('len', len) is len")
    comms.execute("'len' in manager.targets")


def test_events_around_a_callback(comms: Both) -> None:
    """pre_execute and post_execute: what shows figures and saves state hangs on them."""
    comms.setup(
        "events = get_ipython().events\n"
        "before = lambda: seen.append('before'); after = lambda: seen.append('after')\n"
        "seen.clear(); events.register('pre_execute', before); events.register('post_execute', after)"
    )
    comms.request("comm_open", opens("e-1", "opened"))
    comms.request("comm_msg", {"comm_id": "e-1", "data": {}})
    comms.setup("events.unregister('pre_execute', before); events.unregister('post_execute', after)")
    comms.execute("seen[1:5]")


def test_output_of_callbacks(comms: Both) -> None:
    """print, display and errors of a callback, and of a thread that it starts, come under its message."""
    comms.setup(
        "import threading\n"
        "def shows(one, message):\n"
        "    print('text'); display('shown')\n"
        "    t = threading.Thread(target=print, args=['thread']); t.start(); t.join()\n"
        "manager.register_target('shows', shows)"
    )
    done = comms.ours.request("comm_open", opens("s-1", "shows"))
    assert done.text() == "text\nthread\n"
    reference = comms.reference.request("comm_open", opens("s-1", "shows"))
    assert reference.text().startswith("text\n")
    assert [m.content for m in done.of("display_data")] == [m.content for m in reference.of("display_data")]


# --- buffers ---

PEAK = """
def peak_kib():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
def reset_peak():
    open("/proc/self/clear_refs", "w").write("5")
"""
SIZE = 64 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the memory is read from /proc")
def test_buffers_are_not_copied(client: Client) -> None:
    """Not on their way in, nor out: 64 MiB take their own place, and no second one.

    By the highest memory that the process had: coming in, the message itself is in memory once, and
    the callback's memoryviews show that very memory; going out, a buffer that is there already is sent.
    """
    client.execute(SETUP + PEAK + "import gc, numpy").ok()
    client.execute(
        "def take(one, message):\n    seen[:] = message['buffers']\nmanager.register_target('take', take)"
    ).ok()
    before = int(client.execute("gc.collect(); reset_peak(); peak_kib()").result or 0)
    client.request("comm_open", opens("in", "take"), buffers=[bytes(SIZE), b"small"])
    after = int(client.execute("peak_kib()").result or 0)
    assert SIZE // 1024 <= after - before < 1.5 * SIZE / 1024
    code = (
        "[(type(b).__name__, b.nbytes, type(b.obj).__name__ not in ('bytes', 'bytearray')) for b in seen[:1]]"
    )
    assert client.execute(code).result == f"[('memoryview', {SIZE}, True)]"
    client.execute(
        "seen.clear(); gc.collect(); array = numpy.ones(2**26, 'u1'); one = comm.create_comm('out')"
    ).ok()
    before = int(client.execute("gc.collect(); reset_peak(); peak_kib()").result or 0)
    sent = client.start("one.send({}, buffers=[array, memoryview(array)])")
    (message,) = client.finish(sent).ok().of("comm_msg")
    after = int(client.execute("peak_kib()").result or 0)
    assert after - before < 0.5 * SIZE / 1024
    assert [len(buffer) for buffer in message.buffers] == [SIZE, SIZE]
    assert bytes(message.buffers[1][-3:]) == b"\1\1\1"


@pytest.mark.parametrize(
    "expression",
    ["b'x' * 10", "bytearray(3)", "memoryview(b'abc')[1:]", "numpy.arange(4)", "b''", "numpy.eye(2)"],
)
def test_buffers_of_any_type(comms: Both, expression: str) -> None:
    pytest.importorskip("numpy")
    comms.setup("import numpy; one = comm.create_comm('out', comm_id='any')")
    comms.execute(f"one.send({{}}, buffers=[{expression}])")
    comms.setup("one.close()")


def test_buffer_that_is_not_contiguous(comms: Both) -> None:
    comms.setup("one = comm.create_comm('out', comm_id='strided')")
    for client in (comms.ours, comms.reference):
        assert client.execute("one.send({}, buffers=[memoryview(b'abcdef')[::2]])").status == "error"
    comms.setup("one.close()")


# --- ipywidgets ---

WIDGETS = {
    "slider": [
        "slider = w.IntSlider(value=3, max=9); slider",
        "slider.value = 5",
        "slider.max = 4",
        "slider.close()",
    ],
    "several": ["w.HBox([w.Text('a'), w.Dropdown(options=['x', 'y']), w.Checkbox()])"],
    "html": ["w.HTML('<b>x</b>')", "display(w.Label('l'), w.Button(description='b'))"],
    "image": ["i = w.Image(value=b'\\x89PNG'); i", "i.value = b'other'"],
    "interact": [
        "@w.interact(x=3, y=['a', 'b'])\ndef f(x, y): print(x, y)",
        "w.interactive_output(lambda x: display(x), {'x': w.IntSlider(2)})",
        "w.interact_manual(print, x=1)",
    ],
    "hold_sync": ["t = w.Text()\nwith t.hold_sync(): t.value = 'a'; t.placeholder = 'b'"],
    "link": ["a, b = w.IntText(), w.IntText(); l = w.link((a, 'value'), (b, 'value')); a.value = 7; b.value"],
    "jslink": ["w.jslink((w.IntText(), 'value'), (w.IntText(), 'value'))"],
    "output": [
        "out = w.Output(); out",
        "with out: print('inside'); display('shown')",
        "with out: 1 / 0",
        "out.append_stdout('appended'); out.append_display_data('d'); out.outputs",
        "out.clear_output(); out.outputs",
        "@out.capture()\ndef g(): print('captured'); return 3\ng()",
        "out.clear_output(wait=True)",
    ],
    "custom message": ["b = w.Button(); b.send({'custom': 1}, buffers=[b'xyz'])"],
    "observe": ["s = w.IntSlider(); s.observe(lambda c: print(c.name, c.old, c.new), 'value'); s.value = 2"],
    "color and date": [
        "import datetime; w.DatePicker(value=datetime.date(2020, 1, 1))",
        "w.ColorPicker(value='red')",
    ],
    "play": ["p = w.Play(); p"],
    "file": ["w.FileUpload()"],
    "repr": ["print(w.IntSlider(3))", "w.IntSlider(3).get_state()['value']"],
}


@pytest.mark.parametrize("name", WIDGETS)
def test_widgets(both: Both, name: str) -> None:
    """The same comm messages in the same order, and the same display."""
    pytest.importorskip("ipywidgets")
    both.setup("import ipywidgets as w, traitlets")
    for code in WIDGETS[name]:
        both.execute(code)


def test_widget_events(both: Both) -> None:
    """What the front end sends: an update, a click, a request for the state, a custom message, a close."""
    pytest.importorskip("ipywidgets")
    both.setup(
        "import ipywidgets as w\n"
        "slider, button, image = w.IntSlider(), w.Button(), w.Image()\n"
        "slider.observe(lambda change: print('value', change['new']), 'value')\n"
        "button.on_click(lambda b: print('clicked'))\n"
        "button.on_msg(lambda b, content, buffers: print(content, [bytes(one) for one in buffers]))\n"
        "out = w.Output()\n"
        "@out.capture()\ndef inside(b): print('inside')\n"
        "button2 = w.Button(); button2.on_click(inside)\n"
        "bad = w.Button(); bad.on_click(lambda b: 1 / 0)"
    )
    update = {"method": "update", "state": {"value": 7}, "buffer_paths": []}
    image = {"method": "update", "state": {}, "buffer_paths": [["value"]]}
    click = {"method": "custom", "content": {"event": "click"}}
    for name, data, buffers in [
        ("slider", update, []),
        ("slider", {"method": "request_state"}, []),
        ("button", click, []),
        ("button", {"method": "custom", "content": {"a": 1}}, [b"xyz"]),
        ("button2", click, []),
        ("image", image, [b"\x89PNG"]),
    ]:
        content = {client: _content(client, name, data) for client in (both.ours, both.reference)}
        ours, reference = (client.request("comm_msg", content[client], buffers=buffers) for client in content)
        assert _kinds(ours) == _kinds(reference), name
        assert ours.text() == reference.text(), name
    for client in (both.ours, both.reference):
        done = client.request("comm_msg", _content(client, "bad", click))
        assert done.error is not None and done.error["ename"] == "ZeroDivisionError"
    both.execute("slider.value, image.value, out.outputs")


def _content(client: Client, name: str, data: dict[str, Any]) -> dict[str, Any]:
    comm_id = (client.execute(f"{name}.comm.comm_id").result or "").strip("'")
    return {"comm_id": comm_id, "data": data}


def _kinds(done: Any) -> list[Any]:
    return [(m.msg_type, m.content.get("data", {}).get("method")) for m in done.of("comm_msg", "comm_close")]


def test_a_thousand_widgets(client: Client) -> None:
    """All open, all in comm_info, all updated by the front end in one go, all closed."""
    pytest.importorskip("ipywidgets")
    done = client.execute(
        "import ipywidgets as w\nmany = [w.IntText() for _ in range(1000)]", timeout_s=60
    ).ok()
    opened = {m.content["comm_id"] for m in done.of("comm_open")}
    assert len(opened) == 3000  # each with its layout and style
    ids = client.execute("print(*[m.comm.comm_id for m in many])").ok().text().split()
    info = client.request("comm_info_request", {"target_name": "jupyter.widget"}, timeout_s=60).ok()
    assert opened <= set(info.content["comms"])
    update = {"method": "update", "buffer_paths": []}
    sent = [
        client.send("comm_msg", {"comm_id": one, "data": update | {"state": {"value": number}}})
        for number, one in enumerate(ids)
    ]
    for msg_id in sent:
        client.finish(msg_id, timeout_s=60)
    assert client.execute("[m.value for m in many] == list(range(1000))").result == "True"
    done = client.execute("w.Widget.close_all()", timeout_s=60).ok()
    assert opened <= {m.content["comm_id"] for m in done.of("comm_close")}
    assert client.request("comm_info_request", {"target_name": "jupyter.widget"}).ok().content["comms"] == {}


# --- other libraries on comms ---


def test_anywidget(both: Both) -> None:
    """Its view is its display; traits and custom messages go both ways."""
    pytest.importorskip("anywidget")
    both.setup(
        "import anywidget, traitlets\n"
        "class Counter(anywidget.AnyWidget):\n"
        "    _esm = 'export default {}'\n"
        "    value = traitlets.Int(0).tag(sync=True)\n"
        "    def _handle_custom_msg(self, content, buffers): self.send({'got': content}, buffers=buffers)"
    )
    both.execute("counter = Counter(); counter")
    both.execute("counter.value = 3")
    update = {"method": "update", "state": {"value": 7}, "buffer_paths": []}
    custom = {"method": "custom", "content": {"a": 1}}
    for client in (both.ours, both.reference):
        client.request("comm_msg", _content(client, "counter", update))
        assert client.execute("counter.value").result == "7"
        done = client.request("comm_msg", _content(client, "counter", custom), buffers=[b"xyz"])
        (message,) = [m for m in done.of("comm_msg") if m.content["data"]["method"] == "custom"]
        assert message.content["data"]["content"] == {"got": {"a": 1}}
        assert [bytes(b) for b in message.buffers] == [b"xyz"]


def test_bokeh(both: Both) -> None:
    """push_notebook reaches a plot through the comm that showing it has opened."""
    pytest.importorskip("bokeh")
    both.setup(
        "from bokeh.io import output_notebook, push_notebook, show\n"
        "from bokeh.plotting import figure\n"
        "from bokeh.resources import INLINE"
    )
    kinds = []
    for client in (both.ours, both.reference):
        loaded = client.execute("output_notebook(INLINE, hide_banner=True)", timeout_s=60).ok()
        shown = client.execute(
            "p = figure(width=50, height=50); line = p.line([1, 2], [3, 4])\n"
            "handle = show(p, notebook_handle=True)",
            timeout_s=60,
        ).ok()
        pushed = client.execute(
            "line.data_source.data['y'] = [4, 3]; push_notebook(handle=handle); handle.comms.comm_id != ''"
        ).ok()
        assert pushed.of("comm_msg")
        kinds.append(
            [
                [(m.msg_type, sorted(m.content.get("data", {}))) for m in done.iopub]
                for done in (loaded, shown)
            ]
        )
    assert kinds[0] == kinds[1]
