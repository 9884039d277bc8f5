"""Any frames at all: the compiled and the plain wire functions return the same or raise the same WireError.

Usage: python fuzz/fuzz_wire.py [--cases N] [--seconds S] [--seed SEED]
Exits with 1 and prints the case if they disagree. Covers split, sign, verify and json_text.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from fuzz_scan import wanted

from fastshell import _wire
from fastshell.protocol import wire

#: The bytes at which UTF-8 decoding changes its mind, quotes, controls and letters.
BYTES = bytes.fromhex(
    "00 08 0a 1b 1f 20 22 5c 61 61 61 7e 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f4 f5 ff"
)


def cases(seed: int) -> Iterator[tuple[list[bytes], bytes, bytes]]:
    """Frames, a key and raw text, for ever."""
    draw = random.Random(seed)
    while True:
        frames = [draw.randbytes(draw.randrange(80)) for _ in range(draw.randrange(10))]
        for _ in range(draw.choice((0, 1, 1, 1, 2))):
            frames.insert(draw.randint(0, len(frames)), wire.DELIMITER)
        key = draw.randbytes(draw.choice((0, 1, 36, 63, 64, 65, 130)))
        yield frames, key, bytes(draw.choices(BYTES, k=draw.randrange(40)))


def outcome(module: ModuleType, frames: list[bytes], key: bytes, raw: bytes) -> object:
    """All that the module makes of one case."""
    texts = module.json_text(raw), module.json_text(raw, False)
    try:
        identities, signature, parts = module.split(frames)
    except wire.WireError as error:
        return texts, error.reason, str(error)
    signed = module.sign(key, parts)
    flipped = bytes([signed[0] ^ 1]) + signed[1:] if signed else b"x"
    answers = [module.verify(key, given, parts) for given in (signed, signed.upper(), signature, flipped)]
    return texts, identities, signature, parts, signed, answers


def main(arguments: Sequence[str] | None = None) -> int:
    numbers, seed = wanted(arguments, cases=200_000)
    count = 0
    for _, case in zip(numbers, cases(seed), strict=False):
        compiled, plain = outcome(_wire, *case), outcome(wire, *case)
        if compiled != plain:
            print(f"{case!r}\ncompiled: {compiled}\nplain:    {plain}", file=sys.stderr)
            return 1
        count += 1
    print(f"fuzz_wire: {count:,} cases agree (seed {seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
