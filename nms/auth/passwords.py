"""The use case of one's own password."""

from uuid import UUID

from nms.auth import audit, throttle
from nms.auth.password import Passwords, check_new_password
from nms.auth.problems import PasswordWrong, TooManyAttempts, UserMoved
from nms.auth.repository import AuthRepository
from nms.auth.role import Giver
from nms.auth.sessions import end_sessions
from nms.auth.user import PasswordChange
from nms.common import outbox
from nms.common.problem import NotFound
from nms.events.auth import UserChanged


async def change_own_password(
    repository: AuthRepository, passwords: Passwords, account: UUID, change: PasswordChange, by: Giver
) -> None:
    """Take a new password for the current one; ends all other sessions of the account, this one goes on.

    A wrong current password counts as a failed login. Raises PasswordRefused, PasswordWrong, TooManyAttempts.
    """
    secret = await repository.get_secret(account)
    if secret is None:
        raise NotFound("There is no such user.")
    email, email_key, stored = secret
    new = change.new.get_secret_value()
    check_new_password(new, email, "/new")
    try:
        admission = await throttle.admit(repository, email_key, by.actor.address)
    except TooManyAttempts as held:
        await audit.note_held(repository, "user.password", by.actor, held, str(account))
        raise
    verdict = await passwords.verify(None if admission.held else stored, change.current.get_secret_value())
    if not verdict.good:
        await audit.note_refused(repository, "user.password", by.actor, str(account))
        raise PasswordWrong()
    hashed = await passwords.hash(new)
    async with repository.transaction() as tx:
        await tx.lock_user(account)
        if await tx.get_secret(account) != secret:
            raise UserMoved("The password has changed meanwhile.")
        revision = await tx.update_user(account, None, None, hashed)
        session = by.caller.session
        await end_sessions(tx, account, "password-changed", but=None if session is None else UUID(session))
        await outbox.put(tx, UserChanged(user=str(account), revision=revision, fields=("password",)))
        await audit.note(tx, "user.password", by.actor, str(account))
        await throttle.welcome(tx, admission, account)
