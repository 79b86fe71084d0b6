"""The bodies of test objects: any size from a seed, the same here and in tests/src/data.rs.

    block(seed)   1 MiB: SHA-256(seed as 8 bytes LE || n as 8 bytes LE) for n = 0, 1, 2 ...
    body          block after block; in block number b the first 8 bytes are XORed with b
                  (8 bytes LE), so that no two blocks are equal and a misplaced one shows

Random to every compressor with a window under 1 MiB, and cheap: a long body costs one pass
over memory. A short one costs only the hashes that it needs.
"""

import collections.abc
import functools
import hashlib
import struct

BLOCK = 1 << 20
DIGEST = 32


def prefix(seed: int, length: int) -> bytes:
    """The first `length` bytes of the seed's block."""
    head = struct.pack("<Q", seed)
    count = -(-length // DIGEST)
    sha256 = hashlib.sha256
    return b"".join(sha256(head + struct.pack("<Q", n)).digest() for n in range(count))[:length]


@functools.lru_cache(maxsize=16)
def block(seed: int) -> bytes:
    return prefix(seed, BLOCK)


def numbered(content: bytes, number: int) -> bytes:
    """The block's content as it stands at place `number`."""
    if number == 0:
        return content
    (first,) = struct.unpack_from("<Q", content)
    return struct.pack("<Q", first ^ number) + content[8:]


def blocks(seed: int, size: int) -> collections.abc.Iterator[bytes]:
    """The body in pieces of 1 MiB, the last one shorter."""
    if size < BLOCK:
        yield prefix(seed, size)
        return
    whole = block(seed)
    for number in range(-(-size // BLOCK)):
        yield numbered(whole, number)[: min(BLOCK, size - number * BLOCK)]


def body(seed: int, size: int) -> bytes:
    return b"".join(blocks(seed, size))


def span(seed: int, start: int, end: int) -> bytes:
    """Bytes start..end of the body."""
    whole = block(seed)
    first = start // BLOCK
    pieces = (numbered(whole, number) for number in range(first, -(-end // BLOCK)))
    return b"".join(pieces)[start - first * BLOCK : end - first * BLOCK]
