"""complete_request and inspect_request beside ipykernel: the whole reply, with jedi and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from both import Both, plain

pytestmark = pytest.mark.timeout(120)

NAMES = """
class Own:
    'doc of Own'
    attr = 1
    def method(self, x, y=2): 'doc of method'; return x
    @property
    def prop(self): return {}
class Slow:
    def __dir__(self): return ['zz1', 'zz2']
class Bad:
    def __dir__(self): 1 / 0
    def __getattr__(self, name): 1 / 0
class Keys:
    def _ipython_key_completions_(self): return ['key one', 'key two']
    def __getitem__(self, key): return 1
own, slow, bad, keys = Own(), Slow(), Bad(), Keys()
own_list, own_dict = [own], {'alpha': 1, 'beta': {'gamma': 2}, 3: 4, ('t', 'u'): 5, 'é': 6}
def own_function(a: int, b: str = 'x', *args, c=3, **kw) -> float:
    '''Doc of own_function.

    more'''
    # in the source
    return 1.0
"""

#: Completed at their ends.
CODES: dict[str, tuple[str, ...]] = {
    "attributes": (
        "own.",
        "own.at",
        "own.pr",
        "own.__cl",
        "own._",
        "own.nothing",
        "slow.z",
        "own.attr.bit_l",
    ),
    "what fails": ("bad.", "zzz_nowhere", "own..", "1."),
    "expressions": (
        "own_list[0].",
        "own_list[0].at",
        "own.method().",
        "{}.ke",
        "'a'.up",
        "[].ap",
        "In[0].up",
    ),
    "names": ("own_li", "for x in ran", "@proper", "raise Val", "global own_l", "get_ip", "_"),
    "keys": (
        "own_dict['",
        "own_dict['al",
        'own_dict["al',
        "own_dict['beta']['",
        "own_dict[3",
        "own_dict['\u00e9",
    ),
    "own keys": ("keys['", "keys['key o", "own_dict.ke", "own_dict.items()."),
    "modules": ("import tokeni", "import os.pa", "import xml.et", "from os import getpi", "import no_such_"),
    "magics": ("%tim", "%%tim", "%lsm", "%alias_m", "%%captu", "%timeit own.at", "%%timeit\nown.at"),
    "settings": ("%config InlineB", "%config IPCompleter.use", "%matplotlib inl"),
    "files": ("%cd /et", "!ech", "/et", "'/et", "open('/etc/pass", "%run /et"),
    "within": ("x = [i for i in ran", "def f():\n    own.at", "a = 1\nown.at", "with open('x') as f: f.re"),
    "calls": (
        "lambda x: own.at",
        "print(own.at",
        "own_function(own.at",
        "own_function(1, c",
        "own.method(x=own.at",
    ),
    "spaces": ("own .at", "(own).at", "#own.at", "\u00e9 = own.at", "'\u00e9\U0001f600'; own.at"),
    "symbols": ("\\alph", "\\GREEK SMALL LETTER ALPH", "\u03b1"),
}


@pytest.fixture(params=[True, False], ids=["jedi", "no jedi"])
def named(request: pytest.FixtureRequest, router: str, both: Both) -> Iterator[Both]:
    """Both kernels with NAMES; with jedi and without."""
    if request.param:
        pytest.importorskip("jedi")
        if router == "plain":
            pytest.skip("jedi is slow, and knows nothing of routers")
    both.setup(NAMES + f"get_ipython().Completer.use_jedi = {request.param}")
    yield both
    both.setup("get_ipython().Completer.use_jedi = False")


def complete(both: Both, code: str, cursor_pos: int) -> dict[str, Any]:
    content = {"code": code, "cursor_pos": cursor_pos}
    replies = [
        plain(client.request("complete_request", content, timeout_s=40).content)
        for client in (both.ours, both.reference)
    ]
    for reply in replies:  # types that jedi finds out differ between two runs of ipykernel, too
        types = reply["metadata"].get("_jupyter_types_experimental", [])
        assert [one["text"] for one in types] == reply["matches"]
        assert all(sorted(one) == ["end", "signature", "start", "text", "type"] for one in types)
    assert _untyped(replies[0]) == _untyped(replies[1]), code
    return dict(replies[0])


def _untyped(reply: dict[str, Any]) -> dict[str, Any]:
    """Without types, and where all names are offered without the magics: ipykernel has some more."""
    types = reply["metadata"].get("_jupyter_types_experimental", [])
    names = [one for one in types if len(types) < 10 or not one["text"].startswith("%")]
    metadata = [(one["start"], one["end"], one["text"]) for one in names]
    return reply | {"metadata": metadata, "matches": [one["text"] for one in names]}


@pytest.mark.parametrize("what", CODES)
def test_complete(named: Both, what: str) -> None:
    for code in CODES[what]:
        complete(named, code, len(code))


@pytest.mark.parametrize(
    "code", ["own.at + 1", "a = own.at\nb = 2", "own_dict['al']", "own_function(own.at)"]
)
def test_complete_at_every_position(named: Both, code: str) -> None:
    for cursor_pos in range(len(code) + 1):
        if code[:cursor_pos].strip() and code[cursor_pos - 1].isalpha():
            complete(named, code, cursor_pos)


def test_types_and_signatures(both: Both) -> None:
    """With jedi, the very same as ipykernel's; for names of the user's own it has not to guess."""
    pytest.importorskip("jedi")
    both.setup(
        NAMES + "completer = get_ipython().Completer; completer.use_jedi = True\n"
        "completer.jedi_compute_type_timeout = 20_000  # ms; a loaded machine finds no types in 400"
    )
    for code in ("own.", "own.me", "own_f", "own_l", "slow.z", "own_dict['al"):
        both.request("complete_request", {"code": code, "cursor_pos": len(code)})
    content = {"code": "own_f", "cursor_pos": 5}
    (found,) = both.request("complete_request", content).content["metadata"]["_jupyter_types_experimental"]
    assert found["type"] == "function"
    assert found["signature"].startswith("(a: int, b: str='x', *args, c=3, **kw)")
    both.setup("get_ipython().Completer.use_jedi = False")


def test_own_completers(both: Both) -> None:
    """Hooks and matchers that a user or an extension registers are asked."""
    both.setup(
        "def own_completer(shell, event): return ['own_one', 'own_two']\n"
        "get_ipython().set_hook('complete_command', own_completer, str_key='%own_magic')\n"
        "get_ipython().register_magic_function(lambda line: None, magic_name='own_magic')\n"
        "def matcher(text): return ['own_match'] if text == 'own_m' else []\n"
        "get_ipython().Completer.custom_matchers.append(matcher)"
    )
    for code in ("%own_magic ", "%own_mag", "own_m"):
        both.request("complete_request", {"code": code, "cursor_pos": len(code)})


def test_complete_without_types(kernel: Callable[..., Any], reference_kernel: Callable[..., Any]) -> None:
    """The setting that turns the newer completions off."""
    setting = "--IPythonKernel.use_experimental_completions=False"
    both = Both(kernel(setting).client, reference_kernel(setting).client)
    both.setup(NAMES)
    for code in ("own.at", "a = 1\nown_li", "zzz_nowhere", "own_dict['al", "own_function(own.at"):
        reply = both.request("complete_request", {"code": code, "cursor_pos": len(code)}).content
        assert reply["metadata"] == {}


# --- inspect ---

INSPECTED = [
    *("own", "own.attr", "own.method", "own.prop", "own_function", "own_function(", "own_function(1, "),
    *("own_dict", "own_dict['alpha']", "len", "Own", "Own.method", "%timeit", "%%timeit", "print", "nowhere"),
    *(
        "os.path",
        "import",
        "own_list[0]",
        "own_list[0].attr",
        "bad",
        "slow.zz1",
        "",
        "1",
        "'abc'",
        "get_ipython",
    ),
    *("own_function(a=own", "own_function(own.attr", "own_function.", "own_function(own.method(", "'é'; own"),
]


@pytest.mark.parametrize("detail_level", [0, 1])
@pytest.mark.parametrize("code", INSPECTED)
def test_inspect(both: Both, code: str, detail_level: int) -> None:
    both.setup(NAMES)
    both.request("inspect_request", {"code": code, "cursor_pos": len(code), "detail_level": detail_level})


@pytest.mark.parametrize("sections", [["type_name"], ["docstring", "file"], ["no such section"]])
def test_inspect_without_sections(both: Both, sections: list[str]) -> None:
    both.setup(NAMES)
    content = {"code": "own_function", "cursor_pos": 3, "omit_sections": sections}
    both.request("inspect_request", content)


def test_inspect_at_every_position(both: Both) -> None:
    both.setup(NAMES)
    code = "own_function('é', own.method) + 1"
    for cursor_pos in range(len(code) + 1):
        both.request("inspect_request", {"code": code, "cursor_pos": cursor_pos})


def test_inspect_as_html(both: Both) -> None:
    """Only where the user asked for html in the pager."""
    both.setup(NAMES)
    content = {"code": "own_function", "cursor_pos": 3, "detail_level": 1}
    assert sorted(both.request("inspect_request", content).content["data"]) == ["text/plain"]
    both.setup("get_ipython().enable_html_pager = True")
    assert sorted(both.request("inspect_request", content).content["data"]) == ["text/html", "text/plain"]
    both.setup("get_ipython().enable_html_pager = False")


def test_inspect_own_mime_types(both: Both) -> None:
    both.setup(
        "class M:\n    @classmethod\n    def _repr_mimebundle_(cls, **k): return {'text/plain': 'p'}\nm = M()"
    )
    both.request("inspect_request", {"code": "m", "cursor_pos": 1})


@pytest.mark.parametrize(
    "code", ["own?", "own_function??", "own.method?", "nowhere?", "own*?", "?own", "%timeit?"]
)
def test_question_marks(both: Both, code: str) -> None:
    """The pager's payload is the same text."""
    both.setup(NAMES)
    both.execute(code)


# --- is_complete ---


@pytest.mark.parametrize(
    "code",
    [
        *(
            "1",
            "",
            "x = )",
            "for i in range(3):",
            "if True:\n    if True:",
            "(1 +",
            "'''",
            "%%timeit",
            "await f()",
            "x?",
        ),
        *(
            "def f():\n    return 1",
            "def f():\n    return 1\n",
            "def f():\n  pass\n\n",
            "%%bash\nls",
            "!ls",
            "a = [",
            "\\",
        ),
        *(
            "try:",
            "class A:\n    x = 1",
            "@d",
            "x = 1 \\",
            "'",
            "print('",
            "if a: b",
            "raise = 2",
            "async def f():",
            "\t1",
        ),
    ],
)
def test_is_complete(both: Both, code: str) -> None:
    both.request("is_complete_request", {"code": code})
