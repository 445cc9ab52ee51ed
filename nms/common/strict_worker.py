"""The worker for gunicorn: `gunicorn APP -k nms.common.strict_worker.StrictWorker`."""

from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker


class StrictWorker(UvicornWorker):
    """uvicorn's worker with `nms.common.strict_http` in front of the app."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "auto", "http": "nms.common.strict_http:StrictHttp"}
