"""configuration.py: files, command line and start-up code mean what they mean to ipykernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]


def ask(running: Any, *expressions: str) -> list[Any]:
    """The values of expressions, which have to be literals, in a kernel."""
    asked = f"print(__import__('json').dumps([{', '.join(expressions)}]))"
    answer: list[Any] = json.loads(running.client.execute(asked).ok().text())
    return answer


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """The default profile of an IPython folder of its own: its parent."""
    folder = tmp_path / "ipython" / "profile_default"
    (folder / "startup").mkdir(parents=True)
    return folder


def write_profile(profile: Path) -> None:
    """One of each kind of file; each says what the next one overrides."""
    (profile / "ipython_config.py").write_text(
        "c.InteractiveShell.cache_size = 101\n"
        "c.InteractiveShell.ast_node_interactivity = 'all'\n"
        "c.InteractiveShellApp.exec_lines = ['from_lines = 1; total = globals().get(\"total\", 0) + 1']\n"
        "c.PlainTextFormatter.float_precision = '%.2f'\n"
    )
    (profile / "ipython_kernel_config.py").write_text(
        "c.InteractiveShell.cache_size = 102\n"
        "c.IPKernelApp.exec_files = ['extra.ipy']\n"
        "c.InteractiveShellApp.extensions = ['an_extension']\n"
        "c.InlineBackend.figure_formats = {'svg'}\n"
        "c.HistoryManager.hist_file = ':memory:'\n"
        "c.Kernel.stop_on_error_timeout = 0.25\n"
        "c.IPythonKernel.use_experimental_completions = False\n"
        "c.IPCompleter.use_jedi = True\n"
    )
    (profile / "ipython_kernel_config.json").write_text(
        json.dumps({"InteractiveShell": {"cache_size": 103}, "StoreMagics": {"autorestore": False}})
    )
    (profile / "startup" / "10-first.py").write_text("order = ['py']\nimport __main__\n")
    (profile / "startup" / "20-second.ipy").write_text("order.append('ipy')\nhere = !echo one\n")
    (profile.parent / "extra.ipy").write_text("order.append('exec_file')\n%env FROM_EXEC_FILE=yes\n")


QUESTIONS = (
    "order",
    "list(here)",
    "from_lines",
    "total",
    "get_ipython().cache_size",
    "get_ipython().ast_node_interactivity",
    "get_ipython().autocall",
    "get_ipython().history_manager.hist_file",
    "get_ipython().Completer.use_jedi",
    "get_ipython().display_formatter.formatters['text/plain'].float_precision",
    "get_ipython().kernel.stop_on_error_timeout",
    "get_ipython().kernel.use_experimental_completions",
    "sorted(name for name, section in get_ipython().config.items() if section)",
    "get_ipython().kernel.config == get_ipython().config",
    "get_ipython().config.InteractiveShell.cache_size",
    "__import__('os').environ['FROM_EXEC_FILE']",
    "__import__('os').path.basename(get_ipython().profile_dir.location)",
    "'an_extension' in get_ipython().extension_manager.loaded, loaded_with",
    "'storemagic' in get_ipython().extension_manager.loaded",
    "'from_lines' in get_ipython().user_ns_hidden",
    "__import__('sys').path.count('')",
)


def test_files_of_a_profile(kernel: Start, reference_kernel: Start, profile: Path, tmp_path: Path) -> None:
    """Where they are looked for, which wins, what is run and in which order."""
    write_profile(profile)
    (tmp_path / "an_extension.py").write_text(
        "def load_ipython_extension(shell):\n    shell.user_ns['loaded_with'] = type(shell).__name__\n"
    )
    env = {"IPYTHONDIR": str(profile.parent), "PYTHONPATH": str(tmp_path)}
    argv = ["--InteractiveShell.autocall=2", "--no-automagic"]
    ours, theirs = kernel(*argv, env=env), reference_kernel(*argv, env=env)
    answers = ask(ours, *QUESTIONS)
    assert answers == ask(theirs, *QUESTIONS)
    assert answers[:7] == [["py", "ipy", "exec_file"], ["one"], 1, 1, 103, "all", 2]
    completions = []
    for running in (ours, theirs):
        asked = {"code": "x = 1\nord", "cursor_pos": 9}
        completions.append(running.client.request("complete_request", asked).ok().content)
        results = running.client.execute("1.23456\n2.5").ok().of("execute_result")
        assert [message.content["data"]["text/plain"] for message in results] == ["1.23", "2.50"]
    assert completions[0] == completions[1]
    assert completions[0]["metadata"] == {}  # as use_experimental_completions says
    theirs.kill()  # it may take longer to leave than the fixture waits


@pytest.mark.parametrize("place", ["--profile", "--profile-dir", "--ipython-dir", "--config"])
def test_places_by_the_command_line(
    kernel: Start, reference_kernel: Start, tmp_path: Path, place: str
) -> None:
    folder = tmp_path / "elsewhere" / ("profile_default" if place == "--ipython-dir" else "profile_special")
    folder.mkdir(parents=True)
    (folder / "ipython_kernel_config.py").write_text("c.InteractiveShellApp.exec_lines = ['told = 7']\n")
    given = {
        "--profile": "special",
        "--profile-dir": str(folder),
        "--ipython-dir": str(folder.parent),
        "--config": str(folder / "ipython_kernel_config.py"),
    }[place]
    env = {"IPYTHONDIR": str(folder.parent)} if place == "--profile" else {}
    questions = ("told", "__import__('os').path.basename(get_ipython().profile_dir.location)")
    answers = [ask(start(f"{place}={given}", env=env), *questions) for start in (kernel, reference_kernel)]
    assert answers[0] == answers[1]
    assert answers[0][0] == 7


def test_command_line(kernel: Start, reference_kernel: Start, tmp_path: Path) -> None:
    """Aliases, flags, lists, and words that nobody knows."""
    script = tmp_path / "startup.py"
    script.write_text("from_environment = 1\n")
    argv = [
        "--cache-size=77",
        "--pdb",
        "--ext=autoreload",
        "--InteractiveShellApp.exec_lines=a = 1",
        "--InteractiveShellApp.exec_lines=b = a + 1",
        "--HistoryManager.hist_file=:memory:",
        "--InteractiveShellApp.hide_initial_ns=False",
        "--InlineBackend.rc={'figure.dpi': 55}",
        "--Nobody.knows=1",
        "--unheard=1",
        "word",
        "--IPCompleter.greedy=True",
    ]
    questions = (
        "a",
        "b",
        "from_environment",
        "get_ipython().cache_size",
        "get_ipython().call_pdb",
        "get_ipython().history_manager.hist_file",
        "'autoreload' in get_ipython().extension_manager.loaded",
        "sorted(name for name, section in get_ipython().config.items() if section)",
        "get_ipython().Completer.greedy",
        "'a' in get_ipython().user_ns_hidden",
        "'connection_file' in get_ipython().config['IPKernelApp']",
    )
    env = {"PYTHONSTARTUP": str(script)}
    ours, theirs = kernel(*argv, env=env), reference_kernel(*argv, env=env)
    assert ask(ours, *questions) == ask(theirs, *questions)
    for running in (ours, theirs):
        assert "Unrecognized alias: 'unheard', it will have no effect." in running.stderr()
    theirs.kill()  # it may take longer to leave than the fixture waits


def test_code_to_run(kernel: Start, reference_kernel: Start, tmp_path: Path) -> None:
    """-c and the like; PYTHONSTARTUP is left out then."""
    script = tmp_path / "startup.py"
    script.write_text("from_environment = 1\n")
    for start in (kernel, reference_kernel):
        running = start("-c", "told = 3", env={"PYTHONSTARTUP": str(script)})
        assert ask(running, "told", "'from_environment' in globals()") == [3, False]


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["--unknown-flag"], 2, "unrecognized arguments: --unknown-flag"),
        (["-x"], 2, "argument -x: expected one argument"),
        (["--profile=nowhere"], 1, "[IPKernelApp] CRITICAL | Profile 'nowhere' not found."),
        (["--log-level=loud"], 1, "[IPKernelApp] CRITICAL | Bad config encountered during initialization"),
        (["--InteractiveShell.cache_size=x"], 1, "The 'cache_size' trait of a ZMQInteractiveShell instance"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_keeps_a_kernel_from_starting(
    router: str, tmp_path: Path, argv: list[str], status: int, said: str
) -> None:
    """It says why, where the server's log is, with ipykernel's exit status, and leaves nothing behind."""
    env = {"IPYTHONDIR": str(tmp_path), "FASTSHELL_ROUTER": router, "PATH": ""}
    for module in ("fastshell", "ipykernel_launcher"):
        path = tmp_path / "kernel.json"
        done = subprocess.run(
            [sys.executable, "-m", module, "-f", str(path), *argv],
            env=env,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert said in done.stderr
        assert not path.exists()


@pytest.mark.parametrize(
    "broken",
    ["startup", "config", "extension", "line"],
)
def test_errors_at_the_start(kernel: Start, reference_kernel: Start, profile: Path, broken: str) -> None:
    """They are shown, with their traceback, and the kernel lives."""
    failing = "def f(): raise ValueError('wrong at ' + 'start')\nf()\n"
    if broken == "startup":
        (profile / "startup" / "10.py").write_text(failing)
        (profile / "startup" / "20.py").write_text("after = 1\n")
    elif broken == "config":
        (profile / "ipython_kernel_config.py").write_text(failing)
    argv = {
        "line": ["--InteractiveShellApp.exec_lines=raise ValueError('wrong at ' + 'start')"],
        "extension": ["--ext=there_is_no_such_extension"],
    }.get(broken, [])
    env = {"IPYTHONDIR": str(profile.parent)}
    lives = [ask(start(*argv, env=env), "'after' in globals()") for start in (kernel, reference_kernel)]
    assert lives[0] == lives[1]
    running = kernel(*argv, env=env)
    ask(running, "1")
    expected = "there_is_no_such_extension" if broken == "extension" else "ValueError: wrong at start"
    assert expected in running.stderr().replace("\x1b[39m", "").replace("\x1b[31m", "")


def test_a_module_of_the_working_directory_hides_none_of_the_kernels_own(
    kernel: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook beside a file called logging.py; it can still be imported what only is there."""
    (tmp_path / "logging.py").write_text("raise RuntimeError('hidden')\n")
    (tmp_path / "typing.py").write_text("raise RuntimeError('hidden')\n")
    (tmp_path / "mine.py").write_text("value = 5\n")
    monkeypatch.chdir(tmp_path)
    assert ask(kernel(), "__import__('mine').value", "__import__('logging').__name__") == [5, "logging"]


MATPLOTLIB = """\
import matplotlib
import matplotlib.pyplot as plt
_ = plt.plot([1, 2])
"""


@pytest.mark.parametrize(
    ("argv", "env", "backend", "shows"),
    [
        ([], {}, "module://matplotlib_inline.backend_inline", "image/png"),
        (["--matplotlib=inline", "--InlineBackend.figure_format=svg"], {}, None, "image/svg+xml"),
        ([], {"MPLBACKEND": "agg"}, "agg", None),
        (["--InlineBackend.figure_formats=['svg']"], {}, None, "image/svg+xml"),
    ],
    ids=str,
)
def test_matplotlib(
    kernel: Start,
    reference_kernel: Start,
    argv: list[str],
    env: dict[str, str],
    backend: str | None,
    shows: str | None,
) -> None:
    """The backend, and what a cell with a figure shows."""
    seen = []
    for start in (kernel, reference_kernel):
        running = start(*argv, env=env)
        running.client.execute("import os, sys").ok()
        environment, before = ask(running, "os.environ['MPLBACKEND']", "'matplotlib.pyplot' in sys.modules")
        done = running.client.execute(MATPLOTLIB, timeout_s=60).ok()
        kinds = [sorted(message.content["data"]) for message in done.of("display_data")]
        name = ask(running, "matplotlib.get_backend()")[0]
        seen.append((environment, before, kinds, name))
    assert seen[0] == seen[1]
    if backend is not None:
        assert seen[0][0] == backend
    assert any(shows in kind for kind in seen[0][2]) == (shows is not None)


def test_config_magic(kernel: Start, reference_kernel: Start) -> None:
    """Before pyplot is there, and after; and the list of what can be configured."""
    seen = []
    for start in (kernel, reference_kernel):
        client = start().client
        classes = client.execute("%config").ok().text()
        early = client.execute("%config InlineBackend.figure_format = 'svg'")
        client.execute(MATPLOTLIB, timeout_s=60).ok()
        late = client.execute("%config InlineBackend.figure_format = 'svg'").ok()
        figure = client.execute("_ = plt.plot([1, 2])").ok().of("display_data")
        seen.append((early.status, late.text(), [sorted(m.content["data"]) for m in figure]))
        assert "IPKernelApp" in classes
    assert seen[0] == seen[1]
    assert seen[0][2] == [["image/svg+xml", "text/plain"]]


def test_session_name(kernel: Start, reference_kernel: Start) -> None:
    for start in (kernel, reference_kernel):
        named = start(env={"JPY_SESSION_NAME": "/a/b c.ipynb"})
        assert ask(named, "__session__") == ["/a/b c.ipynb"]
        unnamed = start(env={"JPY_SESSION_NAME": ""})
        assert ask(unnamed, "'__session__' in globals()") == [False]
