"""Statements of the auth room, bound to the database `auth`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from nms.auth.email import Email
from nms.auth.models import (
    Attempt,
    Login,
    Revocation,
    Session,
    Standing,
    Used,
    VerificationKey,
)
from nms.auth.role import Role
from nms.auth.user import User
from nms.common.audit import AuditEntry, AuditFilter
from nms.common.db.queries import load
from nms.common.db.repositories import BaseAuthRepository

queries = load("nms.auth")


class AuthRepository(BaseAuthRepository):
    """Accounts, sessions, keys, what is revoked and what was done."""

    # -- accounts

    async def get_login(self, email_key: str) -> Login | None:
        """The account of a normal form of an e-mail address."""
        row = await queries.get_account_login(self.connection, email_key=email_key)
        return None if row is None else Login(**row)

    async def mark_account_used(self, login: Login) -> bool:
        """Note the time of a login; false when the account was closed or its password changed meanwhile."""
        return bool(await queries.mark_account_used(self.connection, id=login.id, password=login.password))

    async def update_account_hash(self, login: Login, password: str) -> None:
        """Keep the same password under newer parameters."""
        await queries.update_account_hash(self.connection, id=login.id, known=login.password, password=password)

    # -- users

    async def list_users(
        self, chosen: tuple[str | None, str | None, bool | None], after: Sequence[Any] | None, size: int
    ) -> list[User]:
        """Accounts of (normal form, role, disabled), None for any, the oldest first, behind (created_at, id)."""
        email_key, role, disabled = chosen
        created, last = after or (None, None)
        rows = await queries.list_accounts(
            self.connection,
            email_key=email_key,
            role=role,
            disabled=disabled,
            after_created=created,
            after_id=last,
            size=size,
        )
        return [User(**row) for row in rows]

    async def get_user(self, account: UUID | None = None, email_key: str | None = None) -> User | None:
        """An account by its id or its normal form."""
        row = await queries.get_account(self.connection, id=account, email_key=email_key)
        return None if row is None else User(**row)

    async def lock_user(self, account: UUID) -> User | None:
        """The same, and nobody else changes it until the end of the transaction."""
        await queries.lock_account(self.connection, id=account)
        return await self.get_user(account)

    async def get_secret(self, account: UUID) -> tuple[str, str, str] | None:
        """E-mail, its normal form and the hash of the password."""
        row = await queries.get_account_secret(self.connection, id=account)
        return None if row is None else (row["email"], row["email_key"], row["password"])

    async def list_user_scopes(self, account: UUID) -> list[str]:
        """What an account's roles allow."""
        return list(await queries.list_account_scopes(self.connection, id=account))

    async def insert_user(self, email: Email, name: str, password: str) -> UUID | None:
        """Add an account with a hash; None when there is one of this normal form."""
        account: UUID | None = await queries.insert_account(
            self.connection, email=email.shown, email_key=email.key, name=name, password=password
        )
        return account

    async def update_user(self, account: UUID, name: str | None, disabled: bool | None, password: str | None) -> int:
        """Change what is not None; the new revision."""
        return int(
            await queries.update_account(self.connection, id=account, name=name, disabled=disabled, password=password)
        )

    async def replace_user_roles(self, account: UUID, roles: Sequence[str]) -> None:
        """Let an account hold these roles and no others."""
        await queries.delete_account_roles(self.connection, account_id=account, roles=list(roles))
        await queries.insert_account_roles(self.connection, account_id=account, roles=list(roles))

    async def delete_user(self, account: UUID) -> None:
        """Delete an account with all that hangs on it."""
        await queries.delete_account(self.connection, id=account)

    # -- roles

    async def list_roles(self, after: str | None, size: int) -> list[Role]:
        """Roles by name."""
        return [Role(**row) for row in await queries.list_roles(self.connection, after=after, size=size)]

    async def get_role(self, name: str) -> Role | None:
        """One role."""
        row = await queries.get_role(self.connection, name=name)
        return None if row is None else Role(**row)

    async def lock_role(self, name: str) -> Role | None:
        """The same, and nobody else changes or gives it until the end of the transaction."""
        await queries.lock_role(self.connection, name=name)
        return await self.get_role(name)

    async def list_granted_scopes(self, names: Sequence[str]) -> dict[str, list[str]]:
        """The scopes of these roles, those that exist; nobody changes them until the end of the transaction."""
        rows = await queries.list_granted_scopes(self.connection, names=list(names))
        return {row["name"]: row["scopes"] for row in rows}

    async def insert_role(self, name: str, description: str, scopes: Sequence[str]) -> bool:
        """Add a role unless there is one of this name."""
        return bool(await queries.insert_role(self.connection, name=name, description=description, scopes=list(scopes)))

    async def update_role(self, name: str, description: str, scopes: Sequence[str]) -> None:
        """Change a role."""
        await queries.update_role(self.connection, name=name, description=description, scopes=list(scopes))

    async def delete_role(self, name: str) -> bool:
        """Delete a role that nobody holds."""
        return bool(await queries.delete_role(self.connection, name=name))

    async def count_active_holders(self, name: str) -> int:
        """How many accounts hold a role and are not disabled."""
        return int(await queries.count_active_holders(self.connection, name=name))

    async def get_longest_scope(self, name: str) -> int:
        """Characters of the scopes of the account that has most of them, of those who hold a role."""
        return int(await queries.get_longest_scope(self.connection, name=name) or 0)

    async def revoke_holders(self, name: str, seconds: float) -> int:
        """Raise the revision of all who hold a role, with a revocation each; how many they are."""
        return int(await queries.insert_holder_revocations(self.connection, name=name, seconds=seconds))

    # -- sessions

    async def insert_session(
        self, login: Login, session: tuple[UUID, bytes], origin: tuple[str | None, str, str], ends: tuple[int, int]
    ) -> Standing | None:
        """Open a session (id, hash of its seed) with (scope, address, agent) that ends after (idle, absolute) seconds.

        None when the account is gone.
        """
        row = await queries.insert_session(
            self.connection,
            id=session[0],
            account_id=login.id,
            seed_hash=session[1],
            scope=origin[0],
            address=origin[1],
            agent=origin[2],
            idle=timedelta(seconds=ends[0]),
            absolute=timedelta(seconds=ends[1]),
        )
        return None if row is None else Standing(**row)

    async def update_session_generation(
        self, session: UUID, seed_hash: bytes, generation: int, idle: int
    ) -> Standing | None:
        """Use a generation of a session's refresh token; None unless it is the newest one of a session that is good."""
        row = await queries.update_session_generation(
            self.connection, id=session, seed_hash=seed_hash, generation=generation, idle=timedelta(seconds=idle)
        )
        return None if row is None else Standing(**row)

    async def get_session_standing(self, session: UUID, seed_hash: bytes) -> Used | None:
        """A session, however it stands."""
        row = await queries.get_session_standing(self.connection, id=session, seed_hash=seed_hash)
        if row is None:
            return None
        standing = Standing(
            row["session_id"],
            row["account_id"],
            row["scope"],
            row["expires_at"],
            row["revision"],
            row["scopes"],
        )
        return Used(standing, row["generation"], row["rotations"], row["now"], row["alive"])

    async def mark_session_ended(self, session: UUID, reason: str) -> UUID | None:
        """End a session; the account it was of, or None when it had ended before."""
        account: UUID | None = await queries.mark_session_ended(self.connection, id=session, reason=reason)
        return account

    async def mark_account_sessions_ended(self, account: UUID, reason: str, but: UUID | None) -> list[UUID]:
        """End the sessions of an account, all but one; an access token of one that ran idle may still be good."""
        rows = await queries.mark_account_sessions_ended(self.connection, account_id=account, reason=reason, but=but)
        return [row["id"] for row in rows]

    async def list_surplus_sessions(self, account: UUID, keep: int) -> list[UUID]:
        """The good sessions of an account but for the `keep` that were used last."""
        rows = await queries.list_surplus_sessions(self.connection, account_id=account, keep=keep)
        return [row["id"] for row in rows]

    async def list_sessions(self, account: UUID, after: Sequence[Any] | None, size: int) -> list[Session]:
        """The good sessions of an account, the newest first, behind (created_at, id)."""
        created, last = after or (None, None)
        rows = await queries.list_account_sessions(
            self.connection, account_id=account, after_created=created, after_id=last, size=size
        )
        return [Session(**row) for row in rows]

    async def owns_session(self, account: UUID, session: UUID) -> bool:
        """Whether a session that is good is one of this account."""
        return await queries.get_own_session(self.connection, id=session, account_id=account) is not None

    # -- revocations

    async def insert_revocation(self, kind: str, subject: str, revision: int | None, seconds: float) -> None:
        """Refuse what was good, for as long as it would have been."""
        await queries.insert_revocation(self.connection, kind=kind, subject=subject, revision=revision, seconds=seconds)

    async def insert_session_revocations(self, sessions: Sequence[UUID], seconds: float) -> None:
        """The same for many sessions."""
        await queries.insert_session_revocations(
            self.connection, subjects=[str(one) for one in sessions], seconds=seconds
        )

    async def list_revocations(self, place: tuple[int, int], size: int) -> list[tuple[int, int, Revocation]]:
        """Revocations behind a (transaction, id), with theirs."""
        rows = await queries.list_revocations(self.connection, xid=str(place[0]), id=place[1], size=size)
        return [
            (int(row["xid"]), row["id"], Revocation(
                kind=row["kind"], subject=row["subject"], revision=row["revision"], expires_at=row["expires_at"]
            ))
            for row in rows
        ]  # fmt: skip

    async def get_horizon(self) -> int:
        """The oldest transaction that this moment's snapshot does not show."""
        return int(await queries.get_horizon(self.connection))

    # -- keys

    async def lock_signing_keys(self) -> None:
        """Keep other makers of keys out until the end of the transaction."""
        await queries.lock_signing_keys(self.connection)

    async def get_signing_key(self) -> tuple[str, bytes] | None:
        """Name and sealed private key of the key that signs."""
        row = await queries.get_signing_key(self.connection)
        return None if row is None else (row["kid"], row["sealed_key"])

    async def list_verification_keys(self) -> list[VerificationKey]:
        """The public keys that verify, the newest first."""
        return [VerificationKey(**row) for row in await queries.list_verification_keys(self.connection)]

    async def insert_signing_key(self, kid: str, public: bytes, sealed: bytes) -> bool:
        """Add the key that signs, unless there is one."""
        added = await queries.insert_signing_key(self.connection, kid=kid, public_key=public, sealed_key=sealed)
        return bool(added)

    async def replace_signing_keys(self, seconds: float, *, give_up: bool) -> list[str]:
        """Let the key that signs only verify for so long, or give up every key at once; their names."""
        if give_up:
            rows = await queries.mark_signing_keys_given_up(self.connection)
        else:
            rows = await queries.mark_signing_keys_replaced(self.connection, seconds=seconds)
        await queries.delete_signing_keys(self.connection)
        return [row["kid"] for row in rows]

    # -- audit

    async def insert_audit(self, action: str, outcome: str, actor: tuple[str, str], about: tuple[str, Any]) -> None:
        """Add what (actor, address) did about (subject, facts)."""
        await queries.insert_audit(
            self.connection,
            action=action,
            outcome=outcome,
            actor=actor[0],
            address=actor[1],
            subject=about[0],
            facts=about[1],
        )

    async def list_audit(self, wanted: AuditFilter, after: Sequence[Any] | None, size: int) -> list[AuditEntry]:
        """What was done, newest first, behind a time and an id."""
        after_at, after_id = after or (None, None)
        rows = await queries.list_audit(
            self.connection,
            action=wanted.action,
            outcome=wanted.outcome,
            actor=wanted.actor,
            subject=wanted.subject,
            since=wanted.since,
            until=wanted.until,
            after_at=after_at,
            after_id=after_id,
            size=size,
        )
        return [AuditEntry(**row) for row in rows]

    # -- attempts to log in

    async def count_attempt(
        self, attempt: Attempt, forgiving: float, delays: Sequence[Sequence[float]], lots: Sequence[float]
    ) -> tuple[bool, float, int]:
        """Count an attempt in its rows: whether it is let through, seconds while its network is held, how many were.

        `delays` are, for site, network, pair and account, the seconds to wait by the number of attempts.
        """
        site, network, pair, account = (list(each) for each in delays)
        row = await queries.count_attempts(
            self.connection,
            email_key=attempt.email_key,
            network=attempt.network,
            keys=list(attempt.keys),
            lots=list(lots),
            forgiving=forgiving,
            site_delays=site,
            network_delays=network,
            pair_delays=pair,
            account_delays=account,
        )
        return row["admitted"], row["network_seconds"], row["network_refused"]

    async def forgive_attempts(self, attempt: Attempt, steps: tuple[float, float]) -> None:
        """Forget what was counted for the account, and take back one attempt of site and network, so many seconds."""
        for key, step in zip(attempt.keys[:2], steps, strict=True):
            await queries.update_forgiven(self.connection, key=key, step=step)
        for key in attempt.keys[2:]:
            await queries.delete_attempts(self.connection, key=key)

    async def take_back_attempt(self, attempt: Attempt, steps: Sequence[float]) -> None:
        """Take back one attempt everywhere, so many seconds of each key: nobody looked at it."""
        for key, step in zip(attempt.keys, steps, strict=True):
            await queries.update_forgiven(self.connection, key=key, step=step)

    async def upsert_known_address(self, account_id: UUID, network: str) -> None:
        """Remember where an account has logged in from."""
        await queries.upsert_known_address(self.connection, account_id=account_id, network=network)

    # -- what is over

    async def purge_throttle(self, size: int) -> int:
        """Delete attempts that are forgiven, at most `size`; gives how many."""
        return int(await queries.purge_throttle(self.connection, size=size))

    async def purge_known_addresses(self, days: int, size: int) -> int:
        """Delete networks that an account has not logged in from for days."""
        return int(await queries.purge_known_addresses(self.connection, days=days, size=size))

    async def purge_revocations(self, size: int) -> int:
        """Delete revocations of what has expired."""
        return int(await queries.purge_revocations(self.connection, size=size))

    async def purge_sessions(self, days: int, size: int) -> int:
        """Delete sessions that have been over for days."""
        return int(await queries.purge_sessions(self.connection, days=days, size=size))

    async def purge_service_secrets(self, days: int, size: int) -> int:
        """Delete secrets that were replaced and have been over for days."""
        return int(await queries.purge_service_secrets(self.connection, days=days, size=size))

    async def purge_service_tokens(self, days: int, size: int) -> int:
        """Delete service tokens that have been revoked for days."""
        return int(await queries.purge_service_tokens(self.connection, days=days, size=size))
