"""Whether an answer to a login tells who exists: four kinds of refusal, by status, body, length and time."""

import random
import re
import time
from dataclasses import dataclass, field
from uuid import uuid4

from bench.auth.connection import Answer
from bench.auth.figure import Figure
from bench.auth.place import Place
from bench.auth.ranks import separations
from bench.auth.tokens import login_form
from nms.auth.throttle import attempt_of

AREA = 0.55
PATIENCE = 150.0
"""Seconds: on a slow machine there are fewer trials, not fewer timings in one."""
KINDS = ("unknown", "wrong", "disabled", "held")
BY_CHANCE = (b"date:", b"x-request-id:")
REQUEST_ID = re.compile(rb'"request_id": ?"[^"]*"')
HOLD = """
insert into auth.throttle (key, attempts, forgiven_at, held_until, held_for, admitted)
select key, 30, now() + interval '1 hour', now() + interval '1 hour', 1, false from unnest($1::bytea[]) as given (key)
"""


@dataclass
class Refusals:
    """What came back for each kind: how long it took, and in how many forms."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    forms: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})

    def add(self, more: "Refusals") -> None:
        """Take in what came back in another trial."""
        for kind in KINDS:
            self.seconds[kind] += more.seconds[kind]
            self.forms[kind] |= more.forms[kind]


async def measure_enumeration(place: Place, trials: int, timings: int) -> list[Figure]:
    """The worst separation of any two kinds over all trials, and how many forms of an answer there are.

    The trials are judged together: of few timings the worst of six pairs is far from 0.5 by chance alone.
    """
    emails = await add_kinds(place, trials * timings)
    together, each, forms = Refusals(), {}, []
    began = time.monotonic()
    for trial in range(trials):
        if trial and time.monotonic() - began > PATIENCE:
            break
        found = await time_refusals(place, {kind: emails[kind][trial::trials] for kind in KINDS})
        each[f"worst of trial {trial + 1}"] = max(separations(found.seconds).values())
        together.add(found)
        forms.append(float(len(set().union(*found.forms.values()))))
    pairs = separations(together.seconds)
    count, worst = len(together.seconds["wrong"]), max(pairs.values())
    return [
        Figure(f"who exists: separation of {count} times of any two refusals", "AUC", [worst], AREA, more=pairs | each),
        Figure("who exists: forms of the answer (status, headers, body) to four kinds of refusal", "", forms, 1.0),
    ]


async def add_kinds(place: Place, count: int) -> dict[str, list[str]]:
    """An account of its own for each timing, and addresses of nobody for the unknown."""
    emails = {
        "unknown": [f"{'unknown':x<10}{number:06}@example.org" for number in range(count)],
        "wrong": await place.add_accounts("wrong", count),
        "disabled": await place.add_accounts("disabled", count, disabled=True),
        "held": await place.add_accounts("held", count),
    }
    keys = [attempt_of(email, "127.0.0.1").keys[-1] for email in emails["held"]]
    await place.database.execute(HOLD, keys)
    await place.database.execute("vacuum analyze")
    return emails


async def time_refusals(place: Place, emails: dict[str, list[str]]) -> Refusals:
    """One login after the other, the kinds in an order of chance, each from an address of its own.

    Three kinds give a wrong password; a held account gets the right one, which must not be seen either.
    """
    order = [(kind, email) for kind in KINDS for email in emails[kind]]
    random.Random(len(order)).shuffle(order)
    found = Refusals()
    for kind, email in order:
        connection = await place.connect_anew()
        request = login_form(email) if kind == "held" else login_form(email, f"wrong {uuid4().hex[:25]}")
        began = time.perf_counter()
        answer = await connection.ask(request)
        found.seconds[kind].append(time.perf_counter() - began)
        found.forms[kind].add(form_of(answer))
        connection.close()
    return found


def form_of(answer: Answer) -> str:
    """An answer without what differs by chance: the date and the request id, which stands in the body too."""
    head = sorted(line for line in answer.head.split(b"\r\n") if not line.lower().startswith(BY_CHANCE))
    return repr((answer.status, head, REQUEST_ID.sub(b"", answer.body), len(answer.body)))
