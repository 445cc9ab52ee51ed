"""`python -m bench.cfg.writers PORT WRITERS CHANGES`: all raise one number in one document; prints JSON.

Each reads the document, writes the next number under `If-Match` with the tag that came with it, and goes on with the
tag of the answer, for a while; where it is refused it pauses and reads again. Who is refused pauses longer from then
on, who is not a little shorter, so that together they write as fast as it goes. The token comes in CFG_TOKEN; how far
they are is told on stderr every ten seconds.
"""

import asyncio
import json
import math
import os
import random
import sys
import time
from collections import Counter

import uvloop

from bench.auth.connection import HOST, Answer, Connection, connect, get

NAME = "counter"
PATH = f"/documents/system/{NAME}"
TOKEN = "CFG_TOKEN"
SHORTEST, FIRST, LONGEST = 0.002, 0.1, 1.0
LONGER, SHORTER = 1.25, 0.75
ROW = 5
"""Change sets that one writes in a row before it pauses too, so that all write all the time."""
TELL_SECONDS = 10.0


def document(number: int) -> dict[str, str]:
    """The document with a number in it."""
    return {"kind": "system", "name": NAME, "type": "postgres", "dsn": f"env://NUMBER_{number}"}


def put(number: int, token: str, tag: str = "") -> bytes:
    """The bytes of a change set with this number, made for the revision of the tag."""
    body = json.dumps({"documents": [document(number)]}).encode()
    match = f"If-Match: {tag}\r\n" if tag else ""
    head = f"PUT /changesets HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n{match}"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def tag_of(answer: Answer) -> str:
    """The entity tag of an answer, with its quotes."""
    return answer.head.lower().partition(b"\r\netag: ")[2].partition(b"\r\n")[0].decode()


def number_of(answer: Answer) -> int:
    """The number in the document that was read."""
    return int(json.loads(answer.body)["document"]["dsn"].rpartition("_")[2])


async def write(connection: Connection, token: str, changes: int, tries: Counter[int]) -> None:
    """Raise the number so many times; counts the statuses of what was written."""
    pause, stored, number, tag = FIRST, 0, 0, ""
    while stored < changes:
        if not tag:
            await asyncio.sleep(random.uniform(0, 2 * pause))
            read = await connection.ask(get(PATH, token))
            number, tag = number_of(read), tag_of(read)
        answer = await connection.ask(put(number + 1, token, tag))
        tries[answer.status] += 1
        if answer.status == 200:
            stored, number = stored + 1, number + 1
            tag = tag_of(answer) if stored % ROW else ""
            pause = pause if tag else max(SHORTEST, pause * SHORTER)
        elif answer.status == 412:
            # What stands there now is to be read: the answer tells the revision and its tag, not the number.
            tag, pause = "", min(LONGEST, pause * LONGER)
        else:
            raise SystemExit(f"{answer.status}: {answer.body.decode()}")


async def tell(whole: int, tries: Counter[int]) -> None:
    """Say how far they are, for ever."""
    began = time.perf_counter()
    while True:
        await asyncio.sleep(TELL_SECONDS)
        rate = tries[200] / (time.perf_counter() - began)
        left = (whole - tries[200]) / rate if rate else math.inf
        told = f"{tries[200]:,} of {whole:,} change sets stored, {tries[412]:,} refused, {rate:,.0f}/s"
        print(f"{told}, {left:,.0f} s left", file=sys.stderr, flush=True)


async def run(port: int, writers: int, changes: int) -> dict[str, float]:
    """What it took until all were through."""
    token, tries = os.environ[TOKEN], Counter[int]()
    connections = [await connect(port) for _ in range(writers)]
    await connections[0].ask(put(0, token))
    began = time.perf_counter()
    telling = asyncio.create_task(tell(writers * changes, tries))
    await asyncio.gather(*(write(one, token, changes, tries) for one in connections))
    telling.cancel()
    taken = time.perf_counter() - began
    reached = number_of(await (await connect(port)).ask(get(PATH, token)))
    stored = tries[200]
    return {"stored": stored, "number": reached, "seconds": taken, "rate": stored / taken, "refused": tries[412]}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(*(int(each) for each in sys.argv[1:])))))
