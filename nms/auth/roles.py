"""The use cases of roles: sets of scopes that users hold together."""

from collections.abc import Sequence

from nms.auth import audit
from nms.auth.problems import RoleBuiltIn, RoleHeld
from nms.auth.repository import AuthRepository
from nms.auth.revocations import KEEP_SECONDS
from nms.auth.role import Giver, NewRole, Role, RoleBody
from nms.auth.users import LONGEST_SCOPE
from nms.common import outbox
from nms.common.db.problems import Duplicate
from nms.common.guard import is_grant
from nms.common.problem import Malformed, NotFound, Pointer
from nms.events.auth import RoleChanged


async def list_roles(repository: AuthRepository, after: Sequence[str] | None, size: int) -> list[Role]:
    """Roles by name."""
    return await repository.list_roles(after[0] if after else None, size)


async def get_role(repository: AuthRepository, name: str) -> Role:
    """A role; raises NotFound."""
    role = await repository.get_role(name)
    if role is None:
        raise NotFound(f"There is no role {name}.")
    return role


async def create_role(repository: AuthRepository, new: NewRole, by: Giver) -> Role:
    """Add a role; raises Malformed, GrantExceeded, Duplicate."""
    scopes = check_scopes(new.scopes)
    async with audit.noted(repository, "role.create", by.actor, new.name) as tx:
        by.check(scopes)
        if not await tx.insert_role(new.name, new.description, scopes):
            raise Duplicate(f"There is already a role {new.name}.")
        await outbox.put(tx, RoleChanged(role=new.name, scopes=tuple(scopes)))
        await audit.note(tx, "role.create", by.actor, new.name, scopes=scopes)
        return await get_role(tx, new.name)


async def change_role(repository: AuthRepository, name: str, body: RoleBody, by: Giver) -> Role:
    """Let a role allow something else; raises Malformed, GrantExceeded, RoleBuiltIn, NotFound.

    When its scopes differ, the access tokens of all who hold it are refused from then on; their sessions go on.
    """
    scopes = check_scopes(body.scopes)
    async with audit.noted(repository, "role.change", by.actor, name) as tx:
        role = await _lock(tx, name, by)
        by.check(scopes)
        if (role.description, role.scopes) == (body.description, scopes):
            return role
        await tx.update_role(name, body.description, scopes)
        if role.scopes != scopes:
            await _take_back(tx, name)
            await outbox.put(tx, RoleChanged(role=name, scopes=tuple(scopes)))
        added, removed = sorted(set(scopes) - set(role.scopes)), sorted(set(role.scopes) - set(scopes))
        await audit.note(tx, "role.change", by.actor, name, added=added, removed=removed)
        return await get_role(tx, name)


async def delete_role(repository: AuthRepository, name: str, by: Giver) -> None:
    """Delete a role that nobody holds; raises RoleHeld, RoleBuiltIn, GrantExceeded, NotFound."""
    async with audit.noted(repository, "role.delete", by.actor, name) as tx:
        role = await _lock(tx, name, by)
        if not await tx.delete_role(name):
            raise RoleHeld(f"The role {name} is held by users.")
        await outbox.put(tx, RoleChanged(role=name, gone=True))
        await audit.note(tx, "role.delete", by.actor, name, scopes=role.scopes)


async def _lock(tx: AuthRepository, name: str, by: Giver) -> Role:
    role = await tx.lock_role(name)
    if role is None:
        raise NotFound(f"There is no role {name}.")
    if role.built_in:
        raise RoleBuiltIn(f"The role {name} is built in.")
    by.check(role.scopes)
    return role


async def _take_back(tx: AuthRepository, name: str) -> None:
    if await tx.get_longest_scope(name) > LONGEST_SCOPE:
        pointer = Pointer("/scopes", f"with their other roles some users have more than {LONGEST_SCOPE} characters")
        raise Malformed("No token could carry the scopes of all who hold this role.", pointers=[pointer])
    await tx.revoke_holders(name, KEEP_SECONDS)


def check_scopes(scopes: Sequence[str]) -> list[str]:
    """The scopes in order, each once; raises Malformed with a pointer for each that is none."""
    wrong = [
        Pointer(f"/scopes/{place}", "a scope reads noun:verb, noun:verb:instance, noun:* or *")
        for place, scope in enumerate(scopes)
        if not is_grant(scope)
    ]
    if len(" ".join(set(scopes))) > LONGEST_SCOPE:
        wrong.append(Pointer("/scopes", f"together they have more than {LONGEST_SCOPE} characters"))
    if wrong:
        raise Malformed("Some of the scopes are none.", pointers=wrong)
    return sorted(set(scopes))
