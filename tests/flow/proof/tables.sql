create table account (
    id int primary key, payload text not null default '', details jsonb not null default '{}', note text,
    balance bigint not null default 0, txid bigint not null default 0, version bigint not null default 0);
alter table account alter column note set storage external;

create table line (
    account int not null references account (id), n int not null, amount bigint not null default 0,
    item text, at timestamptz not null default now(), txid bigint not null default 0, version bigint not null default 0,
    primary key (account, n));

create table subscription (
    email text primary key, status text not null default 'active', plan numeric(10, 2), amount bigint not null default 0,
    txid bigint not null default 0, version bigint not null default 0);

create table event_log (
    id uuid not null default gen_random_uuid(), kind text, body jsonb, txid bigint not null default 0,
    version bigint not null default 1);

create table bulk (
    id int primary key, payload text, txid bigint not null default 0, version bigint not null default 0);

create table scratch (
    id int primary key, payload text, txid bigint not null default 0, version bigint not null default 0);
