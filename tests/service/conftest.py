"""The default server of these tests belongs to one worker.

Slots are named after pipelines and are the whole server's: two tests with a pipeline of one name would meet there.
"""

import os

import pytest

from tests.services.postgres import PostgresServer
from tests.services.shared import Session


@pytest.fixture
def server(request: pytest.FixtureRequest, services: Session) -> PostgresServer:
    """As everywhere, but the one without a version is not shared with other workers."""
    if hasattr(request, "param"):
        return services.postgres(request.param)
    if "TEST_PG_DSN" in os.environ:
        return services.postgres("foreign")
    return services.postgres("18", os.environ.get("PYTEST_XDIST_WORKER", ""))
