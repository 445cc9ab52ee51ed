"""Behaviours below HTTP: silence, resets, lengths that lie, bodies without end."""

import asyncio
import gzip
import itertools
import struct
import zlib
from functools import cache

from tests.services.hostile.behaviour import Call, behaviour
from tests.services.hostile.wire import JSON, Answer

MEGABYTE = 1 << 20
HUGE = 100 * MEGABYTE
SILENCE = 60.0
CHUNKED = {**JSON, "Transfer-Encoding": "chunked"}


@behaviour("timeout-before", "silence, nothing was done")
async def silent(call: Call) -> bool:
    await call.wire.hold(call.option("seconds", SILENCE))
    return False


@behaviour("timeout-after", "silence, although it was done")
async def done_and_silent(call: Call) -> bool:
    await call.effect()
    return await silent(call)


@behaviour("timeout-in-body", "half an answer, then silence; it was done")
async def half_and_silent(call: Call) -> bool:
    answer = await call.effect()
    await call.wire.write(answer.head() + answer.body[: len(answer.body) // 2])
    return await silent(call)


@behaviour("late", "the answer comes after some seconds")
async def late(call: Call) -> bool:
    answer = await call.effect()
    await asyncio.sleep(call.option("seconds", 1))
    await call.send(answer)
    return True


@behaviour("reset-before", "a reset, nothing was done")
async def reset(call: Call) -> bool:
    call.wire.reset()
    return False


@behaviour("reset-after", "a reset, although it was done")
async def done_and_reset(call: Call) -> bool:
    await call.effect()
    return await reset(call)


@behaviour("reset-in-headers", "a reset within the headers, although it was done")
async def reset_in_headers(call: Call) -> bool:
    await call.wire.write((await call.effect()).head()[:-8])
    return await reset_when_read(call)


@behaviour("reset-in-body", "a reset within the body, although it was done")
async def reset_in_body(call: Call) -> bool:
    answer = await call.effect()
    await call.wire.write(answer.head() + answer.body[: len(answer.body) // 2])
    return await reset_when_read(call)


async def reset_when_read(call: Call) -> bool:
    """A reset drops what the client has not read: give it the time to."""
    await asyncio.sleep(0.02)
    return await reset(call)


@behaviour("close-before", "the connection is closed in order, nothing was done")
async def closed(call: Call) -> bool:
    return False


@behaviour("close-after", "the connection is closed in order without an answer, although it was done")
async def done_and_closed(call: Call) -> bool:
    await call.effect()
    return False


@behaviour("close-idle", "it was done and answered; then the connection closes, though nothing said that it would")
async def close_idle(call: Call) -> bool:
    await call.send(await call.effect())
    return False


@behaviour("length-long", "Content-Length is larger than the body; the connection closes")
async def too_long(call: Call) -> bool:
    answer = await call.effect()
    await call.wire.write(answer.head(len(answer.body) + 100) + answer.body)
    return False


@behaviour("length-short", "Content-Length is smaller than the body; the rest follows")
async def too_short(call: Call) -> bool:
    answer = await call.effect()
    await call.wire.write(answer.head(len(answer.body) // 2) + answer.body)
    return False


@behaviour("length-twice", "two Content-Length that differ")
async def two_lengths(call: Call) -> bool:
    answer = await call.effect()
    await call.wire.write(answer.with_headers(content_length="1").head() + answer.body)
    return False


@behaviour("huge-body", "100 MB of one JSON array")
async def huge(call: Call) -> bool:
    piece = b" " * (MEGABYTE - 1) + b"\n"
    count = int(call.option("bytes", HUGE)) // MEGABYTE
    await call.wire.write(Answer(200, JSON).head(2 + count * MEGABYTE), b"[")
    await call.wire.write_all(itertools.repeat(piece, count))
    await call.wire.write(b"]")
    return True


@behaviour("gzip-bomb", "1 MB of gzip that becomes 1 GB")
async def bomb(call: Call) -> bool:
    packed = await asyncio.to_thread(explosive, 1024)
    await call.send(Answer(200, {**JSON, "Content-Encoding": "gzip"}, packed))
    return True


@behaviour("gzip-broken", "gzip that is cut in the middle")
async def broken_gzip(call: Call) -> bool:
    packed = gzip.compress((await call.effect()).body)
    await call.send(Answer(200, {**JSON, "Content-Encoding": "gzip"}, packed[: len(packed) // 2]))
    return True


@behaviour("gzip-unasked", "gzip, although nobody accepts it")
async def unasked_gzip(call: Call) -> bool:
    answer = await call.effect()
    packed = Answer(answer.status, {**answer.headers, "Content-Encoding": "gzip"}, gzip.compress(answer.body))
    await call.send(packed)
    return True


@behaviour("endless-body", "a body that never ends")
async def endless(call: Call) -> bool:
    await call.wire.write(Answer(200, CHUNKED).head(-1), b"1\r\n[\r\n")
    await call.wire.write_all(itertools.repeat(b"10000\r\n" + b"0," * 32768 + b"\r\n"))
    return False


@behaviour("drip", "a byte a second")
async def drip(call: Call) -> bool:
    answer = await call.effect()
    await call.wire.write(answer.head())
    for byte in answer.body:
        await call.wire.write(bytes([byte]))
        await asyncio.sleep(call.option("seconds", 1))
    return True


@behaviour("drip-headers", "the headers come a byte a second")
async def drip_headers(call: Call) -> bool:
    answer = await call.effect()
    for byte in answer.head():
        await call.wire.write(bytes([byte]))
        await asyncio.sleep(call.option("seconds", 1))
    await call.wire.write(answer.body)
    return True


@behaviour("header-flood", "headers without end")
async def flood(call: Call) -> bool:
    await call.wire.write(b"HTTP/1.1 200 OK\r\n")
    await call.wire.write_all(b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in itertools.count())
    return False


@behaviour("no-http", "an answer that is no HTTP")
async def no_http(call: Call) -> bool:
    await call.wire.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    return False


@behaviour("chunk-broken", "a chunk of a size that is no number")
async def broken_chunk(call: Call) -> bool:
    await call.wire.write(Answer(200, CHUNKED).head(-1), b"zz\r\n[]\r\n0\r\n\r\n")
    return False


@behaviour("chunk-cut", "chunks without the last one")
async def cut_chunks(call: Call) -> bool:
    await call.wire.write(Answer(200, CHUNKED).head(-1), b"2\r\n[]\r\n")
    return False


@behaviour("interim", "a 103 before the answer")
async def interim(call: Call) -> bool:
    await call.wire.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    await call.send(await call.effect())
    return True


@behaviour("extra-answer", "an answer, and another one that nobody asked for")
async def extra(call: Call) -> bool:
    await call.send(await call.effect())
    await call.send(Answer.of(200, {"data": [], "injected": True}))
    return True


@cache
def explosive(megabytes: int) -> bytes:
    """Gzip of that many megabytes of spaces within an array, made by repeating one packed megabyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    opened = packer.compress(b"[") + packer.flush(zlib.Z_FULL_FLUSH)
    spaces = b" " * MEGABYTE
    piece = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    closed = packer.compress(b"]") + packer.flush()
    check = zlib.crc32(b"[")
    for _ in range(megabytes):
        check = zlib.crc32(spaces, check)
    check = zlib.crc32(b"]", check)
    size = (megabytes * MEGABYTE + 2) & 0xFFFFFFFF
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return b"".join([head, opened, piece * megabytes, closed, struct.pack("<II", check, size)])
