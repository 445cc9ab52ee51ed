"""What to do to a faithful stream of transactions: legal foldings, and faults; each answers a new stream."""

from collections.abc import Iterator

from tests.flow.proof.replay import Change

Stream = list[list[Change]]
Place = tuple[int, int]


def places(stream: Stream, op: str, table: str) -> Iterator[Place]:
    """Where changes of one kind stand: number of the transaction, number of the change in it; key changes left out."""
    for n, transaction in enumerate(stream):
        for m, change in enumerate(transaction):
            if change.op == op and change.relation.name == table and (op == "D" or not change.old):
                yield n, m


def key_of(change: Change) -> tuple[str, ...]:
    return (change.relation.name, *(str(value) for value in change.where.values()))


def new_key_of(change: Change) -> tuple[str, ...]:
    return (change.relation.name, *(str(change.new.get(name)) for name in change.relation.key))


def keys_after(stream: Stream, place: Place) -> set[tuple[str, ...]]:
    """The keys that are touched later, those too that a row gets by a change of its key."""
    later = stream[place[0]][place[1] + 1 :] + [change for one in stream[place[0] + 1 :] for change in one]
    touched = [change for change in later if change.op != "T"]
    return {key_of(change) for change in touched} | {new_key_of(change) for change in touched}


def without(stream: Stream, place: Place) -> Stream:
    n, m = place
    return [*stream[:n], [change for i, change in enumerate(stream[n]) if i != m], *stream[n + 1 :]]


def after(stream: Stream, n: int, *transactions: list[Change]) -> Stream:
    return [*stream[: n + 1], *transactions, *stream[n + 1 :]]


def last_touch(stream: Stream, op: str, table: str) -> Place:
    """The last change of its kind whose key nothing touches afterwards."""
    for place in reversed(list(places(stream, op, table))):
        if key_of(stream[place[0]][place[1]]) not in keys_after(stream, place):
            return place
    raise LookupError(f"no {op} of {table} is the last of its key")


def fold_updates(stream: Stream, size: int) -> Stream:
    """Legal: several transactions as one, earlier full updates of a key dropped where a later full one stands."""
    folded = []
    for n in range(0, len(stream), size):
        group = [change for one in stream[n : n + size] for change in one]
        kept: list[Change] = []
        covered: set[tuple[str, ...]] = set()
        for change in reversed(group):
            if change.op == "T":
                covered.clear()
            elif change.op == "U" and not change.old and key_of(change) in covered:
                continue
            elif change.op == "U" and not change.old and len(change.written) == len(change.new):
                covered.add(key_of(change))
            else:
                covered.discard(key_of(change))
                covered.discard(new_key_of(change))
            kept.append(change)
        folded.append(kept[::-1])
    return folded


def lose_insert(stream: Stream) -> Stream:
    """Drop one event."""
    return without(stream, list(places(stream, "I", "event_log"))[-1])


def lose_update(stream: Stream) -> Stream:
    """Drop the last update of an account."""
    return without(stream, last_touch(stream, "U", "account"))


def lose_delete(stream: Stream) -> Stream:
    """Drop the last delete of a subscription."""
    return without(stream, last_touch(stream, "D", "subscription"))


def lose_unchanged_toast(stream: Stream) -> Stream:
    """Write null where the stream said unchanged."""
    n, m = next(
        p for p in list(places(stream, "U", "account"))[::-1] if len((c := stream[p[0]][p[1]]).written) < len(c.new)
    )
    change = stream[n][m]
    blank = Change("U", change.relation, {name: change.written.get(name) for name in change.new})
    return [*stream[:n], [blank if i == m else c for i, c in enumerate(stream[n])], *stream[n + 1 :]]


def double_insert(stream: Stream) -> Stream:
    """Apply one event again in a later transaction."""
    n, m = next(places(stream, "I", "event_log"))
    return after(stream, n, [stream[n][m]])


def double_update(stream: Stream) -> Stream:
    """Apply an update again in the next transaction: the final state does not show it."""
    n, m = next(places(stream, "U", "account"))
    return after(stream, n, [stream[n][m]])


def reorder_updates(stream: Stream) -> Stream:
    """Apply an older update of an account after a newer one, then the newer again: the final state does not show it."""
    last: dict[tuple[str, ...], Place] = {}
    for n, m in places(stream, "U", "account"):
        key = key_of(stream[n][m])
        if key in last and last[key][0] < n:
            return after(stream, n, [stream[last[key][0]][last[key][1]]], [stream[n][m]])
        last[key] = (n, m)
    raise LookupError("no account was updated twice")


def delete_late(stream: Stream) -> Stream:
    """Apply a delete a second time after the key was inserted again for good."""
    for n, m in places(stream, "D", "line"):
        key = key_of(stream[n][m])
        again = [p for p in places(stream, "I", "line") if p > (n, m) and key_of(stream[p[0]][p[1]]) == key]
        if again and key not in keys_after(stream, again[-1]):
            return [*stream, [stream[n][m]]]
    raise LookupError("no line was inserted again for good")


def split_transaction(stream: Stream) -> Stream:
    """Apply a transaction over several tables as two transactions of the target."""
    n = three_tables(stream)
    return [*stream[:n], stream[n][:1], stream[n][1:], *stream[n + 1 :]]


def split_and_fold(stream: Stream) -> Stream:
    """Apply half of a transaction alone, the other half together with the transactions that follow."""
    n = three_tables(stream)
    return [
        *stream[:n],
        stream[n][:1],
        [c for one in [stream[n][1:], *stream[n + 1 : n + 9]] for c in one],
        *stream[n + 9 :],
    ]


def three_tables(stream: Stream) -> int:
    for n, transaction in enumerate(stream):
        if {"account", "line", "subscription"} <= {c.relation.name for c in transaction if c.op == "U"}:
            return n
    raise LookupError("no transaction over three tables")


def invent_update(stream: Stream) -> Stream:
    """Apply an update that was rolled back at the source, then what was committed."""
    n, m = last_touch(stream, "U", "account")
    change = stream[n][m]
    bogus = Change("U", change.relation, change.written | {"version": "1000000"})
    return [*stream[:n], [bogus], *stream[n:]]
