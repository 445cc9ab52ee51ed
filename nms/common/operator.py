"""The operator: who gives commands on this machine, and has all that its databases have."""

from getpass import getuser
from platform import node


def login_name() -> str:
    """The name of the login of this process; `operator` where it has none, as in a container."""
    try:
        return getuser()
    except (KeyError, OSError):
        return "operator"


def name_here() -> str:
    """`<login>@<host>`."""
    return f"{login_name()}@{node()}"


def name_operator() -> str:
    """`operator:<login>@<host>`, as an audit names who gave a command."""
    return f"operator:{name_here()}"
