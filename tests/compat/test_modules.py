"""`import ipykernel` in the kernel's process: our files first, then those of an installed ipykernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client import Client
from conftest import RunningKernel

OURS = str(Path(__file__).parents[2] / "src" / "fastshell" / "compat")


@pytest.mark.parametrize(
    "module",
    [
        "",
        ".zmqshell",
        ".comm",
        ".comm.comm",
        ".comm.manager",
        ".connect",
        ".ipkernel",
        ".kernelapp",
        ".jsonutil",
        ".iostream",
        ".displayhook",
        ".compiler",
        ".eventloops",
        ".embed",
        ".kernelbase",
        ".pylab.config",
        ".pylab.backend_inline",
    ],
)
def test_module_is_ours(client: Client, module: str) -> None:
    done = client.execute(
        f"import importlib, sys\nm = importlib.import_module('ipykernel{module}')\n"
        f"assert m is sys.modules['ipykernel{module}']\n"
        f"assert m.__name__ == m.__spec__.name == 'ipykernel{module}'\n"
        "m.__file__"
    )
    assert OURS in (done.ok().result or "")


@pytest.mark.parametrize("module", ["heartbeat", "thread", "parentpoller"])
def test_module_that_we_lack_is_the_installed_one(client: Client, module: str) -> None:
    code = f"from ipykernel import {module}\n{module}.__file__, {module}.__name__"
    result = client.execute(code).ok().result or ""
    assert f"site-packages/ipykernel/{module}.py" in result
    assert f"'ipykernel.{module}'" in result


def test_module_that_nobody_has(client: Client) -> None:
    error = client.execute("import ipykernel.no_such_module").error
    assert error is not None
    assert error["ename"] == "ModuleNotFoundError"


def test_attribute_that_we_lack_is_the_installed_one(client: Client) -> None:
    """And comms stay ours: to import ipykernel.ipkernel replaces them."""
    code = (
        "import comm\nbefore = comm.create_comm, comm.get_comm_manager\n"
        "from ipykernel.iostream import IOPubThread\nfrom ipykernel.ipkernel import _get_comm_manager\n"
        "assert (comm.create_comm, comm.get_comm_manager) == before\n"
        "IOPubThread.__init__.__code__.co_filename"
    )
    assert "site-packages/ipykernel/iostream.py" in (client.execute(code).ok().result or "")


def test_attribute_that_nobody_has(client: Client) -> None:
    error = client.execute("import ipykernel.iostream\nipykernel.iostream.nothing").error
    assert error is not None
    assert error["evalue"] == "module 'ipykernel.iostream' has no attribute 'nothing'"
    assert client.execute("from ipykernel import nothing").error["ename"] == "ImportError"


@pytest.mark.parametrize(
    "fact",
    [
        "ipykernel.__version__.split('.')[0], ipykernel.version_info[:2] >= (7, 0)",
        "ipykernel.version_info >= (6, 18)",
        "ipykernel.kernel_protocol_version.split('.')[0]",
        "str(type(get_ipython()))",
        "type(get_ipython()).__name__, type(get_ipython()).__module__",
        "'ipykernel.zmqshell' in __import__('sys').modules",
        "'IPKernelApp' in get_ipython().config",
        "'connection_file' in get_ipython().config['IPKernelApp']",
        "__import__('builtins').get_ipython() is get_ipython()",
        "isinstance(get_ipython(), __import__('ipykernel.zmqshell').zmqshell.ZMQInteractiveShell)",
        "IPKernelApp.initialized(), IPKernelApp.instance() is IPKernelApp.instance()",
        "IPKernelApp.instance().kernel is get_ipython().kernel",
        "IPKernelApp.instance().shell is get_ipython()",
        "ipykernel.get_connection_file() == IPKernelApp.instance().abs_connection_file",
        "sorted(ipykernel.connect.get_connection_info(unpack=True))",
        "type(ipykernel.connect.get_connection_info())",
        "type(ipykernel.get_connection_info(unpack=True)['key'])",
        "ipykernel.jsonutil.json_clean({'a': (1, b'b')})",
        "ipykernel.jsonutil.encode_images({'image/png': b'b'})",
        "isinstance(__import__('sys').stdout, ipykernel.iostream.OutStream)",
        "isinstance(get_ipython().displayhook, ipykernel.displayhook.ZMQShellDisplayHook)",
        "isinstance(get_ipython().display_pub, ipykernel.zmqshell.ZMQDisplayPublisher)",
        "isinstance(get_ipython().kernel, ipykernel.ipkernel.IPythonKernel)",
        "ipykernel.ipkernel.IPythonKernel.instance() is get_ipython().kernel",
        "ipykernel.comm.comm.Comm is ipykernel.comm.Comm",
        "callable(__import__('ipykernel.embed').embed.embed_kernel)",
        "isinstance(get_ipython().compile, __import__('ipykernel.compiler').compiler.XCachingCompiler)",
        "type(get_ipython().magics_manager.registry['KernelMagics']) is ipykernel.zmqshell.KernelMagics",
    ],
)
def test_fact(client: Client, reference: Client, fact: str) -> None:
    code = (
        "import ipykernel.comm, ipykernel.connect, ipykernel.displayhook, ipykernel.iostream\n"
        "import ipykernel.jsonutil, ipykernel.ipkernel\nfrom ipykernel.kernelapp import IPKernelApp\n"
    )
    ours = client.execute(code + fact).ok().result
    assert ours == reference.execute(code + fact).ok().result
    assert ours is not None


def test_connection_file(client: Client, shared_kernel: RunningKernel) -> None:
    code = "import ipykernel\nprint(ipykernel.get_connection_info())"
    told = json.loads(client.execute(code).ok().text())
    assert told == json.loads(Path(shared_kernel.manager.connection_file).read_text("utf-8"))
    error = client.execute("ipykernel.get_connection_info('no-such-kernel')").error
    assert error is not None
    assert error["ename"] in ("OSError", "FileNotFoundError")


COMM = """
from ipykernel.comm import Comm
import warnings
got = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    one = Comm("target", data={"opened": 1})

def answer(message):
    got.append(message["content"]["data"])
    one.send({"echo": 1}, buffers=[b"b"])

one.on_msg(answer)
print([w.category.__name__ for w in caught], one.target_name, one.primary, type(one.kernel).__name__)
one.comm_id
"""


def test_comm_of_old(client: Client, reference: Client) -> None:
    for one in (client, reference):
        done = one.execute(COMM).ok()
        assert done.text() == "['DeprecationWarning'] target True IPythonKernel\n"
        opened = done.of("comm_open")[0]
        assert opened.content["data"] == {"opened": 1}
        assert opened.content["target_name"] == "target"
        comm_id = opened.content["comm_id"]
        sent = one.send("comm_msg", {"comm_id": comm_id, "data": {"asked": 1}})
        answer = next(m for m in one.iopub(sent) if m.msg_type == "comm_msg")
        assert answer.content == {"comm_id": comm_id, "data": {"echo": 1}}
        assert [bytes(buffer) for buffer in answer.buffers] == [b"b"]
        assert one.execute("got").ok().result == "[{'asked': 1}]"
        info = one.request("comm_info_request", {"target_name": "target"}).ok().content["comms"]
        assert comm_id in info
        one.execute("one.close()").ok()
        assert comm_id not in one.request("comm_info_request", {}).ok().content["comms"]


def test_comm_manager_of_ones_own(client: Client) -> None:
    code = (
        "from ipykernel.comm import CommManager\nmine = CommManager(parent=get_ipython())\n"
        "mine.register_target('x', print)\nmine.targets == {'x': print} and not mine.comms"
    )
    assert client.execute(code).ok().result == "True"


def test_embed_kernel_is_the_function_itself(client: Client) -> None:
    code = (
        "import fastshell\nfrom ipykernel.embed import embed_kernel\nembed_kernel is fastshell.embed_kernel"
    )
    assert client.execute(code).ok().result == "True"


def test_event_loop_is_registered_by_its_old_name(client: Client, reference: Client) -> None:
    """As napari and mayavi do; %gui knows it then."""
    code = (
        "from ipykernel.eventloops import enable_gui, loop_map, register_integration\n"
        "@register_integration('own_toolkit')\ndef loop_own(kernel): pass\n"
        "loop_map['own_toolkit'] is loop_own, {'tk', 'qt', 'inline', None} <= set(loop_map)"
    )
    for one in (client, reference):
        assert one.execute(code).ok().result == "(True, True)"
    known = "from fastshell.interpreter import eventloops\n'own_toolkit' in eventloops.loop_map"
    assert client.execute(known).ok().result == "True"
