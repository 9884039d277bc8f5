"""Windows live while no cell runs, and the kernel answers as if there were none (stories S7, ipykernel#1454).

Toolkits: Tk on an X display (a running one, or Xvfb's), Qt without one by its `offscreen` platform. A test
is skipped where its toolkit is not there. Nothing is timed: a window prints when it has counted far enough.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from conftest import FASTSHELL, RunningKernel

# A window with a timer of 2 ms that counts in `n`, says so at `goal`, and calls what it finds in `todo`.
WINDOW = textwrap.dedent("""
    n, goal, todo = 0, -1, []
    def tick():
        global n
        n += 1
        if n == goal:
            print("goal", flush=True)
        while todo:
            todo.pop()()
""")
TICKS = {
    "tk": WINDOW
    + textwrap.dedent("""
    import tkinter
    root = tkinter.Tk()
    def again():
        root.after(2, again)
        tick()
    again()
    def close():
        root.destroy()
    """),
    "qt": WINDOW
    + textwrap.dedent("""
    from IPython.external.qt_for_kernel import QtCore, QtGui
    window = QtGui.QLabel("hello")
    window.show()
    timer = QtCore.QTimer()
    timer.timeout.connect(tick)
    timer.start(2)
    def close():
        timer.stop()
        window.close()
    """),
}
BACKENDS = {"tk": "tkagg", "qt": "qtagg"}


@pytest.fixture(scope="module")
def display():
    """The environment of a kernel that opens windows."""
    if "DISPLAY" in os.environ or sys.platform in ("win32", "darwin"):
        yield {}
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("no X display, and no Xvfb to make one")
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    with os.fdopen(read_end) as number:
        name = number.readline().strip()
    try:
        assert name, "Xvfb does not start"
        yield {"DISPLAY": f":{name}"}
    finally:
        server.terminate()
        server.wait(10)


def needs_qt():
    bindings = ("PyQt6", "PySide6", "PyQt5", "PySide2")
    if not any(importlib.util.find_spec(name) for name in bindings):
        pytest.skip("no Qt: none of " + ", ".join(bindings))


@pytest.fixture(scope="module", params=["tk", "qt"])
def gui(request):
    """The name for %gui, of each toolkit that is there."""
    if request.param == "qt":
        needs_qt()
    else:
        pytest.importorskip("tkinter", reason="this Python has no Tk")
    return request.param


@pytest.fixture(scope="module")
def environment(gui, request):
    if gui == "qt":
        return {"QT_QPA_PLATFORM": "offscreen"}
    return request.getfixturevalue("display")


@pytest.fixture(scope="module")
def window_kernel(gui, environment, router, tmp_path_factory):
    """A kernel with a window, for all tests of the module."""
    env = {"FASTSHELL_ROUTER": router, **environment}
    running = RunningKernel(tmp_path_factory.mktemp("k"), FASTSHELL, env)
    running.client.execute(f"%gui {gui}").ok()
    running.client.execute(TICKS[gui]).ok()
    yield running
    running.shutdown()


@pytest.fixture
def client(window_kernel, gui):
    """A front end of that kernel, with %gui on."""
    client = window_kernel.new_client()
    done = client.execute(f"%gui {gui}").ok()
    assert done.text("stderr") == ""
    yield client
    try:
        client.check()
    finally:
        client.close()
        window_kernel.print_stderr()


def goals(client):
    """How often the window has said so; what a callback prints belongs to the cell that ran last."""
    return sum(m.content["text"].count("goal") for m in client.received if m.msg_type == "stream")


def wait_ticks(client, count=20):
    """Until the window has counted on by so many, with no cell running."""
    before = goals(client)
    client.execute(f"goal = n + {count}").ok()
    client.wait(lambda: goals(client) > before, "goal")


def counted(client):
    return int(client.execute("n").ok().result)


def test_a_window_lives_between_cells(client):
    wait_ticks(client)
    before = counted(client)
    wait_ticks(client)
    assert counted(client) >= before + 20


def test_requests_are_answered_meanwhile(client):
    before = goals(client)
    client.execute("goal = n + 50").ok()
    assert client.request("complete_request", {"code": "prin", "cursor_pos": 4}).ok().content["matches"]
    assert client.execute("6 * 7").result == "42"
    assert client.request("kernel_info_request").status == "ok"
    client.wait(lambda: goals(client) > before, "goal")


def test_a_window_lives_while_requests_never_cease(client):
    before = goals(client)
    client.execute("goal = n + 20").ok()
    waiting = [client.start("n", silent=True) for _ in range(20)]
    while goals(client) == before:  # for ever, if it starves
        waiting.append(client.start("n", silent=True))
        client.finish(waiting.pop(0)).ok()
    for one in waiting:
        client.finish(one).ok()


def test_tasks_and_timers_of_the_loop_go_on(client):
    code = """
    import asyncio
    async def steps():
        for _ in range(5):
            await asyncio.sleep(0.001)
        print("task", flush=True)
    task = asyncio.create_task(steps())
    asyncio.get_running_loop().call_later(0.02, print, "timer")
    """
    msg_id = client.start(textwrap.dedent(code))
    client.finish(msg_id)
    client.wait_text(msg_id, "task")
    client.wait_text(msg_id, "timer")
    wait_ticks(client)


def test_a_callback_of_the_window_starts_a_task(client):
    code = """
    async def later():
        await asyncio.sleep(0)
        print("from the window", flush=True)
    tasks = []
    todo.append(lambda: tasks.append(asyncio.create_task(later())))
    """
    msg_id = client.start("import asyncio" + textwrap.dedent(code))
    client.finish(msg_id)
    client.wait_text(msg_id, "from the window")


def test_a_window_lives_while_a_cell_awaits(client):
    code = """
    import asyncio
    start = n
    while n < start + 20:
        await asyncio.sleep(0.001)
    """
    client.execute(textwrap.dedent(code)).ok()


def test_subshells_answer_and_cannot_have_it(client, gui):
    subshell_id = client.create_subshell()
    wait_ticks(client)
    assert client.execute("6 * 7", subshell_id=subshell_id).result == "42"
    refused = client.execute(f"%gui {gui}", subshell_id=subshell_id).ok()
    assert "main thread" in refused.text("stderr")
    assert client.execute("%matplotlib --list", subshell_id=subshell_id).ok().text()
    client.delete_subshell(subshell_id).ok()
    wait_ticks(client)


def test_an_awaiting_cell_is_interrupted(client):
    msg_id = client.start("import asyncio\nprint('awaits')\nawait asyncio.sleep(60)")
    client.wait_text(msg_id, "awaits")
    client.interrupt()
    assert client.finish(msg_id).error["ename"] == "KeyboardInterrupt"
    wait_ticks(client)


def test_a_callback_that_hangs_is_interrupted(client):
    code = """
    def hang():
        print("hangs", flush=True)
        while True:
            pass
    todo.append(hang)
    """
    msg_id = client.start(textwrap.dedent(code))
    client.wait_text(msg_id, "hangs")
    behind = client.start("6 * 7")
    client.interrupt()
    assert client.finish(behind).result == "42"
    client.wait_text(msg_id, "KeyboardInterrupt", "stderr")
    wait_ticks(client)


def test_an_interrupt_between_cells_does_nothing(client):
    wait_ticks(client)
    client.interrupt()
    wait_ticks(client)
    assert client.execute("6 * 7").result == "42"


def test_a_callback_that_raises_is_shown(client):
    msg_id = client.start("todo.append(lambda: 1 / 0)")
    client.finish(msg_id)
    client.wait_text(msg_id, "ZeroDivisionError", "stderr")
    wait_ticks(client)


def test_input_reads_the_channel_itself(client):
    msg_id = client.start("answer = input()")
    client.wait_question(msg_id)
    behind = client.start("answer * 2")  # arrives while the cell asks
    client.answer(msg_id, "ab")
    client.finish(msg_id).ok()
    assert client.finish(behind).result == "'abab'"
    wait_ticks(client)


def test_off_and_on(client, gui):
    client.execute("%gui").ok()
    assert client.execute("get_ipython().kernel.eventloop").result is None
    # Long enough for a hundred ticks, on the very loop that would make them.
    still = client.execute("import asyncio\nbefore = n\nawait asyncio.sleep(0.2)\nn - before")
    assert still.result == "0"
    assert client.execute("'select' in vars(get_ipython().kernel.main_shell.selector)").result == "False"
    client.execute(f"%gui {gui}").ok()
    wait_ticks(client)


def test_eventloop_of_the_kernel(client, gui):
    code = "from fastshell.interpreter import eventloops\nkernel = get_ipython().kernel\n"
    client.execute(code).ok()
    assert client.execute(f"kernel.eventloop is eventloops.loop_map[{gui!r}]").result == "True"
    assert client.execute("get_ipython().active_eventloop").result == repr(gui)
    client.execute("kernel.eventloop = None").ok()
    still = client.execute("import asyncio\nbefore = n\nawait asyncio.sleep(0.1)\nn - before")
    assert still.result == "0"
    client.execute(f"kernel.eventloop = eventloops.loop_map[{gui!r}]").ok()
    wait_ticks(client)


def test_another_toolkit_is_refused(client, gui):
    other = {"tk": "qt", "qt": "tk"}[gui]
    done = client.execute(f"%gui {other}").ok()
    assert "Cannot activate multiple GUI eventloops" in done.text("stderr")
    wait_ticks(client)


def test_the_last_window_closes_and_another_opens(kernel, gui, environment):
    running = kernel(env=environment)
    client = running.client
    client.execute(f"%gui {gui}").ok()
    assert client.execute("'no window yet'").ok().result
    for _ in range(2):
        client.execute(TICKS[gui]).ok()
        wait_ticks(client)
        client.execute("close()").ok()
        assert client.execute("6 * 7").result == "42"
    client.execute(TICKS[gui]).ok()
    wait_ticks(client)
    running.shutdown()  # with a window
    assert "Traceback" not in running.stderr()


def test_figures_of_matplotlib_are_windows(kernel, gui, environment, display):
    client = kernel(env=environment | display).client  # it looks for the display itself
    shown = client.execute(f"%matplotlib {gui}").ok()
    assert shown.text() == ""
    code = """
    import matplotlib, matplotlib.pyplot as plt
    fig, ax = plt.subplots()
    def drawn(event):
        print("drawn", flush=True)
    fig.canvas.mpl_connect("draw_event", drawn)
    ax.plot([1, 2, 3])
    plt.show()
    print("goes on")
    """
    msg_id = client.start(textwrap.dedent(code))
    done = client.finish(msg_id).ok()  # show() did not wait for the window to be closed
    assert "goes on" in done.text()
    client.wait_text(msg_id, "drawn")
    assert done.of("display_data") == []
    assert client.execute("matplotlib.get_backend(), matplotlib.is_interactive()").result == repr(
        (BACKENDS[gui], True)
    )
    again = client.start("ax.set_title('other')")  # drawn anew without being asked
    client.finish(again).ok()
    client.wait(lambda: client.text(again) or client.text(msg_id).count("drawn") > 1, "a second drawing")
    client.execute("plt.close('all')").ok()
    inline = client.execute("%matplotlib inline\nplt.plot([1, 2])\nplt.show()").ok()
    assert ["image/png" in m.content["data"] for m in inline.of("display_data")] == [True]
    assert client.execute("get_ipython().kernel.eventloop").ok().result is None


# --- without a toolkit ---


def test_an_unknown_name_is_an_error_as_in_ipykernel(kernel, reference_kernel):
    ours, theirs = (
        start().client.execute("%gui nonsense").ok().text("stderr") for start in (kernel, reference_kernel)
    )
    assert ours == theirs
    assert "Invalid GUI request 'nonsense', valid ones are:" in ours


def test_magics_say_the_same_as_in_ipykernel(shared_kernel, reference_kernel):
    clients = [shared_kernel.client, reference_kernel().client]
    for code in ("%matplotlib --list", "%matplotlib", "%pylab", "%pylab --no-import-all inline"):
        ours, theirs = (client.execute(code).ok().text() for client in clients)
        assert ours == theirs
        assert ours
    names = "sorted(set(globals()) & {'np', 'plt', 'plot', 'sin', 'figsize'})"
    ours, theirs = (client.execute(names).ok().result for client in clients)
    assert ours == theirs == "['figsize', 'np', 'plot', 'plt', 'sin']"


@pytest.mark.parametrize("gui", ["wx", "gtk3", "osx"])
def test_a_toolkit_that_is_not_there(gui, shared_kernel):
    if importlib.util.find_spec({"wx": "wx", "gtk3": "gi", "osx": "objc"}[gui]) or sys.platform == "darwin":
        pytest.skip(f"the toolkit of {gui} is there")
    done = shared_kernel.client.execute(f"%gui {gui}").ok()
    assert f"the toolkit for %gui {gui} is not installed" in done.text("stderr")
    assert shared_kernel.client.execute("get_ipython().kernel.eventloop").ok().result is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a display is always there")
def test_qt_without_a_display_does_not_end_the_kernel(kernel):
    needs_qt()
    client = kernel(env={"DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}).client
    assert "Qt finds no display" in client.execute("%gui qt").ok().text("stderr")
    assert client.execute("6 * 7").result == "42"


def test_asyncio_needs_no_integration(shared_kernel):
    client = shared_kernel.client
    assert client.execute("%gui asyncio").ok().text("stderr") == ""
    assert client.execute("'select' in vars(get_ipython().kernel.main_shell.selector)").result == "False"
    msg_id = client.start(
        "import asyncio; asyncio.get_running_loop().call_later(0.01, lambda: print('later', flush=True))"
    )
    client.finish(msg_id).ok()
    client.wait_text(msg_id, "later")
    client.execute("%gui").ok()


INTEGRATION = """
import time
from ipykernel.eventloops import enable_gui, loop_map, register_integration

turns = []

@register_integration("mine", "my")
def loop_mine(kernel):
    assert kernel is get_ipython().kernel
    turns.append(threading.current_thread() is threading.main_thread())
    if len(turns) == 10:
        print("ten turns", flush=True)
    if fails:
        raise ValueError("no more")
    time.sleep(kernel._poll_interval)

@loop_mine.exit
def loop_mine_exit(kernel):
    with open(path, "w") as file:
        file.write("ended")

import threading
fails = False
"""


def test_an_integration_of_somebody_else(kernel, tmp_path):
    path = tmp_path / "ended"
    running = kernel()
    client = running.client
    client.execute(INTEGRATION + f"path = {str(path)!r}").ok()
    assert client.execute("loop_map['my'] is loop_map['mine'] is loop_mine").result == "True"
    msg_id = client.start("%gui mine")
    client.finish(msg_id).ok()
    client.wait_text(msg_id, "ten turns")
    assert client.execute("set(turns)").result == "{True}"
    client.execute("enable_gui(None)").ok()  # without a kernel: that of this process
    assert client.execute("get_ipython().kernel.eventloop").ok().result is None
    client.execute("enable_gui('my', get_ipython().kernel)").ok()
    assert client.execute("get_ipython().kernel.eventloop is loop_mine").result == "True"
    assert not path.exists()
    running.shutdown()
    assert path.read_text() == "ended"


def test_an_integration_that_fails_is_shown_and_off(kernel):
    client = kernel().client
    client.execute(INTEGRATION).ok()
    msg_id = client.start("fails = True\n%gui my")
    client.finish(msg_id).ok()
    client.wait_text(msg_id, "ValueError: no more", "stderr")
    assert client.execute("get_ipython().kernel.eventloop, len(turns)").result == "(None, 1)"


def test_an_integration_that_watches_the_stream_of_the_main_shell(kernel):
    """As ipykernel's own do it, with the descriptor and `flush`."""
    client = kernel().client
    code = """
    import select, zmq
    from ipykernel.eventloops import get_shell_stream, register_integration
    turns = 0

    @register_integration("watching")
    def loop_watching(kernel):
        global turns
        turns += 1
        stream = get_shell_stream(kernel)
        while not stream.flush(limit=1):
            select.select([stream.getsockopt(zmq.FD)], [], [])
        if turns == 5:
            print("five turns", flush=True)
    """
    client.execute(textwrap.dedent(code)).ok()
    msg_id = client.start("%gui watching")
    client.finish(msg_id).ok()
    client.wait_text(msg_id, "five turns")
    assert client.execute("6 * 7").result == "42"
