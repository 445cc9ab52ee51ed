"""What the warehouse refuses."""

from nms.common.problem import Problem, Retry


class ListTooCostly(Problem):
    """PostgreSQL would read too much for a list; facts: `cost` as it estimates it, and `limit`."""

    status, code, title = 422, "list-too-costly", "The list would cost too much to read"
    remedy = (
        "Filter by a field with `index: true`, or sort by one that is filtered; WAREHOUSE_LARGEST_COST is the limit."
    )


class ReadTooLong(Problem):
    """A read took longer than it may; facts: `limit` in seconds."""

    status, code, retry, title = 503, "read-too-long", Retry.LATER, "The read took too long"
    remedy = "Filter by a field with `index: true`, or ask for fewer records; WAREHOUSE_READ_SECONDS is the limit."


class PageTooLarge(Problem):
    """The records of a page are too large together; facts: `size` and `limit` in bytes."""

    status, code, title = 422, "page-too-large", "The page is too large"
    remedy = "Ask for fewer records with `limit`, or for some of their fields with `fields`."
