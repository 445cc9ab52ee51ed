#!/bin/sh
# Creates the databases auth, nms and dwh, each owned by a login of its own; done already is not done again.
#
#   DB_AUTH_PASSWORD=... DB_NMS_PASSWORD=... DB_DWH_PASSWORD=... db/create-databases.sh [DSN of an administrator]
#
# Without a DSN psql's own variables count (PGHOST, PGUSER, ...). In the postgres image it lies in
# /docker-entrypoint-initdb.d, where POSTGRES_USER and POSTGRES_PASSWORD stand for what is not given.
# The logins get no superuser and no replication right; `nms db up` makes the tables.
set -eu

admin=${1:-"postgresql://?user=${PGUSER:-${POSTGRES_USER:-postgres}}&dbname=${PGDATABASE:-postgres}"}

create_database() {
    database=$1 password=$2
    if [ -z "$password" ]; then
        echo "create-databases.sh: no password for the login of database $database" >&2
        exit 1
    fi
    # The password travels in the environment and on standard input, never in an argument that ps shows.
    LOGIN_PASSWORD=$password psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --set database="$database" \
        --dbname "$admin" <<'SQL'
\set password `printenv LOGIN_PASSWORD`
select format('create role %I login', 'nms_' || :'database')
where not exists (select from pg_roles where rolname = 'nms_' || :'database') \gexec
select format('alter role %I password %L', 'nms_' || :'database', :'password') \gexec
select format('create database %I owner %I encoding ''UTF8'' template template0', :'database', 'nms_' || :'database')
where not exists (select from pg_database where datname = :'database') \gexec
select format('revoke connect, temporary on database %I from public', :'database') \gexec
SQL
}

create_database auth "${DB_AUTH_PASSWORD:-${POSTGRES_PASSWORD:-}}"
create_database nms "${DB_NMS_PASSWORD:-${POSTGRES_PASSWORD:-}}"
create_database dwh "${DB_DWH_PASSWORD:-${POSTGRES_PASSWORD:-}}"
