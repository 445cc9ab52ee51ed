"""The table that the workloads share: eight columns, about 200 bytes a row, two secondary indexes."""

SCHEMA = """
create table item (
    id bigint primary key, name text not null, email text not null, status text not null, amount numeric(12, 2),
    payload text, details jsonb, updated_at timestamptz not null);
create index item_email on item (email);
create index item_updated_at on item (updated_at);
"""
FILL = """
insert into item
select g, 'name ' || g, 'user' || g || '@example.test', case g % 3 when 0 then 'active' else 'paused' end,
       g % 1000 / 7.0, md5(g::text) || md5((g + 1)::text), jsonb_build_object('n', g, 'tags', '["a", "b"]'::jsonb),
       timestamptz '2026-01-01' + g * interval '1 second'
from generate_series({first}, {last}) g
"""


def fill(rows: int, first: int = 1) -> str:
    """The statement that inserts rows with ids from `first` on."""
    return FILL.format(first=first, last=first + rows - 1)
