"""What a dataset of the warehouse stands for: the table of an entity, and what the warehouse keeps beside it (pure)."""

from dataclasses import replace
from typing import Final

from nms.common.change import RECORD
from nms.common.document import EntityDocument, Table
from nms.common.flow import DatasetSpec

SCHEMA: Final = "entity"
SOURCE, EXTERNAL, RAW = "_source", "_external_id", "_raw"
"""Columns that tell where a record came from: its system, its key there, and how it came."""


def table_of(entity: str) -> str:
    """The name of an entity's table, as a dataset of PostgreSQL has it."""
    return str(Table(SCHEMA, entity))


def as_source(dataset: DatasetSpec, entity: EntityDocument) -> DatasetSpec:
    """A dataset that reads an entity: its table, of which the declared fields travel where none are named."""
    fields = dataset.fields if dataset.fields is not None else {name: name for name in entity.fields}
    return replace(dataset, source=table_of(dataset.source), fields=fields)


def as_target(dataset: DatasetSpec, entity: EntityDocument, source: str, *, fed: bool, whole: bool) -> DatasetSpec:
    """A dataset that writes an entity: its table, with the system it comes from and the key it has there.

    Fed by what is no table (`fed`) it takes the declared fields where none are named; with `whole` the record is kept
    as it came.
    """
    fields = dataset.fields
    if fields is None and fed:
        fields = {name: name for name in entity.fields}
    if fields is not None and whole:
        fields = {**fields, RECORD: RAW}
    constants = {**(dataset.constants or {}), SOURCE: source}
    return replace(dataset, target=table_of(dataset.target), fields=fields, constants=constants, external=EXTERNAL)
