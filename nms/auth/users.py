"""The use cases of users: create, change, disable, delete, and what follows for their tokens and sessions.

Locks are taken in one order: the role admin where its last holder may go, the roles that are given, the account.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from nms.auth import audit
from nms.auth.email import key_of, parse_email
from nms.auth.password import Passwords, check_new_password
from nms.auth.problems import LastAdmin, UserMoved
from nms.auth.repository import AuthRepository
from nms.auth.revocations import revoke
from nms.auth.role import Giver
from nms.auth.sessions import end_sessions
from nms.auth.user import NewUser, User, UserChange
from nms.common import outbox
from nms.common.db.problems import Duplicate
from nms.common.problem import Malformed, NotFound, Pointer
from nms.events.auth import UserChanged, UserCreated, UserDeleted, UserDisabled

ADMIN = "admin"
LONGEST_SCOPE = 3500
"""Characters of all scopes of an account: with them an access token stays below the 8 KB that the guard reads."""


async def list_users(
    repository: AuthRepository,
    chosen: tuple[str | None, str | None, bool | None],
    after: Sequence[Any] | None,
    size: int,
) -> list[User]:
    """Users of an (e-mail address, role, state of being disabled), None for any, the oldest first."""
    email, role, disabled = chosen
    return await repository.list_users((None if email is None else key_of(email), role, disabled), after, size)


async def get_user(repository: AuthRepository, account: UUID) -> User:
    """A user; raises NotFound."""
    user = await repository.get_user(account)
    if user is None:
        raise NotFound("There is no such user.")
    return user


async def create_user(repository: AuthRepository, passwords: Passwords, new: NewUser, by: Giver) -> User:
    """Add a user; raises Malformed with pointers, PasswordRefused, GrantExceeded, Duplicate, AuthBusy."""
    email = parse_email(new.email)
    check_new_password(new.password.get_secret_value(), email.shown)
    hashed = await passwords.hash(new.password.get_secret_value())
    async with audit.noted(repository, "user.create", by.actor, email.key) as tx:
        return await insert_user(tx, new, hashed, by)


async def insert_user(tx: AuthRepository, new: NewUser, hashed: str, by: Giver) -> User:
    """The same in the transaction of another use case, with the hash of a password that was checked."""
    email, roles = parse_email(new.email), sorted(set(new.roles))
    by.check(await _read_scopes(tx, roles))
    account = await tx.insert_user(email, new.name, hashed)
    if account is None:
        raise Duplicate("There is already a user with this e-mail address, maybe in another spelling.")
    await tx.replace_user_roles(account, roles)
    await outbox.put(tx, UserCreated(user=str(account), email=email.shown, name=new.name, roles=tuple(roles)))
    await audit.note(tx, "user.create", by.actor, str(account), email=email.shown, roles=roles)
    return await get_user(tx, account)


async def change_user(
    repository: AuthRepository, passwords: Passwords, account: UUID, change: UserChange, by: Giver
) -> User:
    """Change what is given and different; raises as `create_user`, and UserMoved, LastAdmin, NotFound.

    Access tokens made before are refused from then on. Sessions go on, unless the password changed or the user is
    disabled: then all of them end.
    """
    hashed = None
    if change.password is not None:
        user = await get_user(repository, account)
        check_new_password(change.password.get_secret_value(), user.email)
        hashed = await passwords.hash(change.password.get_secret_value())
    async with audit.noted(repository, "user.change", by.actor, str(account)) as tx:
        return await _change(tx, account, change, hashed, by)


async def delete_user(repository: AuthRepository, account: UUID, by: Giver) -> None:
    """Delete a user with its sessions; raises NotFound, LastAdmin, GrantExceeded."""
    async with audit.noted(repository, "user.delete", by.actor, str(account)) as tx:
        await tx.lock_role(ADMIN)
        user = await _lock(tx, account, by)
        await revoke(tx, "account", str(account), user.revision + 1)
        await end_sessions(tx, account, "deleted")
        await tx.delete_user(account)
        await _keep_an_admin(tx, user)
        await outbox.put(tx, UserDeleted(user=str(account)))
        await audit.note(tx, "user.delete", by.actor, str(account), email=user.email, roles=user.roles)


async def _change(tx: AuthRepository, account: UUID, change: UserChange, hashed: str | None, by: Giver) -> User:
    if change.disabled or change.roles is not None:
        await tx.lock_role(ADMIN)
    roles = None if change.roles is None else sorted(set(change.roles))
    scopes = await _read_scopes(tx, roles or [])
    user = await _lock(tx, account, by)
    by.check(scopes)
    if change.revision is not None and change.revision != user.revision:
        raise UserMoved("The user has another revision than the change was made for.", revision=user.revision)
    fields = _differences(user, change, roles)
    if not fields:
        return user
    revision = await tx.update_user(account, change.name, change.disabled, hashed)
    if roles is not None:
        await tx.replace_user_roles(account, roles)
    await _keep_an_admin(tx, user)
    await _take_back(tx, account, revision, fields)
    await _tell(tx, user, fields, revision, by)
    return await get_user(tx, account)


def _differences(user: User, change: UserChange, roles: Sequence[str] | None) -> dict[str, Any]:
    """What is given and is not so yet; a password always is."""
    given = {"name": change.name, "roles": roles, "disabled": change.disabled}
    now = {"name": user.name, "roles": sorted(user.roles), "disabled": user.disabled}
    fields = {name: value for name, value in given.items() if value is not None and value != now[name]}
    return fields | ({} if change.password is None else {"password": True})


async def _lock(tx: AuthRepository, account: UUID, by: Giver) -> User:
    """The account, which nobody may touch who holds less than it does: else a password would lend its rights."""
    user = await tx.lock_user(account)
    if user is None:
        raise NotFound("There is no such user.")
    by.check(await tx.list_user_scopes(account))
    return user


async def _read_scopes(tx: AuthRepository, roles: Sequence[str]) -> set[str]:
    found = await tx.list_granted_scopes(roles)
    unknown = [Pointer("/roles", f"there is no role `{role}`") for role in roles if role not in found]
    if unknown:
        raise Malformed("Some of the roles do not exist.", pointers=unknown)
    scopes = {scope for each in found.values() for scope in each}
    if len(" ".join(scopes)) > LONGEST_SCOPE:
        pointer = Pointer("/roles", f"together they have more than {LONGEST_SCOPE} characters of scopes")
        raise Malformed("No token could carry the scopes of these roles.", pointers=[pointer])
    return scopes


async def _keep_an_admin(tx: AuthRepository, before: User) -> None:
    """Nobody else gives or takes the role admin now: its row is locked where this can fail."""
    if ADMIN in before.roles and not before.disabled and not await tx.count_active_holders(ADMIN):
        raise LastAdmin()


async def _take_back(tx: AuthRepository, account: UUID, revision: int, fields: dict[str, Any]) -> None:
    """What was made under the account as it was: access tokens, and after some changes the sessions too."""
    if fields.keys() != {"name"}:
        await revoke(tx, "account", str(account), revision)
    if fields.get("disabled"):
        await end_sessions(tx, account, "disabled")
    elif "password" in fields:
        await end_sessions(tx, account, "password-changed")


async def _tell(tx: AuthRepository, before: User, fields: dict[str, Any], revision: int, by: Giver) -> None:
    account = str(before.id)
    await outbox.put(tx, UserChanged(user=account, revision=revision, fields=tuple(sorted(fields))))
    if "name" in fields:
        await audit.note(tx, "user.change", by.actor, account, name=fields["name"])
    if "roles" in fields:
        added, removed = set(fields["roles"]) - set(before.roles), set(before.roles) - set(fields["roles"])
        await audit.note(tx, "user.grant", by.actor, account, added=sorted(added), removed=sorted(removed))
    if "password" in fields:
        await audit.note(tx, "user.password", by.actor, account)
    if "disabled" in fields:
        await audit.note(tx, "user.disable" if fields["disabled"] else "user.enable", by.actor, account)
    if fields.get("disabled"):
        await outbox.put(tx, UserDisabled(user=account, revision=revision))
