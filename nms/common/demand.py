"""What a pipeline asks of one of its systems."""

from dataclasses import dataclass

from nms.common.document import PipelineDocument
from nms.common.flow import DatasetSpec


@dataclass(frozen=True, slots=True)
class Demand:
    """The datasets, whether they are read there, and whether they are written there."""

    datasets: list[DatasetSpec]
    reads: bool
    writes: bool


def demand_on(system: str, pipeline: PipelineDocument) -> Demand:
    """What a pipeline asks of the system of this name, one of its two."""
    reads = pipeline.source == system
    datasets = [DatasetSpec(one.source, one.target, one.fields, one.key) for one in pipeline.datasets]
    return Demand(datasets, reads, writes=not reads or pipeline.direction == "two-way")
