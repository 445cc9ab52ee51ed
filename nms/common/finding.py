"""What preflight finds: what stands in the way of a pipeline before it starts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands in the way of a pipeline (or, if not `fatal`, is worth knowing).

    `sql` mends it when `run_as` runs it in the system's database; where SQL cannot, `remedy` says what does.
    `pointer` (RFC 6901) leads into the pipeline's document.
    """

    code: str
    sentence: str
    system: str
    fatal: bool = True
    sql: str = ""
    pointer: str = ""
    run_as: str = "the owner of the table"
    remedy: str = ""
