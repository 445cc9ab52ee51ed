"""Documents: systems, pipelines, endpoints and entities as validated values, read by every room, stored by cfg."""

from nms.common.document.address import Address, parse_address
from nms.common.document.endpoint import EndpointDocument, Finder
from nms.common.document.entity import EntityDocument, EntityField
from nms.common.document.inbox import InboxResource, InboxSystem
from nms.common.document.kind import KINDS, json_schema, normal_form, parse_document, short_form, shorten
from nms.common.document.mapping import DatasetMapping
from nms.common.document.pipeline import BatchLimits, PipelineDocument
from nms.common.document.received import received_key
from nms.common.document.rest import Resource, RestSystem
from nms.common.document.system import (
    AmqpSystem,
    Document,
    KafkaSystem,
    PostgresSystem,
    SystemDocument,
    SystemUnreadable,
)
from nms.common.document.values import Table
from nms.common.document.warehouse import WarehouseSystem

__all__ = [
    "KINDS",
    "Address",
    "AmqpSystem",
    "BatchLimits",
    "DatasetMapping",
    "Document",
    "EndpointDocument",
    "EntityDocument",
    "EntityField",
    "Finder",
    "InboxResource",
    "InboxSystem",
    "KafkaSystem",
    "PipelineDocument",
    "PostgresSystem",
    "Resource",
    "RestSystem",
    "SystemDocument",
    "SystemUnreadable",
    "Table",
    "WarehouseSystem",
    "json_schema",
    "normal_form",
    "parse_address",
    "parse_document",
    "received_key",
    "short_form",
    "shorten",
]
