"""What auth refuses."""

from nms.common.problem import Malformed, Problem, Retry


class AuthBusy(Problem):
    """As many passwords wait to be hashed as may wait."""

    status, code, retry, title = 503, "auth-busy", Retry.LATER, "Too many logins at once"
    remedy = "Try again after the seconds that `retry_after` names; AUTH_HASHES and AUTH_HASH_QUEUE set how many wait."

    def __init__(self) -> None:
        super().__init__("Too many passwords are being checked at this moment.", retry_after=1)


class PasswordRefused(Malformed):
    """The new password is too short, too long, common or the e-mail address."""

    code, title = "password-refused", "The new password is refused"
    remedy = "Choose a password of 12 to 128 characters that no list has, such as four or five words by chance."


class TooManyAttempts(Problem):
    """The network that asks has failed too often lately; it is told, since it knows that itself."""

    status, code, retry, title = 429, "too-many-attempts", Retry.LATER, "Too many attempts"
    remedy = "Wait for the seconds that Retry-After names; attempts until then make the next wait longer."

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Attempts from this network are held for {seconds} s.", retry_after=seconds)
        self.headers = {"Retry-After": str(seconds)}
