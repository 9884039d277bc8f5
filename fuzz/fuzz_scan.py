"""Any bytes at all: the compiled header scan and json.loads accept the same headers and read the same fields.

Usage: python fuzz/fuzz_scan.py [--cases N] [--seconds S] [--seed SEED]
Exits with 1 and prints the header if they disagree.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from fastshell import _wire
from fastshell._contract import UNUSABLE, HeaderFields, Unusable

#: A valid header each; the edits below make the rest.
SEEDS = [
    b'{"msg_id": "5a0c8f3e-0d1c4b1c_12345_17", "msg_type": "execute_request", "username": "ada",'
    b' "session": "5a0c8f3e-0d1c4b1c", "date": "2025-01-01T12:34:56.789012Z", "version": "5.4",'
    b' "subshell_id": "0d3c5f1a-6a1b-4c7b-9c39-a4f9a1b6d2e1"}',
    b'{"msg_id":"1","msg_type":"comm_msg","subshell_id":null}',
    b'{"subshell_id":"a","subshell_id":"b","msg_type":null,"msg_type":"t","msg_id":1,"msg_id":"2"}',
    rb'{"\u0073ubshell_id":"\u00e9\ud83d\ude00","msg\u005ftype":"\"\\\/\b\f\n\r\t","msg_id":"\ud800"}',
    '{"subshell_id":"é€😀","msg_type":"ü","msg_id":"\u07ff\u0800\uffff\U00010000\U0010ffff"}'.encode(),
    b'{"n":[0,-0,1.5,-2e10,3E-7,4.5e+6,NaN,Infinity,-Infinity,true,false,null],"msg_id":[]}',
    b'{"a":{"msg_id":"inner","b":[{"msg_type":["x",{}]},[[]]]},"msg_type":{"subshell_id":"no"}}',
    b'{"msg_type":"' + b"x" * 250 + rb'\u00e9\u00e9\u00e9","msg_id":"' + b"y" * 300 + b'"}',
    b" \t\n\r{ } ",
]

#: Put in anywhere.
TOKENS = [
    *[bytes([byte]) for byte in b'{}[]:,"\\/ \t\n\r\0\x1f\x7f\x80\xc0\xff0123456789-+.eE'],
    *[rb"\u", rb"\ud83d", rb"\ude00", rb"\u0000", rb"\n", rb"\x", rb"\"", rb"\\"],
    *[text.encode() for text in ("é", "\ufeff", "😀")],
    *[b"\xed\xa0\x80", b"\xc0\xaf", b"\xe2\x82", b"\xf4\x90\x80\x80"],
    *[b'"msg_id":', b'"msg_type":', b'"subshell_id":', b'"":', b'""', b'"a"', b"[]", b"{}", b"[{", b"}]"],
    *[b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity", b"nul"],
    *[b"01", b"-", b"1.", b"1e", b"1e9", b"1e999"],
    *[b"[" * 9, b"]" * 9, b'{"a":' * 9, b"}" * 9],
]


def mutations(seed: int) -> Iterator[bytes]:
    """Seeds with up to four edits, for ever. The same seed gives the same bytes on each Python."""
    draw = random.Random(seed).random
    yield from SEEDS
    while True:
        header = SEEDS[int(draw() * len(SEEDS))]
        for _ in range(1 + int(draw() * draw() * 4)):  # mostly one, so that many stay valid
            header = _edited(header, draw)
        yield header


def _edited(header: bytes, draw: Callable[[], float]) -> bytes:
    at = int(draw() * (len(header) + 1))
    end = at + int(draw() * draw() * 12)
    kind = int(draw() * 6)
    if kind == 0:  # a token in place of some bytes
        return header[:at] + TOKENS[int(draw() * len(TOKENS))] + header[end:]
    if kind == 1:  # a token more
        return header[:at] + TOKENS[int(draw() * len(TOKENS))] + header[at:]
    if kind == 2:  # any other byte
        return header[:at] + bytes([int(draw() * 256)]) + header[at + 1 :]
    if kind == 3:  # some bytes twice
        return header[:end] + header[at:]
    if kind == 4:  # the end of another seed
        other = SEEDS[int(draw() * len(SEEDS))]
        return header[:at] + other[int(draw() * len(other)) :]
    # One byte spelled as an escape, which leaves letters in strings what they are.
    return header[:at] + b"".join(b"\\u%04x" % byte for byte in header[at : at + 1]) + header[at + 1 :]


def read_by_json_loads(header: bytes) -> HeaderFields | None:
    """What the scan should find, by the shortest way to say so."""
    try:
        members = json.loads(header.decode())
    except ValueError:
        return None
    if not isinstance(members, dict):
        return None
    return HeaderFields(*map(_usable, map(members.get, HeaderFields._fields)))


def _usable(value: object) -> str | Unusable | None:
    if value is None:
        return None
    if not isinstance(value, str) or (not value.isascii() and any("\ud800" <= c < "\ue000" for c in value)):
        return UNUSABLE
    return value


def agree(header: bytes) -> bool:
    """Compare; a string of over 255 bytes is unusable if it was spelled with escapes."""
    found, expected = _wire.scan_header(header), read_by_json_loads(header)
    if found == expected:
        return True
    if found is None or expected is None or b"\\" not in header:
        return False
    return all(
        one == other or (one is UNUSABLE and isinstance(other, str) and len(other.encode()) > 255)
        for one, other in zip(found, expected, strict=True)
    )


def wanted(arguments: Sequence[str] | None, cases: int) -> tuple[Iterator[int], int]:
    """Read the command line; return (the numbers of the cases to run, the seed)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, help=f"default {cases:,}, or as many as --seconds allows")
    parser.add_argument("--seconds", type=float, help="stop then")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    def numbers() -> Iterator[int]:
        deadline = time.monotonic() + options.seconds if options.seconds else None
        limit = options.cases or (sys.maxsize if deadline else cases)
        for number in range(limit):
            if deadline and number % 1024 == 0 and time.monotonic() > deadline:
                return
            yield number

    return numbers(), options.seed


def main(arguments: Sequence[str] | None = None) -> int:
    numbers, seed = wanted(arguments, cases=1_000_000)
    count = valid = 0
    for _, header in zip(numbers, mutations(seed), strict=False):
        if not agree(header):
            print(f"{header!r}\ncompiled scan: {_wire.scan_header(header)}", file=sys.stderr)
            print(f"json.loads:    {read_by_json_loads(header)}", file=sys.stderr)
            return 1
        count += 1
        valid += _wire.scan_header(header) is not None
    print(f"fuzz_scan: {count:,} headers agree, {valid:,} of them valid (seed {seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
