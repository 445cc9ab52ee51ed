"""Statements of the auth room, bound to the database `auth`."""

from collections.abc import Sequence
from uuid import UUID

from nms.auth.models import Attempt
from nms.common.db.queries import load
from nms.common.db.repositories import BaseAuthRepository

queries = load("nms.auth")


class AuthRepository(BaseAuthRepository):
    """Accounts, what speaks for them, and what was done."""

    # Attempts

    async def count_attempt(
        self, attempt: Attempt, forgiving: float, delays: Sequence[Sequence[float]]
    ) -> tuple[bool, float]:
        """Count an attempt in its three rows: whether it is let through, and seconds while its network is held.

        `delays` are, for each row, the seconds to wait by the number of attempts.
        """
        network, pair, account = (list(each) for each in delays)
        row = await queries.count_attempts(
            self.connection,
            email_key=attempt.email_key,
            network=attempt.network,
            keys=list(attempt.keys),
            forgiving=forgiving,
            network_delays=network,
            pair_delays=pair,
            account_delays=account,
        )
        return row["admitted"], row["network_seconds"]

    async def forgive_attempts(self, attempt: Attempt, step: float) -> None:
        """Forget what was counted for the account, and take back one attempt of the network, `step` seconds of it."""
        network, pair, account = attempt.keys
        await queries.update_forgiven(self.connection, key=network, step=step)
        await queries.delete_attempts(self.connection, key=pair)
        await queries.delete_attempts(self.connection, key=account)

    async def upsert_known_address(self, account_id: UUID, network: str) -> None:
        """Remember where an account has logged in from."""
        await queries.upsert_known_address(self.connection, account_id=account_id, network=network)

    async def purge_attempts(self, known_days: int, size: int) -> int:
        """Delete attempts that are forgiven and networks unused for days; gives how many rows at most `size` each."""
        count: int = await queries.purge_throttle(self.connection, size=size)
        count += await queries.purge_known_addresses(self.connection, days=known_days, size=size)
        return count
