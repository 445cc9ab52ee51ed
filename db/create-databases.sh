#!/bin/sh
# Creates the databases auth, nms and dwh, each owned by a login of its own, and the login nms_trust, with which every
# role but auth reads what auth publishes (keys, revocations); done already is not done again.
#
#   DB_AUTH_PASSWORD=... DB_TRUST_PASSWORD=... DB_NMS_PASSWORD=... DB_DWH_PASSWORD=... \
#       db/create-databases.sh [DSN of an administrator]
#
# Without a DSN psql's own variables count (PGHOST, PGUSER, ...). In the postgres image it lies in
# /docker-entrypoint-initdb.d, where POSTGRES_USER and POSTGRES_PASSWORD stand for what is not given.
# The logins get no superuser and no replication right; `nms db up` makes the tables.
set -eu

admin=${1:-"postgresql://?user=${PGUSER:-${POSTGRES_USER:-postgres}}&dbname=${PGDATABASE:-postgres}"}

run_sql() {
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 "$@" --dbname "$admin"
}

create_login() {
    name=$1 password=$2
    if [ -z "$password" ]; then
        echo "create-databases.sh: no password for the login $name" >&2
        exit 1
    fi
    # The password travels in the environment and on standard input, never in an argument that ps shows.
    LOGIN_PASSWORD=$password run_sql --set name="$name" <<'SQL'
\set password `printenv LOGIN_PASSWORD`
select format('create role %I login', :'name') where not exists (select from pg_roles where rolname = :'name') \gexec
select format('alter role %I password %L', :'name', :'password') \gexec
SQL
}

create_database() {
    create_login "nms_$1" "$2"
    run_sql --set database="$1" <<'SQL'
select format('create database %I owner %I encoding ''UTF8'' template template0', :'database', 'nms_' || :'database')
where not exists (select from pg_database where datname = :'database') \gexec
select format('revoke connect, temporary on database %I from public', :'database') \gexec
SQL
}

create_database auth "${DB_AUTH_PASSWORD:-${POSTGRES_PASSWORD:-}}"
create_database nms "${DB_NMS_PASSWORD:-${POSTGRES_PASSWORD:-}}"
create_database dwh "${DB_DWH_PASSWORD:-${POSTGRES_PASSWORD:-}}"
create_login nms_trust "${DB_TRUST_PASSWORD:-${POSTGRES_PASSWORD:-}}"
# What it may read there is granted by the migrations: the schema trust, and nothing else.
echo 'grant connect on database auth to nms_trust' | run_sql
