"""The background work of auth: what is over goes, what is not stays, events leave the outbox."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from nms.auth import worker
from nms.auth.main import create_app
from nms.auth.repository import AuthRepository
from nms.auth.worker import purge
from nms.common.settings import Settings
from tests.waiting import eventually

# One account whose rows are over by more and by less than they are kept.
ROWS = """
insert into auth.account (id, email, email_key, password) values
    ('00000000-0000-0000-0000-000000000001', 'a', 'a', 'x');
insert into auth.throttle (key, attempts, forgiven_at, held_until, admitted) values
    ('old', 1, now() - interval '1 s', now() - interval '1 s', true),
    ('new', 1, now() + interval '1 min', now() - interval '1 s', true),
    ('held', 1, now() - interval '1 s', now() + interval '1 min', false);
insert into auth.known_address (account_id, network, used_at) values
    ('00000000-0000-0000-0000-000000000001', 'old', now() - interval '181 days'),
    ('00000000-0000-0000-0000-000000000001', 'new', now() - interval '179 days');
insert into auth.revocation (kind, subject, expires_at) values
    ('token', 'old', now() - interval '1 s'), ('token', 'new', now() + interval '1 min');
insert into auth.session (id, account_id, seed_hash, agent, idle_until, expires_at, ended_at)
select gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 'x', agent, now() + idle, now() + whole, now() + ended
from (values
    ('old: ended', interval '1 day', interval '1 day', interval '-31 days'),
    ('old: idle', interval '-31 days', interval '1 day', null),
    ('old: expired', interval '-31 days', interval '-31 days', null),
    ('new: ended', interval '1 day', interval '1 day', interval '-29 days'),
    ('new: expired', interval '-29 days', interval '-29 days', null),
    ('new: good', interval '1 day', interval '1 day', null)
) as given (agent, idle, whole, ended);
insert into auth.service_token (id, name, scopes, created_by) values
    ('00000000-0000-0000-0000-000000000002', 'robot', '{}', 'ada');
insert into auth.service_secret (hash, service_token_id, hint, created_at, good_until)
select hash::bytea, '00000000-0000-0000-0000-000000000002', hash, now() - made, now() - over from (values
    ('old', interval '90 days', interval '31 days'),
    ('new: replaced', interval '60 days', interval '29 days'),
    ('new: last', interval '32 days', interval '31 days')
) as given (hash, made, over);
"""
LEFT = """
select array_agg(name order by name) from (
    select convert_from(key, 'utf8') as name from auth.throttle
    union all select network from auth.known_address
    union all select subject from auth.revocation
    union all select agent from auth.session
    union all select hint from auth.service_secret
) as found
"""


@pytest.fixture
async def repository(settings: Settings) -> AuthRepository:
    return await AuthRepository.open()


async def names_left(repository: AuthRepository) -> Any:
    return await repository.connection.fetchval(LEFT)


KEPT = ["held", "new", "new", "new", "new: ended", "new: expired", "new: good", "new: last", "new: replaced"]


async def test_what_is_over_is_deleted_and_nothing_else(
    repository: AuthRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    await repository.connection.execute(ROWS)
    monkeypatch.setattr(worker, "PURGE_SIZE", 2)
    assert await purge(repository) == 7
    assert await names_left(repository) == KEPT
    assert await purge(repository) == 0


async def test_several_may_purge_at_once(repository: AuthRepository) -> None:
    await repository.connection.execute(ROWS)
    assert sum(await asyncio.gather(*(purge(repository) for _ in range(5)))) == 7
    assert await names_left(repository) == KEPT


@pytest.mark.parametrize("works", [True, False])
async def test_the_role_purges_by_itself_unless_it_is_api_only(
    repository: AuthRepository, settings: Settings, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    monkeypatch.setenv("AUTH_WORKER", str(works))
    await repository.connection.execute(ROWS)
    app = create_app(settings)
    assert (app.state.life.work is not None) == works
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))

        async def tidied() -> bool:
            return bool(await names_left(await AuthRepository.open()) == KEPT)

        if works:
            await eventually(tidied)
