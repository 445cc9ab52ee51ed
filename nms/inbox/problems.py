"""What the inbox refuses."""

from nms.common.problem import Problem


class SecretUnfit(Problem):
    """A secret of an endpoint has not the form that its scheme needs."""

    status, code, title = 409, "secret-unfit", "A secret has not the form that its scheme needs"
    remedy = "Put the secret as the provider shows it behind the reference, without anything around it."


class SchemeForbidden(Problem):
    """An endpoint would believe anybody, and this is no development environment."""

    status, code, title = 409, "scheme-forbidden", "An endpoint believes anybody"
    remedy = "Give the endpoint a scheme that verifies; `none` is for ENVIRONMENT=dev only."
