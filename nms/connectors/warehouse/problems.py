"""Problems of the warehouse as a source and as a target."""

from nms.common.problem import Problem, Retry


class EntityNotBuilt(Problem):
    """The warehouse has not made the table of an entity yet, or not yet as the documents say."""

    status, code, retry, title = 409, "entity-not-built", Retry.LATER, "The warehouse has not built the entity yet"
    remedy = (
        "It is built within seconds where a worker of the warehouse runs (`nms up`, or the role with "
        "`WAREHOUSE_WORKER` not false); the pipeline goes on by itself then."
    )


class EntityBehind(Problem):
    """The documents ask for a change of an entity that the warehouse does not make by itself."""

    status, code, retry, title = 409, "entity-behind", Retry.LATER, "The entity cannot become what the documents say"
    remedy = "`GET /entities` of the warehouse tells the plan and its statement; the pipeline goes on by itself then."
