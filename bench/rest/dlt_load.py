"""`.tools/dlt/bin/python dlt_load.py`: the same load as dlt's documentation has it; runs in an environment of its own.

Prints when all was loaded (seconds of the monotonic clock) and dlt's version.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import dlt  # type: ignore[import-not-found, unused-ignore]
from dlt.sources.helpers.rest_client import RESTClient  # type: ignore[import-not-found, unused-ignore]
from dlt.sources.helpers.rest_client.paginators import (  # type: ignore[import-not-found, unused-ignore]
    JSONResponseCursorPaginator,
    PageNumberPaginator,
)


def main(options: argparse.Namespace) -> None:
    if options.style == "cursor":
        paginator = JSONResponseCursorPaginator(cursor_path="next", cursor_param="cursor")
    else:
        paginator = PageNumberPaginator(base_page=1, page_param="page", total_path=None, stop_after_empty_page=True)
    client = RESTClient(f"http://127.0.0.1:{options.port}", paginator=paginator, data_selector="data")

    def record() -> Iterator[Any]:
        yield from client.paginate(f"/{options.style}")

    resource = dlt.resource(record, name=options.table, primary_key="id", write_disposition="merge")
    with tempfile.TemporaryDirectory(prefix="nms-bench-dlt-") as folder:
        pipeline = dlt.pipeline(
            "bench",
            destination=dlt.destinations.postgres(options.dsn),
            dataset_name="dlt",
            pipelines_dir=folder,
            progress=None,
        )
        pipeline.run(resource)
    print(json.dumps({"end": time.monotonic(), "version": dlt.__version__}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser("dlt_load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--style", choices=("numbered", "cursor"), required=True)
    main(parser.parse_args())
