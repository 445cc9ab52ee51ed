"""What the facts of two servers mean for a pipeline: findings with the SQL that mends them (pure)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from nms.common.db.quoting import quote_identifier
from nms.common.finding import Finding
from nms.connectors.postgres import alterations
from nms.connectors.postgres.catalog import Table
from nms.connectors.postgres.facts import Bond, Facts, Server, Side
from nms.connectors.postgres.slot import plan_publications

LEAST_VERSION = 140000
PREPARE = Path(__file__).with_name("prepare.sql").read_text()
SUPERUSER = "a superuser"
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}
_RESTART = " -- then restart the server"


def judge_servers(facts: Facts) -> Iterator[Finding]:
    """What makes a pipeline between these two impossible at once; the rest need not be looked at then."""
    for side, pointer in ((facts.source, "/source"), (facts.target, "/target")):
        name, server = side.system, side.server
        if server.version < LEAST_VERSION:
            text = f"{name} is PostgreSQL {server.version // 10000}; 14 is the oldest that NMS knows"
            yield Finding("server-too-old", text, name, pointer=pointer, remedy="Upgrade the server.")
        elif server.standby and not (facts.spec.only_reads and side is facts.source):
            text = f"{name} is a standby: it takes neither messages nor changes"
            remedy = "Give the system the DSN of the primary."
            yield Finding("server-is-standby", text, name, pointer=pointer, remedy=remedy)
    if facts.same_database:
        text = f"{facts.source.system} and {facts.target.system} are one database, whatever their addresses"
        remedy = "A pipeline needs two databases: correct the DSN of one system."
        yield Finding("same-database", text, facts.target.system, pointer="/target", remedy=remedy)


def judge_source(facts: Facts) -> Iterator[Finding]:
    """Settings, rights and room for a slot at the source, where its log is followed."""
    if facts.spec.capture != "log":
        return
    server, name = facts.source.server, facts.source.system
    login = quote_identifier(server.login)
    if server.wal_level != "logical":
        text = f"wal_level of {name} is {server.wal_level}; following its log needs logical"
        sql = f"alter system set wal_level = 'logical';{_RESTART}"
        yield Finding("wal-level", text, name, sql=sql, pointer="/source", run_as=SUPERUSER)
    if not server.can_replicate:
        text = f"login {server.login} of {name} may not replicate"
        yield Finding(
            "replication-right", text, name, sql=f"alter role {login} replication;", pointer="/source", run_as=SUPERUSER
        )
    yield from _judge_slot(facts, server, name)
    yield from _judge_retention(facts, server, name)
    yield from _judge_publications(facts)
    yield from _judge_writable(facts.source, "/source")


def judge_target(facts: Facts) -> Iterator[Finding]:
    """The schema `nms` and the rights of our login at the target."""
    server, name = facts.target.server, facts.target.system
    yield from _judge_preparation(facts)
    if not server.can_stage:
        text = f"login {server.login} of {name} may not make temporary tables, which large batches need"
        database, login = quote_identifier(server.database), quote_identifier(server.login)
        sql = f"grant temporary on database {database} to {login};"
        yield Finding("temporary-right", text, name, sql=sql, pointer="/target", run_as=SUPERUSER)
    yield from _judge_writable(facts.target, "/target")
    yield from _judge_encodings(facts)


def judge_tables(facts: Facts) -> Iterator[Finding]:
    """Rights, row security, logging, triggers and references of every table of the pipeline."""
    for at, spec in enumerate(facts.spec.datasets):
        source, target = facts.source.tables.get(spec.source), facts.target.tables.get(spec.target)
        if source is None:
            yield from _judge_absent(facts.source, spec.source, f"/datasets/{at}/source")
        else:
            yield from _judge_source_table(facts, source, f"/datasets/{at}/source")
        if target is None:
            yield from _judge_absent(facts.target, spec.target, f"/datasets/{at}/target")
        else:
            yield from _judge_target_table(facts, target, f"/datasets/{at}/target")
    yield from judge_bonds(facts)


def judge_source_tables(facts: Facts) -> Iterator[Finding]:
    """Rights, row security and logging of every table at the source alone."""
    for at, spec in enumerate(facts.spec.datasets):
        source = facts.source.tables.get(spec.source)
        if source is None:
            yield from _judge_absent(facts.source, spec.source, f"/datasets/{at}/source")
        else:
            yield from _judge_source_table(facts, source, f"/datasets/{at}/source")


def judge_target_tables(facts: Facts) -> Iterator[Finding]:
    """Rights, row security, logging and triggers of every table at the target alone."""
    for at, spec in enumerate(facts.spec.datasets):
        target = facts.target.tables.get(spec.target)
        if target is None:
            yield from _judge_absent(facts.target, spec.target, f"/datasets/{at}/target")
        else:
            found = _judge_target_table(facts, target, f"/datasets/{at}/target")
            yield from (one for one in found if one.code not in ("target-filled", "truncate-right"))


def judge_bonds(facts: Facts) -> Iterator[Finding]:
    """Foreign keys in a circle: rows that need each other cannot be written one after the other."""
    names = {table.oid: (at, table) for at, table in _numbered(facts)}
    system = facts.target.system
    copies = facts.spec.copy and not facts.begun
    for bond in facts.bonds:
        if bond.child == bond.parent and copies and not bond.deferred:
            at, table = names[bond.child]
            text = f"{table.asked} refers to itself ({bond.name}): the copy refuses a row that comes before its parent"
            sql = _drop_constraint(table, bond)
            yield Finding("self-reference", text, system, False, sql, f"/datasets/{at}/target")
    ordered = sorted(facts.bonds, key=lambda bond: names[bond.child][0])
    circle = find_circle([bond for bond in ordered if copies or not bond.deferred])
    if circle:
        at, table = names[circle[0].child]
        text = f"foreign keys of {system} form a circle: {', '.join(bond.name for bond in circle)}"
        if all(not bond.deferred for bond in circle) and not copies:
            name = quote_identifier(circle[0].name)
            sql = f"alter table {table.quoted} alter constraint {name} deferrable initially deferred;"
        else:
            text += "; their rows are copied table by table, so one of them must go until the copy is done"
            sql = _drop_constraint(table, circle[0])
        yield Finding("reference-circle", text, system, True, sql, f"/datasets/{at}/target")


def find_circle(bonds: Iterable[Bond]) -> list[Bond]:
    """The bonds of one circle among tables, itself-references left out; empty when there is none."""
    onward: dict[int, list[Bond]] = {}
    for bond in bonds:
        if bond.child != bond.parent:
            onward.setdefault(bond.child, []).append(bond)
    done: set[int] = set()

    def walk(table: int, path: list[Bond]) -> list[Bond]:
        for at, bond in enumerate(path):
            if bond.child == table:
                return path[at:]
        if table in done:
            return []
        for bond in onward.get(table, ()):
            found = walk(bond.parent, [*path, bond])
            if found:
                return found
        done.add(table)
        return []

    return next((found for table in list(onward) if (found := walk(table, []))), [])


def _judge_slot(facts: Facts, server: Server, name: str) -> Iterator[Finding]:
    slot = facts.slot
    if slot is not None and not slot["own"]:
        owner = f"database {slot['database']} (plugin {slot['plugin']})" if slot["database"] else "a standby"
        text = f"slot {facts.spec.slot} of {name} belongs to {owner}, so to somebody else"
        remedy = "Give this pipeline another name; the slot of a pipeline is called after it."
        if slot["database"] and slot["plugin"] == "pgoutput":
            drop = f"select pg_drop_replication_slot('{facts.spec.slot}')"
            left = f"If it is this pipeline's own, left where it read before: run `{drop}` in {slot['database']},"
            remedy = f"{left} then `nms resync {facts.spec.name}`. Otherwise: {remedy}"
        yield Finding("slot-taken", text, name, pointer="/name", remedy=remedy)
    if slot is not None and slot["active"] and not facts.begun:
        text = f"slot {facts.spec.slot} of {name} is read by somebody (process {slot['active_pid']}), who is ended"
        remedy = "If another NMS has a pipeline of this name, give this one another name."
        yield Finding("slot-in-use", text, name, False, pointer="/name", remedy=remedy)
    if slot is None and server.slots >= server.max_slots:
        text = f"all {server.max_slots} replication slots of {name} are taken"
        sql = f"alter system set max_replication_slots = {server.max_slots + 8};{_RESTART}"
        yield Finding("slots-full", text, name, sql=sql, pointer="/source", run_as=SUPERUSER)
    if server.senders >= server.max_senders and not (slot and slot["active"]):
        text = f"all {server.max_senders} WAL senders of {name} are in use"
        sql = f"alter system set max_wal_senders = {server.max_senders + 8};{_RESTART}"
        yield Finding("senders-full", text, name, not facts.begun, sql, "/source", SUPERUSER)


def _judge_retention(facts: Facts, server: Server, name: str) -> Iterator[Finding]:
    if server.slot_keep is not None and server.slot_keep < facts.spec.wal_budget:
        budget = facts.spec.wal_budget >> 20
        text = (
            f"{name} gives a slot up at {server.slot_keep >> 20} MB of retained log (max_slot_wal_keep_size),"
            f" before the {budget} MB of wal_budget: a pause may lose the slot, and everything is copied anew"
        )
        sql = f"alter system set max_slot_wal_keep_size = '{budget}MB'; select pg_reload_conf();"
        yield Finding("slot-keep", text, name, False, sql, "/wal_budget", SUPERUSER)
    if server.slot_idle is not None:
        text = f"{name} gives a slot up that nobody reads for {server.slot_idle} s (idle_replication_slot_timeout)"
        sql = "alter system set idle_replication_slot_timeout = 0; select pg_reload_conf();"
        yield Finding("slot-idle", text, name, False, sql, "/source", SUPERUSER)


def _judge_publications(facts: Facts) -> Iterator[Finding]:
    server, name = facts.source.server, facts.source.system
    tables = list(facts.source.tables.values())
    plan = plan_publications(facts.spec.slot, tables)
    wanted = {table.own: (table.schema, table.relation) for table in tables}
    missing = {
        publication: (members, actions)
        for publication, (members, actions) in plan.items()
        if facts.publications.get(publication) != {wanted[member] for member in members}
    }
    if facts.begun or not missing or (server.can_create and all(table.owned for table in tables)):
        return
    text = f"login {server.login} of {name} may not publish the tables: it must own them and may create in the database"
    drops = [f"{alterations.drop_publication(one)};" for one in missing if one in facts.publications]
    makes = [f"{alterations.create_publication(one, *asked)};" for one, asked in missing.items()]
    yield Finding(
        "publication-right", text, name, sql="\n".join(drops + makes), pointer="/source",
        run_as="the owner of the tables or a superuser",
    )  # fmt: skip


def _judge_writable(side: Side, pointer: str) -> Iterator[Finding]:
    if side.server.read_only:
        text = f"sessions of login {side.server.login} at {side.system} are read-only (default_transaction_read_only)"
        login, database = (quote_identifier(one) for one in (side.server.login, side.server.database))
        sql = f"alter role {login} in database {database} set default_transaction_read_only = off;"
        yield Finding("read-only", text, side.system, sql=sql, pointer=pointer, run_as=SUPERUSER)


def _judge_preparation(facts: Facts) -> Iterator[Finding]:
    there, name = facts.preparation, facts.target.system
    login = quote_identifier(facts.target.server.login)
    if there is None or there.usable:
        return
    grants = (
        f"grant usage on schema nms to {login};\n"
        f"grant select, insert, update, delete on nms.position to {login};\n"
        f"grant execute on function nms.advance(text, bigint, jsonb) to {login};"
    )
    if not there.complete:
        lack = "is of an older NMS and lacks a part" if there.schema_there else "is not there yet"
        text = f"the schema nms of {name} {lack}; it keeps how far each pipeline is"
        sql = f"{PREPARE.rstrip()}\n{grants}"
        remedy = "`nms doctor PIPELINE --prepare` makes it where the login may."
        yield Finding("schema-missing", text, name, sql=sql, pointer="/target", run_as=_maker(facts), remedy=remedy)
        return
    text = f"login {facts.target.server.login} may not use the schema nms of {name}"
    yield Finding("schema-right", text, name, sql=grants, pointer="/target", run_as="the owner of the schema nms")


def _maker(facts: Facts) -> str:
    server = facts.target.server
    return f"login {server.login}" if server.can_create else "the owner of the database"


def _judge_encodings(facts: Facts) -> Iterator[Finding]:
    left, right = facts.source.server.encoding, facts.target.server.encoding
    if left == right or right == "SQL_ASCII":
        return
    if left == "SQL_ASCII":
        text = f"{facts.source.system} does not check its texts (SQL_ASCII); {right} may refuse some of them"
    elif right != "UTF8":
        text = f"{facts.source.system} is {left}, {facts.target.system} {right}: characters it lacks are refused"
    else:
        return
    remedy = "Values that are refused wait in quarantine; a target in UTF8 has all characters."
    yield Finding("encoding-differs", text, facts.target.system, False, pointer="/target", remedy=remedy)


def _judge_absent(side: Side, name: str, pointer: str) -> Iterator[Finding]:
    kind = side.kinds.get(name)
    if kind is not None:
        text = f"{name} of {side.system} is {_KINDS.get(kind, 'no table')}, and only tables are followed"
        yield Finding("not-a-table", text, side.system, pointer=pointer, remedy="Name the table behind it.")


def _judge_source_table(facts: Facts, table: Table, pointer: str) -> Iterator[Finding]:
    name, login = facts.source.system, facts.source.server.login
    obstacles = facts.source.obstacles[table.oid]
    sql = _grants(table, login, alterations.grant_read, schema=not obstacles.schema_usable)
    if not (table.can_select and obstacles.schema_usable):
        text = f"login {login} of {name} may not read {table.asked}"
        yield Finding("select-right", text, name, sql=sql, pointer=pointer)
    if obstacles.unlogged:
        text = f"{table.asked} is unlogged: its changes are not in the log of {name}"
        yield Finding("unlogged", text, name, sql=f"alter table {table.quoted} set logged;", pointer=pointer)
    if obstacles.row_security:
        text = f"row-level security of {table.asked} hides rows from login {login}, so they would be missed"
        yield _row_security(text, name, login, pointer)


def _judge_target_table(facts: Facts, table: Table, pointer: str) -> Iterator[Finding]:
    name, login = facts.target.system, facts.target.server.login
    obstacles = facts.target.obstacles[table.oid]
    sql = _grants(table, login, alterations.grant_write, schema=not obstacles.schema_usable)
    if not (table.can_select and table.can_write and obstacles.schema_usable):
        text = f"login {login} of {name} may not write {table.asked}"
        yield Finding("write-right", text, name, sql=sql, pointer=pointer)
    elif not obstacles.can_truncate:
        text = f"login {login} of {name} may not truncate {table.asked}; a truncate at the source would be refused"
        yield Finding("truncate-right", text, name, False, sql, pointer)
    if obstacles.unlogged:
        text = f"{table.asked} of {name} is unlogged: a crash empties it, while the position stays"
        yield Finding("unlogged", text, name, sql=f"alter table {table.quoted} set logged;", pointer=pointer)
    if obstacles.row_security:
        text = f"row-level security of {table.asked} hides rows from login {login}, so changes would miss them"
        yield _row_security(text, name, login, pointer)
    if obstacles.triggers:
        text = f"triggers of {table.asked} fire for every change that arrives: {', '.join(obstacles.triggers)}"
        yield Finding("triggers-fire", text, name, False, pointer=pointer, remedy="Nothing to do if that is meant.")
    if obstacles.outer_references:
        names = ", ".join(obstacles.outer_references)
        text = f"{table.asked} refers to tables that this pipeline does not fill ({names}); a missing parent is refused"
        remedy = "Add those tables to the pipeline, or see that their rows are there."
        yield Finding("outer-reference", text, name, False, pointer=pointer, remedy=remedy)
    yield from _judge_rows(facts, table, pointer)


def _judge_rows(facts: Facts, table: Table, pointer: str) -> Iterator[Finding]:
    if table.asked not in facts.filled or not facts.spec.copy:
        return
    name = facts.target.system
    spec = next(one for one in facts.spec.datasets if one.target == table.asked)
    source = facts.source.tables.get(spec.source)
    if source is not None and not (spec.key or source.log_key()):
        text = f"{table.asked} of {name} has rows, and without a key the copy is written beside them"
    else:
        text = f"{table.asked} of {name} has rows: those of the same key are overwritten, the others stay"
    sql = f"truncate {table.quoted};"
    yield Finding("target-filled", text, name, False, sql, pointer)


def _row_security(text: str, system: str, login: str, pointer: str) -> Finding:
    sql = f"alter role {quote_identifier(login)} bypassrls;"
    return Finding("row-security", text, system, sql=sql, pointer=pointer, run_as=SUPERUSER)


def _grants(table: Table, login: str, grant: object, *, schema: bool) -> str:
    assert callable(grant)
    usage = f"grant usage on schema {quote_identifier(table.schema)} to {quote_identifier(login)};"
    return "\n".join(([usage] if schema else []) + [str(grant(table.quoted, login))])


def _drop_constraint(table: Table, bond: Bond) -> str:
    name = quote_identifier(bond.name)
    return f"alter table {table.quoted} drop constraint {name}; -- and add it again when the copy is done"


def _numbered(facts: Facts) -> list[tuple[int, Table]]:
    found = ((at, facts.target.tables.get(spec.target)) for at, spec in enumerate(facts.spec.datasets))
    return [(at, table) for at, table in found if table is not None]
