"""The use cases of service tokens: made, rotated with an overlap, revoked; nobody gives one more than he holds."""

from datetime import UTC, datetime, timedelta
from math import isinf
from uuid import UUID

from nms.auth import audit
from nms.auth.problems import ServiceTokenOver
from nms.auth.revocations import revoke
from nms.auth.role import Giver
from nms.auth.roles import check_scopes
from nms.auth.service_token import MadeServiceToken, NewServiceToken, ServiceToken, ServiceTokenRepository
from nms.common import clock, outbox, service_token
from nms.common.db.problems import Duplicate
from nms.common.guard import Caller, Kind
from nms.common.problem import Malformed, NotFound, Pointer
from nms.events.auth import ServiceTokenCreated, ServiceTokenRevoked, ServiceTokenRotated


async def get_service_token(repository: ServiceTokenRepository, identity: UUID) -> ServiceToken:
    """A service token, revoked or not; raises NotFound."""
    found = await repository.get_service_token(identity)
    if found is None:
        raise NotFound("There is no such service token.")
    return found


async def create_service_token(repository: ServiceTokenRepository, new: NewServiceToken, by: Giver) -> MadeServiceToken:
    """Add a service token with its first secret; raises Malformed, GrantExceeded, Duplicate."""
    scopes, new = check_scopes(new.scopes), _bounded(new, by.caller)
    async with audit.noted(repository, "service-token.create", by.actor, new.name) as tx:
        by.check(scopes)
        added = await tx.insert_service_token(new, scopes, by.actor.name)
        if added is None:
            raise Duplicate(f"There is already a service token {new.name}.")
        identity, ahead = added
        if not ahead:
            pointer = Pointer("/expires_at", "this time is over")
            raise Malformed("The service token would be over before it is made.", pointers=[pointer])
        made = await _give_secret(tx, identity)
        await outbox.put(tx, ServiceTokenCreated(id=str(identity), name=new.name, scopes=tuple(scopes)))
        facts = {"name": new.name, "scopes": scopes, "hint": made.secrets[0].hint}
        await audit.note(tx, "service-token.create", by.actor, str(identity), **facts)
    return made


def _bounded(new: NewServiceToken, caller: Caller) -> NewServiceToken:
    """A machine makes none that lives longer than itself."""
    if caller.kind is not Kind.SERVICE or isinf(caller.expires_at):
        return new
    ends = datetime.fromtimestamp(caller.expires_at, UTC)
    asked = new.expires_at if new.ttl is None else clock.now() + timedelta(seconds=new.ttl)
    if asked is not None and asked > ends:
        pointer = Pointer("/expires_at", "a service token makes none that lives longer than itself")
        raise Malformed("The service token would outlive the one that makes it.", pointers=[pointer])
    return new.model_copy(update={"expires_at": asked or ends, "ttl": None})


async def rotate_service_token(
    repository: ServiceTokenRepository, identity: UUID, overlap: int, by: Giver
) -> MadeServiceToken:
    """Make another secret; those before it are good for `overlap` seconds more. Raises as `create`, ServiceTokenOver.

    Who gets the secret may do what the token may: so he must hold that already.
    """
    async with audit.noted(repository, "service-token.rotate", by.actor, str(identity)) as tx:
        found = await _lock(tx, identity, by)
        await tx.update_service_secrets(identity, overlap)
        made = await _give_secret(tx, identity)
        # Processes that remember an earlier secret look again.
        await revoke(tx, "service-token", str(identity))
        await outbox.put(tx, ServiceTokenRotated(id=str(identity), name=found.name, overlap=overlap))
        facts = {"name": found.name, "overlap": overlap, "hint": made.secrets[0].hint}
        await audit.note(tx, "service-token.rotate", by.actor, str(identity), **facts)
    return made


async def revoke_service_token(repository: ServiceTokenRepository, identity: UUID, by: Giver) -> None:
    """End a service token, in every process within a second; once more changes nothing. Raises NotFound."""
    async with audit.noted(repository, "service-token.revoke", by.actor, str(identity)) as tx:
        await tx.lock_service_token(identity)
        found = await get_service_token(tx, identity)
        if found.revoked_at is not None:
            return
        by.check(found.scopes)
        await tx.mark_service_token_revoked(identity)
        await revoke(tx, "service-token", str(identity))
        await outbox.put(tx, ServiceTokenRevoked(id=str(identity), name=found.name))
        await audit.note(tx, "service-token.revoke", by.actor, str(identity), name=found.name)


async def _lock(tx: ServiceTokenRepository, identity: UUID, by: Giver) -> ServiceToken:
    alive = await tx.lock_service_token(identity)
    found = await get_service_token(tx, identity)
    by.check(found.scopes)
    if not alive:
        raise ServiceTokenOver(f"The service token {found.name} is revoked or expired.")
    return found


async def _give_secret(tx: ServiceTokenRepository, identity: UUID) -> MadeServiceToken:
    token = service_token.make()
    await tx.insert_service_secret(identity, service_token.hash_of(token), service_token.hint_of(token))
    made = await get_service_token(tx, identity)
    return MadeServiceToken(**made.model_dump(), token=token)
