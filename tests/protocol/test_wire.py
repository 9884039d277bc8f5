"""One table of cases for the compiled wire functions and their plain twins."""

from __future__ import annotations

import ast
import hashlib
import hmac
import importlib.util
import inspect
import itertools
import json
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fastshell import _wire
from fastshell._contract import DROP_REASONS, UNUSABLE, HeaderFields
from fastshell.protocol import wire

DELIMITER = b"<IDS|MSG>"
FUZZ = Path(__file__).parents[2] / "fuzz"
NOTHING = HeaderFields(None, None, None)

both = pytest.mark.parametrize("module", [pytest.param(_wire, id="compiled"), pytest.param(wire, id="plain")])

PARTS = [b'{"msg_id":"1"}', b"{}", b"{}", b'{"code":"1"}']
IDENTITIES = {"none": [], "one": [b"\x00k\x8bEg"], "many": [b"a", b"", b"c" * 255]}
BUFFERS = {"no": [], "some": [b"", b"\x00\xff" * 10, DELIMITER], "huge": [b"x" * 5_000_000]}
KEYS = {
    "empty": b"",
    "short": b"k",
    "uuid": b"a0436f6c-1916-498b-8eb9-e81ab9368e84",
    "a byte less than a block": b"k" * 63,
    "a block": b"\x00\xff" * 32,
    "longer than a block": b"k" * 65,
    "two blocks and more": bytes(range(256)),
}
WITH_KEYS = {name: key for name, key in KEYS.items() if key}


def named(table: dict[str, object]) -> list[object]:
    return [pytest.param(value, id=name) for name, value in table.items()]


def digest(key: bytes, parts: list[bytes]) -> bytes:
    return hmac.new(key, b"".join(parts), hashlib.sha256).hexdigest().encode()


@both
@pytest.mark.parametrize("identities", named({**IDENTITIES}))
@pytest.mark.parametrize("buffers", named({**BUFFERS}))
def test_split_gives_back_what_was_joined(
    module: ModuleType, identities: list[bytes], buffers: list[bytes]
) -> None:
    frames = [*identities, DELIMITER, b"signature", *PARTS, *buffers]
    before = list(frames)
    assert module.split(frames) == (identities, b"signature", PARTS + buffers)
    assert frames == before


@both
@pytest.mark.parametrize("identities", named({**IDENTITIES}))
@pytest.mark.parametrize("kept", range(5))
def test_split_refuses_missing_parts(module: ModuleType, identities: list[bytes], kept: int) -> None:
    with pytest.raises(wire.WireError) as caught:
        module.split([*identities, DELIMITER, *[b"signature", *PARTS][:kept]])
    assert caught.value.reason == "parts"
    assert str(caught.value) == f"{kept} frames behind the delimiter, need 5"


@both
@pytest.mark.parametrize("frames", [[], [b""], [b"<IDS|MSG", b"<ids|msg>", *PARTS, *PARTS], PARTS])
def test_split_refuses_frames_without_delimiter(module: ModuleType, frames: list[bytes]) -> None:
    with pytest.raises(wire.WireError) as caught:
        module.split(frames)
    assert caught.value.reason == "delimiter"
    assert caught.value.reason in DROP_REASONS


@both
@pytest.mark.parametrize("key", named({**WITH_KEYS}))
@pytest.mark.parametrize("parts", [PARTS, [b"", b"", b"", b""], [*PARTS[:3], b"x" * 5_000_000]])
def test_sign_agrees_with_hashlib_and_verify_accepts_it(
    module: ModuleType, key: bytes, parts: list[bytes]
) -> None:
    signature = module.sign(key, parts)
    assert signature == digest(key, parts)
    assert module.verify(key, signature, parts) is True
    assert module.verify(key, signature, tuple(parts)) is True


@both
def test_buffers_are_not_signed(module: ModuleType) -> None:
    assert module.sign(b"key", [*PARTS, b"buffer"]) == module.sign(b"key", PARTS)
    assert module.verify(b"key", module.sign(b"key", PARTS), [*PARTS, b"buffer"])


@both
@pytest.mark.parametrize("signature", [b"", b"x", digest(b"other", PARTS)])
def test_an_empty_key_signs_nothing_and_accepts_all(module: ModuleType, signature: bytes) -> None:
    assert module.sign(b"", PARTS) == b""
    assert module.verify(b"", signature, PARTS) is True


GOOD = digest(b"key", PARTS)
BAD_SIGNATURES = {
    "empty": b"",
    "of another key": digest(b"other", PARTS),
    "of other parts": digest(b"key", PARTS[:3]),
    "one digit less": GOOD[:-1],
    "one digit more": GOOD + b"0",
    "NUL behind": GOOD + b"\0",
    "upper case": GOOD.upper(),
    "no digits": b"g" * 64,
    "not ASCII": b"\xff" * 64,
    "raw": bytes.fromhex(GOOD.decode()),
    **{f"wrong in digit {at}": GOOD[:at] + b"x" + GOOD[at + 1 :] for at in (0, 1, 31, 62, 63)},
    **{f"wrong in bit {at}": b"%064x" % (int(GOOD, 16) ^ 1 << at) for at in (0, 7, 100, 255)},
}


@both
@pytest.mark.parametrize("signature", named({**BAD_SIGNATURES}))
def test_verify_refuses_bad_signatures(module: ModuleType, signature: bytes) -> None:
    assert module.verify(b"key", signature, PARTS) is False
    assert module.verify(b"key", GOOD, PARTS) is True


@both
def test_verify_sees_a_change_in_any_part(module: ModuleType) -> None:
    for at in range(4):
        parts = [part + b" " if at == number else part for number, part in enumerate(PARTS)]
        assert module.verify(b"key", GOOD, parts) is False


@pytest.mark.parametrize("scheme", ["hmac-sha256", "hmac-sha512", "hmac-md5", "hmac-blake2b"])
def test_plain_sign_takes_any_hash_of_hashlib(scheme: str) -> None:
    signature = hmac.new(b"key", b"".join(PARTS), scheme[5:]).hexdigest().encode()
    assert wire.sign(b"key", PARTS, scheme) == signature
    assert wire.verify(b"key", signature, PARTS, scheme)
    assert not wire.verify(b"key", signature[:-1], PARTS, scheme)


@pytest.mark.parametrize("scheme", ["", "hmac", "hmac-", "sha256", "hmac-rot13"])
def test_plain_sign_refuses_other_schemes(scheme: str) -> None:
    with pytest.raises(ValueError):
        wire.sign(b"key", PARTS, scheme)


def check_hashes(data: bytes, key: bytes) -> None:
    expected = hashlib.sha256(data).digest()
    assert _wire.sha256(data) == expected, data
    assert _wire._sha256_portable(data) == expected, data
    if key:
        assert _wire.sign(key, [data]) == hmac.digest(key, data, "sha256").hex().encode(), (key, data)


def test_hashes_agree_with_hashlib_on_short_lengths() -> None:
    data = random.Random(0).randbytes(1025)
    for size in range(1025):
        check_hashes(data[:size], data[:size])


def test_hashes_agree_with_hashlib_on_random_input() -> None:
    draw = random.Random(1)
    for _ in range(100_000):
        check_hashes(draw.randbytes(int(draw.random() * 300)), draw.randbytes(int(draw.random() * 100)))


def test_hashes_agree_with_hashlib_on_a_large_input() -> None:
    check_hashes(random.Random(2).randbytes(3_000_001), b"key")


@pytest.mark.slow
def test_sha256_counts_more_bits_than_32() -> None:
    data = bytes(2**29 + 1)  # zero pages, which take no memory
    assert _wire.sha256(data) == hashlib.sha256(data).digest()


def test_hmac_is_the_same_however_the_parts_are_cut() -> None:
    """Each part leaves the next one at another place in its block."""
    draw = random.Random(3)
    for _ in range(2_000):
        data = draw.randbytes(400)
        first, second, third = sorted(draw.randrange(401) for _ in range(3))
        parts = [data[:first], data[first:second], data[second:third], data[third:]]
        assert _wire.sign(b"key", parts) == digest(b"key", parts)


def test_sha256_accelerated_tells_the_same_twice() -> None:
    assert _wire.sha256_accelerated() is _wire.sha256_accelerated()


def fields(**members: object) -> HeaderFields:
    return NOTHING._replace(**members)  # type: ignore[arg-type]


def nested(depth: int, inner: str = "") -> bytes:
    """A header of which the array under "a" is `depth` deep with the header itself."""
    return (
        '{"msg_id":"1","a":' + "[" * (depth - 1) + inner + "]" * (depth - 1) + ',"msg_type":"t"}'
    ).encode()


NESTED = fields(msg_id="1", msg_type="t")

NO_VALUES = (
    b"01 -01 00 +1 .5 1. 1.e5 1e 1e+ 1e1.5 - -- 0x10 1_0 -NaN +Infinity nan inf Inf Infinit -Infinit "
    b"infinity True None nul nulll tru truee falsey undefined 'a' a 1a \xd9\xa1"
).split()

#: One on each line; the first is empty.
MALFORMED = rb"""

{
}
[
]
[]
[{"msg_id":"1"}]
"msg_id"
null
1
{}{}
{} {}
{}x
{},
{,}
{:}
{1:2}
{null:1}
{a:1}
{'a':1}
{[]:1}
{{}}
{"a"}
{"a":}
{"a",1}
{"a" 1}
{"a"::1}
{"a":1,}
{"a":1 "b":2}
{"a":1,,"b":2}
{"a":1]
{"a":[1}
{"a":[1,]}
{"a":[,1]}
{"a":[1 2]}
{"a":{"b"]}
{"a":[}
{"a":{]}
{"a":["b":1]}
{"a":1}}
{"a":1}]
{"a":1;}
{"a":"b""c"}
{"a":"b"c}
{"a":1"b"}
{"a":truefalse}
{"a":[]1}
{"a":1[]}
{"a":/**/1}
/**/{}
{}//
{"a
{"a"
{"a":
{"a":"b
{"a":1
{"a":1,
{"a":[1
{"a":{}
""".splitlines()

HEADERS: dict[bytes, HeaderFields | None] = {
    # Which members count.
    b"{}": NOTHING,
    b" \t\r\n{ \t\r\n} \t\r\n": NOTHING,
    b'{"msg_id":"1","msg_type":"t","subshell_id":"s"}': HeaderFields("s", "t", "1"),
    b' { "msg_id" : "1" , "subshell_id" : null } ': fields(msg_id="1"),
    b'{"msg_id":"","msg_type":""}': fields(msg_id="", msg_type=""),
    b'{"msg_id":"1","msg_id":"2"}': fields(msg_id="2"),
    b'{"msg_id":"1","msg_id":null}': NOTHING,
    b'{"msg_id":[],"msg_id":"1"}': fields(msg_id="1"),
    b'{"msg_id":"1","msg_id":{}}': fields(msg_id=UNUSABLE),
    rb'{"msg_id":"\u0031","msg_id":"2"}': fields(msg_id="2"),
    b'{"msg_type":1}': fields(msg_type=UNUSABLE),
    b'{"msg_type":true,"msg_id":NaN,"subshell_id":[]}': HeaderFields(UNUSABLE, UNUSABLE, UNUSABLE),
    b'{"a":{"msg_id":"1"},"b":[{"msg_type":"t"}],"c":["subshell_id","s"]}': NOTHING,
    b'{"msg_id":{"msg_id":"1"},"msg_type":["t"]}': fields(msg_id=UNUSABLE, msg_type=UNUSABLE),
    b'{"msg_id":["msg_type",":"],"x":"t"}': fields(msg_id=UNUSABLE),
    b'{"msg_ids":"1","MSG_ID":"1","msg_i":"1","msg_id ":"1","subshell_idx":"1"}': NOTHING,
    # Escapes, in names and in values.
    rb'{"\u006dsg_\u0069d":"1","msg_typ\u0065":"t","\u0073ubshell\u005Fid":"s"}': HeaderFields("s", "t", "1"),
    rb'{"msg_id\u0000":"1","msg_id\n":"1","\ud800":"1","\u0000\u0000\u0000\u0000\u0000\u0000":""}': NOTHING,
    rb'{"msg_id":"\"\\\/\b\f\n\r\t"}': fields(msg_id='"\\/\b\f\n\r\t'),
    rb'{"msg_id":"\u0000\u007f\u0080\u07ff\u0800\uFFFF"}': fields(msg_id="\0\x7f\x80\u07ff\u0800\uffff"),
    rb'{"msg_id":"\ud800\udc00\uDBFF\uDFFF"}': fields(msg_id="\U00010000\U0010ffff"),
    rb'{"msg_id":"\ud800"}': fields(msg_id=UNUSABLE),
    rb'{"msg_id":"\udc00\ud800"}': fields(msg_id=UNUSABLE),
    rb'{"msg_id":"\ud800\ud800\udc00"}': fields(msg_id=UNUSABLE),
    rb'{"msg_id":"\ud800A"}': fields(msg_id=UNUSABLE),
    rb'{"msg_id":"\ud800\n"}': fields(msg_id=UNUSABLE),
    rb'{"msg_id":"\ud800\ue000"}': fields(msg_id=UNUSABLE),
    rb'{"msg_id":"\ud800\udbff"}': fields(msg_id=UNUSABLE),
    rb'{"msg_id":"\ud800\u0041"}': fields(msg_id=UNUSABLE),
    rb'{"msg_id":"\u12"}': None,
    rb'{"msg_id":"\u12g4"}': None,
    rb'{"msg_id":"\u+123"}': None,
    rb'{"msg_id":"\x41"}': None,
    rb'{"msg_id":"\U0041"}': None,
    b'{"msg_id":"\\': None,
    b'{"msg_id":"\\"}': None,
    rb'{"msg_id":"\ud800\u"}': None,
    # Strings as they are, and their lengths: 255 bytes is the limit for escaped ones only.
    b'{"msg_id":"' + b"x" * 5000 + b'"}': fields(msg_id="x" * 5000),
    b'{"msg_id":"' + b"x" * 254 + rb'\u0078"}': fields(msg_id="x" * 255),
    b'{"msg_id":"' + b"x" * 255 + rb'\u0078"}': fields(msg_id=UNUSABLE),
    b'{"msg_id":"' + b"x" * 253 + rb'\u00e9"}': fields(msg_id="x" * 253 + "é"),
    b'{"msg_id":"' + b"x" * 254 + rb'\u00e9"}': fields(msg_id=UNUSABLE),
    b'{"a":"\\n","msg_id":"' + b"x" * 256 + b'"}': fields(msg_id="x" * 256),
    b'{"msg_id":"' + b"\\n" * 256 + b'" , "msg_id" : "' + b"x" * 256 + b'" }': fields(msg_id="x" * 256),
    b'{"msg_id":"' + b"x" * 256 + b'","msg_\\u0069d":"' + b"\\n" * 256 + b'"}': fields(msg_id=UNUSABLE),
    b'{"msg_id":"\x7f"}': fields(msg_id="\x7f"),
    b'{"msg_id":"a\nb"}': None,
    b'{"msg_id":"a\0b"}': None,
    b'{"msg_id":"\x1f"}': None,
    # UTF-8.
    '{"msg_id":"\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"}'.encode(): fields(
        msg_id="\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
    ),
    '{"é":"€"}'.encode(): NOTHING,
    b'{"msg_id":"\x80"}': None,
    b'{"msg_id":"\xc0\xaf"}': None,
    b'{"msg_id":"\xc3"}': None,
    b'{"msg_id":"\xe0\x9f\xbf"}': None,
    b'{"msg_id":"\xed\xa0\x80"}': None,
    b'{"msg_id":"\xf0\x8f\xbf\xbf"}': None,
    b'{"msg_id":"\xf4\x90\x80\x80"}': None,
    b'{"msg_id":"\xf5\x80\x80\x80"}': None,
    b'{"msg_id":"\xff"}': None,
    b'{"\xff":"1"}': None,
    b'{"msg_id":"\xe2\x82': None,
    b'{"msg_id":"1"}\xff': None,
    b"\0": None,
    b"{}\0": None,
    b"\f{}": None,
    b"\v{}": None,
    '\ufeff{"msg_id":"1"}'.encode(): None,
    '{"msg_id":"1"}'.encode("utf-16"): None,
    '{\u00a0"msg_id":"1"}'.encode(): None,
    # Numbers and words.
    b'{"a":[0,-0,10,-1.5,0.0,1e5,1E+05,1.25e-7,1e999,-1e999,NaN,Infinity,-Infinity]}': NOTHING,
    b'{"a":' + b"9" * 4300 + b"}": NOTHING,
    b'{"a":-' + b"9" * 4300 + b"}": NOTHING,
    b'{"a":' + b"9" * 4301 + b"}": None,
    b'{"a":-' + b"9" * 4301 + b"}": None,
    b'{"a":' + b"9" * 4301 + b".0}": NOTHING,
    b'{"a":' + b"9" * 4301 + b"e0}": NOTHING,
    **dict.fromkeys((b'{"a":' + wrong + b"}" for wrong in NO_VALUES), None),
    **dict.fromkeys(MALFORMED, None),
    # Nesting, in which a wrong value may hide.
    nested(2): NESTED,
    nested(255, "0"): NESTED,
    nested(256, "0"): NESTED,
    nested(257, '"]"'): NESTED,
    nested(513, '{"msg_id":"[["}'): NESTED,
    nested(1024): NESTED,
    nested(1024, '"\\"","\\\\"'): NESTED,
    nested(1025): None,
    nested(5000): None,
    nested(256, "x"): None,
    nested(300, "]["): None,
    nested(300, "["): None,
    nested(300, "]"): None,
    nested(300, "}"): None,
    nested(300, '"'): None,
    nested(256, "") + b"]": None,
    nested(300, "").replace(b"[]", b"{}"): NESTED,
    nested(300, "").replace(b"[[", b"1[[", 1): None,
    nested(300, "").replace(b"]]", b"]]1", 1): None,
    nested(300, "").replace(b"[]", b'{["a"]:1}'): None,
    b'{"a":' * 1024 + b"1" + b"}" * 1024: NOTHING,
    b'{"a":' * 1025 + b"1" + b"}" * 1025: None,
    b'{"a":' * 1023 + b"[]" + b"}" * 1023: NOTHING,
    b'{"a":' * 1024 + b"[]" + b"}" * 1024: None,
    b'{"a":[' + b"[]," * 2000 + b'{}],"msg_id":"1"}': fields(msg_id="1"),
    b"[" * 100_000: None,
    b'{"a":' + b"[" * 1023: None,
    b'{"' + b"[" * 300 + b'":"' + b"[" * 300 + rb'\"","msg_id":"1"}': fields(msg_id="1"),
    b'{"a":' + b"[" * 500 + b"]" * 500 + b',"msg_id":"' + b"\\n" * 256 + b'"}': fields(msg_id=UNUSABLE),
}


@both
def test_scan_header_reads_and_refuses(module: ModuleType) -> None:
    for header, expected in HEADERS.items():
        assert module.scan_header(header) == expected, header


def test_the_table_says_what_json_loads_does() -> None:
    """But for depth, where json has no limit of its own and Python's differ."""
    for header, expected in HEADERS.items():
        if header.count(b"[") + header.count(b'{"a":') > 200:
            continue
        try:
            members = json.loads(header.decode())
        except ValueError:
            members = None
        assert isinstance(members, dict) == (expected is not None), header
        for name, value in zip(HeaderFields._fields, expected or (), strict=False):
            assert value is UNUSABLE or members.get(name) == value, header


@both
def test_scan_header_refuses_every_cut(module: ModuleType) -> None:
    """A valid header that lost its end never reads beyond it, nor is it taken for a whole one."""
    for header, expected in HEADERS.items():
        if expected is not None and len(header) < 300:
            for size in range(len(header.rstrip())):
                assert module.scan_header(header[:size]) is None, header[:size]


def load_fuzz(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FUZZ))
    spec = importlib.util.spec_from_file_location(name, FUZZ / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_scan_header_agrees_with_json_loads_on_mutations(monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz_scan = load_fuzz("fuzz_scan", monkeypatch)
    valid = 0
    for header in itertools.islice(fuzz_scan.mutations(seed=1), 20_000):
        assert fuzz_scan.agree(header), header
        found = _wire.scan_header(header)
        assert wire.scan_header(header) == found, header
        valid += found is not None
    assert 2_000 < valid < 18_000  # or the mutations do not test much


@pytest.mark.parametrize("name", ["fuzz_scan", "fuzz_wire"])
def test_fuzz_targets_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fuzz = load_fuzz(name, monkeypatch)
    assert fuzz.main(["--cases", "2000", "--seed", "2"]) == 0
    assert "2,000" in capsys.readouterr().out


def test_fuzz_scan_reports_a_disagreement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fuzz_scan = load_fuzz("fuzz_scan", monkeypatch)
    monkeypatch.setattr(fuzz_scan, "read_by_json_loads", lambda header: None)
    assert fuzz_scan.main(["--cases", "2000"]) == 1
    assert repr(fuzz_scan.SEEDS[0]) in capsys.readouterr().err


TEXTS: dict[bytes, bytes] = {
    b"": b"",
    b"plain ASCII, longer than one word of it": b"plain ASCII, longer than one word of it",
    b'say "hi" \\ bye': rb"say \"hi\" \\ bye",
    b"\n\r\t\b\f": rb"\n\r\t\b\f",
    b"\x00\x01\x1b[31m\x1f\x7f": rb"\u0000\u0001\u001b[31m\u001f" + b"\x7f",
    "ünï — 😀".encode(): "ünï — 😀".encode(),
    b"\xff": "\ufffd".encode(),
    b"ab\xc0\xafcd": "ab\ufffd\ufffdcd".encode(),
    b"\xe2\x82": "\ufffd".encode(),
    b"\xe2\x82x": "\ufffdx".encode(),
    b"\xed\xa0\x80": "\ufffd\ufffd\ufffd".encode(),
    b"\xf0\x9f\x98": "\ufffd".encode(),
    b"\xf0\x9f\x98\n": "\ufffd\\n".encode(),
    b"\xf4\x90\x80\x80": "\ufffd\ufffd\ufffd\ufffd".encode(),
    b"\x00" * 1000: rb"\u0000" * 1000,
    b"\x80" * 1000: "\ufffd".encode() * 1000,
    b"x" * 1000 + b'"': b"x" * 1000 + rb"\"",
}

#: Bytes at which UTF-8 changes its mind.
EDGES = bytes.fromhex("00 1f 20 22 41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff")


def check_text(module: ModuleType, raw: bytes) -> None:
    text, consumed = module.json_text(raw)
    assert consumed == len(raw)
    assert json.loads(b'"' + text + b'"') == raw.decode("utf-8", "replace"), raw


def fed_in_chunks(module: ModuleType, chunks: list[bytes]) -> bytes:
    text = left_over = b""
    piece: bytes
    for chunk in chunks:
        raw = left_over + chunk
        piece, consumed = module.json_text(raw, False)
        left_over = raw[consumed:]
        assert len(left_over) <= 3
        text += piece
    piece, consumed = module.json_text(left_over, final=True)
    assert consumed == len(left_over)
    return text + piece


@both
def test_json_text_writes(module: ModuleType) -> None:
    for raw, text in TEXTS.items():
        assert module.json_text(raw) == (text, len(raw))
        check_text(module, raw)


@both
def test_json_text_replaces_as_python_does(module: ModuleType) -> None:
    for length in (1, 2, 3):
        for sequence in itertools.product(EDGES, repeat=length):
            check_text(module, bytes(sequence))
            assert _wire.json_text(bytes(sequence), False) == wire.json_text(bytes(sequence), False)


@both
@pytest.mark.parametrize(
    ("raw", "left_over"),
    [
        (b"abc", 0),
        (b"a\xc3", 1),
        (b"a\xe2", 1),
        (b"a\xe2\x82", 2),
        (b"a\xf0\x9f\x98", 3),
        (b"a\xf0\x9f\x98\x80", 0),
        (b"a\x80", 0),
        (b"a\xc0", 0),
        (b"a\xe0\x80", 0),
        (b"a\xed\xa0", 0),
        (b"a\xf4\x90", 0),
        (b"a\xf5", 0),
    ],
)
def test_json_text_leaves_an_unfinished_character(module: ModuleType, raw: bytes, left_over: int) -> None:
    text, consumed = module.json_text(raw, False)
    assert consumed == len(raw) - left_over
    assert text == module.json_text(raw[:consumed])[0]


@both
def test_json_text_in_chunks_is_that_of_the_whole(module: ModuleType) -> None:
    for raw, text in TEXTS.items():
        for size in range(min(len(raw), 50) + 1):
            assert fed_in_chunks(module, [raw[:size], raw[size:]]) == text
        if len(raw) < 50:
            assert fed_in_chunks(module, [raw[at : at + 1] for at in range(len(raw))]) == text


@both
def test_json_text_on_random_bytes(module: ModuleType) -> None:
    draw = random.Random(4)
    for _ in range(5_000):
        raw = bytes(draw.choices(EDGES + b"abcdefghijklmnopqrst", k=draw.randrange(60)))
        check_text(module, raw)
        cuts = sorted(draw.randrange(len(raw) + 1) for _ in range(3))
        chunks = [raw[start:end] for start, end in itertools.pairwise([0, *cuts, len(raw)])]
        assert fed_in_chunks(module, chunks) == module.json_text(raw)[0]


def test_the_stub_names_what_the_module_has() -> None:
    stub = ast.parse(Path(wire.__file__).parents[1].joinpath("_wire.pyi").read_text())
    for function in stub.body:
        if isinstance(function, ast.FunctionDef):
            parameters = [argument.arg for argument in function.args.args]
            assert list(inspect.signature(getattr(_wire, function.name)).parameters) == parameters


@both
@pytest.mark.parametrize(
    ("function", "arguments"),
    [("scan_header", ["{}"]), ("json_text", ["text"]), ("sign", [b"key", ["{}", "{}", "{}", "{}"]])],
)
def test_only_bytes_are_taken(module: ModuleType, function: str, arguments: list[object]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        getattr(module, function)(*arguments)
