"""`make services`: installs the servers that tests need, or says in one sentence what to install.

A server named by TEST_PG_DSN, TEST_AMQP_DSN or TEST_REDIS_DSN is not looked for. Node.js runs JSONPlaceholder and
json-server, whose packages are locked in tests/services/npm and installed into .tools.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import node
from tests.services.postgres import find_installed
from tests.services.process import ServiceFailed

POLICY = Path("/usr/sbin/policy-rc.d")
COMPOSED = Path(".cache/services.env")
SYSTEM = node.SYSTEM
VARIABLES = {"postgresql": "TEST_PG_DSN", "rabbitmq-server": "TEST_AMQP_DSN", "redis-server": "TEST_REDIS_DSN"}
# Of containers that only tests use, on loopback; the file itself has no default for any.
SECRETS = (
    "NMS_POSTGRES_PASSWORD",
    "NMS_AUTH_PASSWORD",
    "NMS_DB_PASSWORD",
    "NMS_AMQP_PASSWORD",
    "JWT_SECRET_KEY",
    "SECRETS_KEY",
)
PASSWORDS = dict.fromkeys(SECRETS, "of-tests-alone")
SERVICES = {
    "postgresql": ("postgres", "postgresql://postgres:of-tests-alone@127.0.0.1:5432/postgres"),
    "rabbitmq-server": ("rabbitmq", "amqp://nms:of-tests-alone@127.0.0.1:5672/%2F"),
    "redis-server": ("redis", "redis://127.0.0.1:6379/15"),
}


# Of Debian; others bring npm with nodejs.
PROGRAMS = {"nodejs": "node", "npm": "npm"}


def main() -> int:
    missing, tools = find_missing(), find_missing_tools()
    if (missing or tools) and os.geteuid() == 0 and shutil.which("apt-get", path=SYSTEM):
        install([*missing, *tools])
        missing, tools = find_missing(), find_missing_tools()
    elif missing and runs_containers():
        compose(missing)
        missing = []
    if missing:
        variables = ", ".join(VARIABLES[package] for package in missing)
        say(f"Tests need servers that are not here: install {' '.join(missing)}, or set {variables}.")
    if tools:
        say(f"Tests need Node.js for JSONPlaceholder and json-server: install {' '.join(tools)}.")
    return int(bool(missing or tools) or not install_packages())


def install_packages() -> bool:
    """Install JSONPlaceholder and json-server unless they are here; answers whether they are now."""
    try:
        if not node.is_installed():
            say("Installing jsonplaceholder, json-server")
            node.install()
    except ServiceFailed as failed:
        say(str(failed))
        return False
    return True


def find_missing_tools() -> list[str]:
    """Debian's names of the packages that Node.js needs and that are not here."""
    return [package for package, program in PROGRAMS.items() if not is_installed(program)]


def find_missing() -> list[str]:
    """Debian's names of the packages whose servers are neither installed nor named by a DSN."""
    here = {
        "postgresql": bool(find_installed()),
        "rabbitmq-server": is_installed("rabbitmq-server"),
        "redis-server": is_installed("redis-server"),
    }
    return [package for package, variable in VARIABLES.items() if not here[package] and variable not in os.environ]


def is_installed(program: str) -> bool:
    return shutil.which(program, path=f"{SYSTEM}:{os.environ.get('PATH', '')}") is not None


def install(packages: list[str]) -> None:
    """Install packages of Debian without letting them start anything."""
    say(f"Installing {', '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": SYSTEM}
    with nothing_starts():
        for command in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", "-y", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                say("\n".join(done.stdout.splitlines()[-15:]))
                return


@contextmanager
def nothing_starts() -> Iterator[None]:
    """Forbid packages to start their services (policy-rc.d, exit 101), unless the machine has a rule of its own."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def runs_containers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def compose(packages: list[str]) -> None:
    """Start the servers of docker-compose.yml and note their DSNs for `make test`."""
    names = [SERVICES[package][0] for package in packages]
    say(f"Starting {', '.join(names)} with docker compose")
    environment = {**os.environ, **PASSWORDS}
    subprocess.run(["docker", "compose", "up", "--detach", "--wait", *names], env=environment, check=True)
    COMPOSED.parent.mkdir(exist_ok=True)
    COMPOSED.write_text("".join(f"{VARIABLES[package]}={SERVICES[package][1]}\n" for package in packages))


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
