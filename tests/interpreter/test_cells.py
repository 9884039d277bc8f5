"""Cells give what they give under ipykernel: the same cells are run in both, and all that comes compared.

Compared are the reply's status, error, payload and user_expressions, and every message on iopub but the
states: with tracebacks, file names of cells and colours. Not compared are numbers that differ from run
to run. ipykernel does not keep the order of stdout and stderr, so a text is compared for each.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alike import compare
from client import Client

pytestmark = pytest.mark.slow
posix = pytest.mark.skipif(sys.platform == "win32", reason="a shell's commands")


@pytest.fixture
def pair(client: Client, shared_reference: Any) -> Iterator[tuple[Client, Client]]:
    """Front ends of fastshell and of ipykernel."""
    reference = shared_reference.new_client()
    yield client, reference
    reference.close()


# --- magics ---


@pytest.mark.parametrize(
    "codes",
    [
        ["%pwd", "%cd /", "%pwd", "%cd -q -"],
        ["%env NAME_OF_TEST=1", "%env NAME_OF_TEST"],
        ["%precision 3", "1/3", "%precision %r"],
        ["%pprint", "list(range(30))", "%pprint"],
        ["%xmode Plain", "1/0", "%xmode Minimal", "1/0", "%xmode Verbose", "1/0", "%xmode Context"],
        ["%reset -f", "a = 1", "b = 'x'", "%who", "%who_ls", "%whos"],
        ["%alias_magic t timeit", "%t -n1 -r1 pass"],
        ["%macro -q m 1", "type(m)"],
        ["%autoawait"],
        ["%nosuchmagic", "%%nosuchmagic\n1"],
        ["x = %who_ls int", "x == sorted(x)"],
        ["%time 1 + 1", "%time import asyncio; await asyncio.sleep(0)"],
        ["%timeit -n1 -r1 pass", "%%timeit -n1 -r1 x = 1\nx + 1", "r = %timeit -n1 -r1 -q -o pass\ntype(r)"],
        ["%%time\nimport asyncio\nawait asyncio.sleep(0)\nprint('slept')\n7", "%%time\n1/0"],
        ["%prun -q pass"],
        ["%%html\n<b>1</b>", "%%markdown\n*1*", "%%latex\n$1$", "%%svg\n<svg></svg>", "%%javascript\n1"],
        ["%%capture out\nprint('captured'); 7", "out.stdout", "out.show()", "%%capture --no-stderr o\n1/0"],
        ["%lsmagic"],
        [
            "%config",
            "%config HistoryManager.db_cache_size",
            "%config IPCompleter.use_jedi",
            "%config InlineBackend.figure_format",
        ],
        ["%autosave 10", "%autosave 0", "%autosave x"],
        ["%less"],
        ["%edit -n 3 /tmp/of-the-test.py", "%ed -n 4 /tmp/of-the-test.py"],
        ["%clear"],
        ["%load_ext nosuchextension", "%reload_ext nosuchextension", "%unload_ext nosuchextension"],
    ],
    ids=lambda codes: codes[0].split("\n")[0],
)
def test_magics(pair: tuple[Client, Client], codes: list[str]) -> None:
    for code in codes:
        compare(pair, code)


@pytest.mark.parametrize(
    "code",
    [
        "print?",
        "print??",
        "?print",
        "nosuchname?",
        "json?",
        "json.dumps??",
        "*print*?",
        "json.d*?",
        "%time?",
        "%%timeit??",
        "?",
        "%pinfo print",
        "%pdoc print",
        "%psource json.dumps",
        "%pdef json.dumps",
        "%pfile json",
        "%page json",
        "%pycat /no/such/file",
        "x = print?",
        "get_ipython().set_next_input('text', replace=True)",
        "get_ipython().set_next_input('one'); get_ipython().set_next_input('two')",
        "from IPython.core.page import page; page('text', start=2); page({'text/html': '<b>'}, start=-1)",
    ],
)
def test_payload(pair: tuple[Client, Client], code: str) -> None:
    for client in pair:
        client.execute("import json").ok()
    compare(pair, code)


def test_edit_and_pager_of_files(pair: tuple[Client, Client], tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def f():\n    pass\n")
    (tmp_path / "text").write_text("text\n")
    for code in ("%less {0}/code.py", "%more {0}/text", "%load {0}/code.py", "%load -r 1 {0}/code.py"):
        assert compare(pair, code.format(tmp_path)).content["payload"], code
    compare(pair, f"%run {tmp_path}/code.py")
    compare(pair, "%edit f")
    compare(pair, "import fractions\n%edit fractions.Fraction")


def test_connect_info(pair: tuple[Client, Client], shared_kernel: Any) -> None:
    ours, reference = (client.execute("%connect_info").ok().text() for client in pair)
    info, _, words = ours.rpartition("}\n\n")
    reference_info, _, reference_words = reference.rpartition("}\n\n")
    file = json.loads(Path(shared_kernel.manager.connection_file).read_text())
    assert json.loads(info + "}") == file
    assert file.keys() == json.loads(reference_info + "}").keys()
    names = re.compile(r"--existing \S+\.json")
    assert names.sub("--existing FILE", words) == names.sub("--existing FILE", reference_words)


def test_subshell_magic(pair: tuple[Client, Client]) -> None:
    """ipykernel's six lines, and ours for each subshell: its id, thread and state."""
    numbers = re.compile(r"\d+")
    for subshells in ([], ["one", "two"]):
        texts = []
        made = [[client.create_subshell() for _ in subshells] for client in pair]
        for client, ids in zip(pair, made, strict=True):
            for where in (None, *ids):
                text = client.execute("%subshell", subshell_id=where).ok().text()
                for index, subshell_id in enumerate(ids):
                    text = text.replace(subshell_id, f"subshell {index}")
                texts.append(numbers.sub("N", text))
        half = len(texts) // 2
        for ours, reference in zip(texts[:half], texts[half:], strict=True):
            assert ours.startswith(reference)
            more = ours.removeprefix(reference).splitlines()
            assert [line.split() for line in more] == [
                ["subshell", "N", "thread", "N", line.split()[-1]] for line in more
            ]
            assert len(more) == len(subshells)
        for client, ids in zip(pair, made, strict=True):
            for subshell_id in ids:
                client.delete_subshell(subshell_id).ok()


def test_subshell_magic_tells_who_works(client: Client) -> None:
    subshell_id = client.create_subshell()
    client.execute("import time; over = False").ok()
    busy = client.start("print('on')\nwhile not over: time.sleep(0.01)", subshell_id=subshell_id)
    client.wait_text(busy, "on")
    (line,) = [line for line in client.execute("%subshell").ok().text().splitlines() if line.startswith(" ")]
    assert line.split()[0] == subshell_id and line.endswith(" execute_request")
    client.execute("over = True").ok()
    client.finish(busy).ok()
    (line,) = [line for line in client.execute("%subshell").ok().text().splitlines() if line.startswith(" ")]
    assert line.endswith(" idle")
    client.delete_subshell(subshell_id).ok()


# --- commands ---


@posix
@pytest.mark.parametrize(
    "codes",
    [
        ["!echo one", "!echo two >&2", "name = 'three'\n!echo $name {name!r} $$HOME"],
        ["!exit 3", "_exit_code", "!true", "_exit_code", "get_ipython().system('exit 4')", "_exit_code"],
        ["x = !echo a; echo b", "x", "x.n", "!!echo c", "%sx echo d", "%sc -l y=echo e"],
        ["!test -t 1 && echo terminal"],
        ["%%bash\necho out\necho err >&2", "%%bash\nexit 2", "%%sh\necho $0", "%%bash --out o\necho x", "o"],
        ["%%python\nprint(1)", "%%script cat\ntext", "%%script --no-raise-error false\n1"],
        ["%%!\necho line", "get_ipython().getoutput('echo p')", "import os; os.system('exit 5') >> 8"],
        ["%%capture out\n!echo captured", "out.stdout"],
        ["%alias hello echo hello %s", "hello world", "%hello again", "%unalias hello"],
        ["%system echo s", "%man nosuchpage"],
    ],
    ids=lambda codes: codes[0].split("\n")[0],
)
def test_commands(pair: tuple[Client, Client], codes: list[str]) -> None:
    for code in codes:
        compare(pair, code)


@posix
@pytest.mark.parametrize("prefix", ["!", "%%bash\n", "%%sh\n"])
def test_output_of_a_command_comes_while_it_runs(
    pair: tuple[Client, Client], tmp_path: Path, prefix: str
) -> None:
    for index, client in enumerate(pair):
        sign = tmp_path / f"go-{index}"
        msg_id = client.start(f"{prefix}echo first; while [ ! -e {sign} ]; do sleep 0.05; done; echo second")
        client.wait_text(msg_id, "first")
        sign.touch()
        assert client.finish(msg_id).ok().text().split() == ["first", "second"]


@posix
def test_command_of_a_subshell_writes_under_its_own_cell(client: Client) -> None:
    subshell_id = client.create_subshell()
    assert client.execute("!echo from a subshell", subshell_id=subshell_id).ok().text().strip() == (
        "from a subshell"
    )
    client.delete_subshell(subshell_id).ok()


# --- errors ---


@pytest.mark.parametrize(
    "code",
    [
        "1/0",
        "def f():\n    return nosuchname\n\nf()",
        "f(",
        "  x = 1\n y = 2",
        "raise KeyError('k') from ValueError('v')",
        "try:\n    1/0\nexcept ZeroDivisionError:\n    [][1]",
        "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
        "class E(Exception):\n    def __repr__(self): raise ValueError('repr fails')\nraise E('message')",
        "class R:\n    def __repr__(self): raise ValueError('repr fails')\nR()",
        "class R:\n    def __repr__(self): raise ValueError('repr fails')\nprint(R())",
        "class R:\n    def _repr_html_(self): raise ValueError('fails')\n    __repr__ = lambda s: 'R'\nR()",
        "import json\njson.loads('{')",
        "raise KeyboardInterrupt",
        "import asyncio\nasync def g(): raise ValueError('in a coroutine')\nawait g()",
        "import asyncio\nasync def g(): raise ValueError('g')\nawait asyncio.gather(asyncio.sleep(0), g())",
        "exec('1/0')",
        "eval('1 +')",
        "assert 1 == 2, 'message'",
        "import nosuchmodule",
        "x: int = 'annotated'; x.nosuchattribute",
        "raise SystemExit",
        "raise SystemExit(3)",
        "import sys; sys.exit('message')",
        "raise ValueError('é\\x00\\x1b[0m')",
        "raise ValueError('line\\nline')",
        "get_ipython().showtraceback()",
        "try:\n    1/0\nexcept Exception:\n    get_ipython().showtraceback()",
        "return 1",
        "await",
        "yield 1",
        "x = 1 = 2",
        "print 'x'",
        "é = 1; éé",
    ],
)
def test_errors(pair: tuple[Client, Client], code: str) -> None:
    compare(pair, code)


@pytest.mark.parametrize("ask", ["input()", "getpass.getpass()"])
def test_front_end_that_cannot_be_asked(pair: tuple[Client, Client], ask: str) -> None:
    """But for the frames of the kernel's own."""
    code = f"import getpass\n{ask}"
    ours, reference = (client.execute(code, allow_stdin=False).content for client in pair)
    names = ("status", "ename", "evalue", "payload")
    assert [ours[name] for name in names] == [reference[name] for name in names]


@pytest.mark.parametrize("code", ["!sleep 1 &", "%less /no/such/file"])
def test_errors_of_magics(pair: tuple[Client, Client], code: str) -> None:
    """The same; the frames are of the kernel's files."""
    ours, reference = (client.execute(code).content for client in pair)
    assert [ours["ename"], ours["evalue"]] == [reference["ename"], reference["evalue"]]


@pytest.mark.parametrize("code", ["print('\\ud800')", "raise ValueError('\\ud800')"])
def test_lone_surrogate(pair: tuple[Client, Client], code: str) -> None:
    """ipykernel has no text and no error message for it, and says UnicodeEncodeError; ours shows it."""
    ours, reference = (client.execute(code) for client in pair)
    assert "\\ud800" in ours.text() or (ours.error is not None and ours.error["evalue"] == "\\ud800")
    assert reference.error is None and "\\ud800\n" not in reference.text("stdout")


def test_traceback_through_cells(pair: tuple[Client, Client]) -> None:
    compare(pair, "def inner(x):\n    return 1 / x")
    compare(pair, "def outer():\n    inner(0)")
    done = compare(pair, "outer()")
    assert done.content["traceback"]


def test_file_names_of_cells(pair: tuple[Client, Client]) -> None:
    """Of every length modulo 4, and beyond ASCII: the hash takes four bytes at a time."""
    for end in ("", " ", "  ", "   ", " # é", " # \U0001f600"):
        done = compare(pair, f"(lambda: 0).__code__.co_filename{end}")
        assert done.result is not None and "ipykernel_" in done.result
    compare(pair, "def with_source():\n    return 1")
    compare(pair, "import inspect; print(inspect.getsource(with_source), inspect.getsourcefile(with_source))")
    compare(pair, "__file__")


def test_file_names_of_cells_by_environment(
    kernel: Callable[..., Any], reference_kernel: Callable[..., Any]
) -> None:
    env = {"IPYKERNEL_CELL_NAME": "/of/the/test.py", "JPY_SESSION_NAME": "/of/the/test.ipynb"}
    pair = kernel(env=env).client, reference_kernel(env=env).client
    for code in ("(lambda: 0).__code__.co_filename", "__session__", "1/0", "__name__", "__file__"):
        compare(pair, code)


# --- what is shown ---


@pytest.mark.parametrize(
    "code",
    [
        "'\\ud800'",
        "print('a\\x00b\\x1b[1mc')",
        "float('nan'), float('inf')",
        "display({'image/png': b'\\x89PNG', 'text/plain': 'p'}, raw=True)",
        "display({'application/octet-stream': b'abc', 'text/plain': 'p'}, raw=True)",
        "display({'application/json': {'k': b'abc', 1: (2, 3), 'n': None}}, raw=True)",
        "display({'text/plain': 7}, raw=True)",
        "import numpy as np\nnp.array([1.5, np.nan])",
        "b'bytes'",
        "None",
        "...",
        "1;",
        "1\n2",
        "_",
        "x = 5; x",
        "{'b': 1, 'a': {3, 1, 2}}",
        "import warnings\nwarnings.warn('of the cell')",
        "warnings.warn('of the cell', DeprecationWarning)",
        "def deprecated():\n    warnings.warn('deep', FutureWarning, stacklevel=2)\ndeprecated()",
        "'\\d'",
        "import logging; logging.warning('logged'); logging.getLogger('x').error('e')",
        "import sys; print('to stderr', file=sys.stderr)",
        "print('no end', end='')",
        "print(*'abc', sep='\\n', flush=True)",
        "help(len)",
        "import builtins; builtins.print is print, get_ipython() is builtins.get_ipython()",
        "__name__, __builtins__.__name__, '__file__' in globals()",
        "import sys; sys.modules['__main__'].__dict__ is globals()",
        "exit(keep_kernel=True)",
        "quit(True)",
        "exit, quit",
        "import asyncio; asyncio.run(None)",
        "asyncio.get_event_loop().run_until_complete(asyncio.Future())",
    ],
)
def test_output(pair: tuple[Client, Client], code: str) -> None:
    compare(pair, code)


# --- options of the request ---


@pytest.mark.parametrize(
    "options",
    [
        {"silent": True},
        {"silent": True, "store_history": True},
        {"store_history": False},
        {"user_expressions": {"a": "1 + 1", "b": "nosuch", "c": "1/0", "d": "'\\ud800'", "e": "print('p')"}},
        {"user_expressions": {"html": "__import__('IPython').display.HTML('<b>')"}},
        {"stop_on_error": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("code", ["print('text')\n7", "1/0", "f(", ""])
def test_options(pair: tuple[Client, Client], code: str, options: dict[str, Any]) -> None:
    counts = "len(In), get_ipython().execution_count, sorted(Out)[-1:]"
    before = [client.execute(counts).ok() for client in pair]
    compare(pair, code, **options)
    after = [client.execute(counts).ok() for client in pair]
    grown = [
        [b - a for a, b in zip(eval(first.result)[:2], eval(last.result)[:2], strict=True)]
        for first, last in zip(before, after, strict=True)
    ]
    assert grown[0] == grown[1]


def test_cell_id_and_metadata(pair: tuple[Client, Client]) -> None:
    for client in pair:
        client.execute(
            "def seen(info): print('seen', info.cell_id, info.raw_cell, info.store_history)\n"
            "get_ipython().events.register('pre_run_cell', seen)"
        ).ok()
    texts = []
    for client in pair:
        for metadata in ({"cellId": "id-of-cell"}, {"cellId": "id-of-cell", "tags": ["x"]}, {}):
            request = {"code": "1", "silent": False, "store_history": True, "user_expressions": {}}
            texts.append(client.request("execute_request", request, metadata=metadata).ok().text())
    assert texts[:3] == texts[3:] and "seen id-of-cell 1 True" in texts[0]
    for client in pair:
        client.execute("get_ipython().events.unregister('pre_run_cell', seen)").ok()


# --- errors stop what is queued ---


def test_queued_cells_are_aborted_alike(pair: tuple[Client, Client]) -> None:
    statuses = []
    for client in pair:
        ids = [
            client.start("import asyncio; await asyncio.sleep(0.3); 1/0"),
            client.start("1"),
            client.start("2", stop_on_error=False),
            client.send("comm_info_request", {}),
            client.start("3", silent=True),
        ]
        statuses.append([client.reply(msg_id).content["status"] for msg_id in ids])
    assert statuses[0] == statuses[1] == ["error", "aborted", "aborted", "ok", "aborted"]


def test_cells_within_the_timeout_are_aborted(kernel: Callable[..., Any]) -> None:
    """What ipykernel documents; its 7.4 reads the option and does not heed it since it has subshells."""
    client = kernel().client
    client.execute("get_ipython().kernel.stop_on_error_timeout = 3600").ok()
    assert client.execute("1/0").content["status"] == "error"
    assert client.execute("1").content["status"] == "aborted"
    assert client.request("comm_info_request", {}).content["status"] == "ok"
    subshell_id = client.create_subshell()
    assert client.execute("1", subshell_id=subshell_id).content["status"] == "ok"  # another shell's queue
    client.execute("get_ipython().kernel.stop_on_error_timeout = 0.3", subshell_id=subshell_id).ok()
    assert client.execute("1/0", subshell_id=subshell_id).content["status"] == "error"
    while client.execute("1", subshell_id=subshell_id).content["status"] == "aborted":
        pass
    assert client.execute("6*7", subshell_id=subshell_id).ok().result == "42"
    assert client.execute("1").content["status"] == "aborted"


# --- files and modules ---


def test_run(pair: tuple[Client, Client], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(__name__, sys.argv[1:])\ny = 7\nif 'fail' in sys.argv: 1/0\n")
    notebook = tmp_path / "lines.ipy"
    notebook.write_text("%precision 2\nz = !echo from ipy\nprint(z)\n")
    codes = (
        f"%run {script} a b",
        "y",
        f"%run {script} fail",
        f"%run -i {script}",
        f"%run -n {script}",
        f"%run {notebook}",
        "%run /no/such/script.py",
        "%precision %r",
        "%run -m json.tool --help",
    )
    for code in codes:
        compare(pair, code)


def test_autoreload(pair: tuple[Client, Client], tmp_path: Path) -> None:
    module = tmp_path / "reloaded_by_test.py"
    module.write_text("def f(): return 'old'\n")
    compare(pair, f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.dont_write_bytecode = True")
    for code in ("%load_ext autoreload", "%autoreload 2", "from reloaded_by_test import f", "f()"):
        compare(pair, code)
    module.write_text("def f(): return 'new and longer'\n")
    assert compare(pair, "f()").result == "'new and longer'"
    compare(pair, "%autoreload 0")
