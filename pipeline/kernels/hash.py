"""Keys to blocks, texts to keys, keys to positions.

Comes in: arrays of 64-bit keys, or the offsets and bytes of an Arrow string array. Goes out: block numbers, keys and
positions.

Numba turns a mix of signed and unsigned integers into floats: every constant that meets a uint64 is a uint64 here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Keys = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]

# XXH64's primes: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
P1 = np.uint64(0x9E3779B185EBCA87)
P2 = np.uint64(0xC2B2AE3D27D4EB4F)
P3 = np.uint64(0x165667B19E3779F9)
P4 = np.uint64(0x85EBCA77C2B2AE63)
P5 = np.uint64(0x27D4EB2F165667C5)


@jit
def mix(key: np.uint64) -> np.uint64:
    """SplitMix64's finaliser: every bit of the key moves every bit of the result, and no two keys share a result."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@jit
def blocks_of(keys: Keys, blocks: int, out: Positions) -> None:
    """The block of each key: the upper half of its mix, scaled to 0 .. blocks - 1."""
    for i in range(len(keys)):
        upper = mix(np.uint64(keys[i])) >> np.uint64(32)
        out[i] = np.int32((upper * np.uint64(blocks)) >> np.uint64(32))


@jit
def fill_table(keys: Keys, table: Positions) -> None:
    """Positions of distinct keys, by open addressing. The table comes as -1, with a power of two > len(keys) slots."""
    mask = np.uint64(len(table) - 1)
    for i in range(len(keys)):
        slot = mix(np.uint64(keys[i])) & mask  # the lower half: the upper is the same for all keys of a block
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = i


@jit
def find(wanted: Keys, keys: Keys, table: Positions, out: Positions) -> None:
    """The position in `keys` of each wanted key, or -1."""
    mask = np.uint64(len(table) - 1)
    for i in range(len(wanted)):
        slot = mix(np.uint64(wanted[i])) & mask
        while table[slot] >= 0 and keys[table[slot]] != wanted[i]:
            slot = (slot + np.uint64(1)) & mask
        out[i] = table[slot]


def positions(wanted: Keys, keys: Keys) -> Positions:
    """`find` with a table of its own: (len(wanted),) int32 positions in the distinct `keys`, -1 where there is none."""
    # at most half full: 1.1 to 1.5 slots are looked at for a key
    table = np.full(2 << max(len(keys) - 1, 0).bit_length(), -1, np.int32)
    fill_table(keys, table)
    out = np.empty(len(wanted), np.int32)
    find(wanted, keys, table, out)
    return out


@jit
def _rotate(value: np.uint64, bits: int) -> np.uint64:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@jit
def _word(data: npt.NDArray[np.uint8], at: int, size: int) -> np.uint64:
    """`size` bytes from `at`, little-endian. LLVM makes one load of the eight."""
    word = np.uint64(0)
    for i in range(size):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return word


@jit
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _rotate(lane + word * P2, 31) * P1


@jit
def _xxh64(data: npt.NDArray[np.uint8], start: int, end: int, seed: np.uint64) -> np.uint64:
    at = start
    if end - start >= 32:
        a, b, c, d = seed + P1 + P2, seed + P2, seed, seed - P1
        while end - at >= 32:
            a = _round(a, _word(data, at, 8))
            b = _round(b, _word(data, at + 8, 8))
            c = _round(c, _word(data, at + 16, 8))
            d = _round(d, _word(data, at + 24, 8))
            at += 32
        result = _rotate(a, 1) + _rotate(b, 7) + _rotate(c, 12) + _rotate(d, 18)
        for lane in (a, b, c, d):
            result = (result ^ _round(np.uint64(0), lane)) * P1 + P4
    else:
        result = seed + P5
    result += np.uint64(end - start)
    while end - at >= 8:
        result = _rotate(result ^ _round(np.uint64(0), _word(data, at, 8)), 27) * P1 + P4
        at += 8
    if end - at >= 4:
        result = _rotate(result ^ (_word(data, at, 4) * P1), 23) * P2 + P3
        at += 4
    while at < end:
        result = _rotate(result ^ (np.uint64(data[at]) * P5), 11) * P1
        at += 1
    result = (result ^ (result >> np.uint64(33))) * P2
    result = (result ^ (result >> np.uint64(29))) * P3
    return result ^ (result >> np.uint64(32))


@jit
def hash_texts(offsets: npt.NDArray[np.int32], data: npt.NDArray[np.uint8], seed: int, out: Keys) -> None:
    """XXH64 of each text, the bytes offsets[i] .. offsets[i + 1] of `data`. At seed 42 it is Spark's `xxhash64`."""
    for i in range(len(out)):
        out[i] = np.int64(_xxh64(data, offsets[i], offsets[i + 1], np.uint64(np.int64(seed))))
