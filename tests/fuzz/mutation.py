"""Mutations of payloads and of their order: from a seed, so that a finding can be looked at again."""

import random
from collections.abc import Sequence

# Lengths and counts as a liar would write them.
NUMBERS = (0, 1, 4, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
KINDS = b"BCRYOMIUDTSEcAbPKrpNKObtnu\0\xff"


def mutate(payload: bytes, others: Sequence[bytes], rand: random.Random) -> bytes:
    """A payload after one to four mutations."""
    data = bytearray(payload)
    for _ in range(1 + int(rand.random() ** 3 * 4)):
        _mutate(data, others, rand)
    return bytes(data)


def disorder(story: Sequence[bytes], others: Sequence[bytes], rand: random.Random) -> list[bytes]:
    """Payloads with some of them lost, doubled, swapped, mutated, or strange ones among them."""
    told = list(story)
    for _ in range(rand.randrange(1, 4)):
        at = rand.randrange(len(told)) if told else 0
        match rand.randrange(6) if told else 0:
            case 0:
                told.insert(at, rand.choice(others))
            case 1:
                del told[at]
            case 2:
                told.insert(rand.randrange(len(told)), told[at])
            case 3:
                to = rand.randrange(len(told))
                told[at], told[to] = told[to], told[at]
            case 4:
                told[at] = mutate(told[at], others, rand)
            case _:
                del told[at:]
    return told


def _mutate(data: bytearray, others: Sequence[bytes], rand: random.Random) -> None:
    # Near the front stand kinds, object ids and counts: most of what there is to get wrong.
    at = rand.randrange(min(len(data), rand.choice((8, 64, 1 << 20)))) if data else 0
    match rand.randrange(9):
        case 0 if data:
            data[at] ^= 1 << rand.randrange(8)
        case 1 if data:
            data[at] = rand.choice(KINDS)
        case 2:
            size = rand.choice((1, 2, 4))
            data[at : at + size] = (rand.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "big")
        case 3:
            del data[at:]
        case 4:
            del data[at : at + rand.randrange(1, 9)]
        case 5:
            data[at:at] = rand.randbytes(rand.randrange(1, 9))
        case 6:
            data += data[at : at + rand.randrange(1, 65)]
        case 7:
            data[at:] = rand.choice(others)[at:]
        case _:
            data[0:1] = rand.choice(KINDS).to_bytes()
