"""What is missing in an OpenAPI document: words, examples, answers."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

PROBLEM, PAGE = "application/problem+json", "text/html"
MADE_UP = {
    "uuid": "5f0e8f7e-0d1c-4c3b-9a58-0e6d2f1b7a90", "date-time": "2026-11-21T17:00:00Z", "boolean": True, "null": None,
}  # fmt: skip
"""Examples that every reader makes up himself."""


class NoExample(Exception):
    """A value of this schema cannot be shown."""


def gaps_of(document: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the document looks for in vain, by operation."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for gap in (*lacking_words(operation), *lacking_answers(operation), *lacking_examples(operation, document)):
                yield f"{method.upper()} {path}: {gap}"


def lacking_words(operation: Mapping[str, Any]) -> Iterator[str]:
    for part in ("summary", "description", "tags"):
        if not operation.get(part):
            yield f"no {part}"
    for parameter in operation.get("parameters", ()):
        if not parameter.get("description"):
            yield f"no description of the parameter {parameter['name']}"


def lacking_answers(operation: Mapping[str, Any]) -> Iterator[str]:
    parameters, body = operation.get("parameters", ()), "requestBody" in operation
    oauth = body and [*operation["requestBody"]["content"]] == ["application/x-www-form-urlencoded"]
    wanted = {401, 403} if operation.get("security") else set()
    wanted |= {404} if any(parameter["in"] == "path" for parameter in parameters) else set()
    wanted |= {422} if parameters or (body and not oauth) else set()
    wanted |= {400, 413} if body else set()
    wanted |= set() if operation.get("tags") == ["process"] else {503}
    for status in sorted(wanted):
        if str(status) not in operation["responses"]:
            yield f"no answer {status}"
    for status, answer in operation["responses"].items():
        told = answer.get("content", {}).get(PROBLEM, {}).get("examples") or PAGE in answer.get("content", {})
        if status[0] in "45" and not (answer["description"] and told):
            yield f"answer {status} without words or example"


def lacking_examples(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    shown = {"the body": operation.get("requestBody", {})}
    shown |= {f"answer {status}": answer for status, answer in operation["responses"].items() if status[0] == "2"}
    for name, part in shown.items():
        for kind, content in part.get("content", {}).items():
            schema = content.get("schema")
            if kind == PAGE or not schema:
                continue
            try:
                examples = [one["value"] for one in content.get("examples", {}).values()]
                examples = examples or [example_of(schema, document)]
            except NoExample as error:
                yield f"no example of {name}: {error}"
                continue
            for example in examples:
                yield from (f"example of {name}: {fault}" for fault in faults_of(example, schema, document))


def example_of(schema: Mapping[str, Any], document: Mapping[str, Any], name: str = "") -> Any:
    """An example that stands in a schema or follows from those of its parts; raises NoExample."""
    if "$ref" in schema:
        return example_of(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document, name)
    given = [schema.get("example"), *schema.get("examples", ()), schema.get("const"), schema.get("default")]
    for value in (*given, *schema.get("enum", ())):
        if value is not None:
            return value
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        if part.get("type") != "null":
            return example_of(part, document, name)
    if "properties" in schema:
        return {key: example_of(one, document, f"{name}/{key}") for key, one in schema["properties"].items()}
    if schema.get("type") == "array" and "items" in schema:
        return [example_of(schema["items"], document, f"{name}/0")]
    for known in ("format", "type"):
        if schema.get(known) in MADE_UP:
            return MADE_UP[schema[known]]
    raise NoExample(name or "it all")


def faults_of(example: Any, schema: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """Why an example is not one of its schema."""
    # What check-jsonschema brings; it has no types.
    validator = import_module("jsonschema").Draft202012Validator({**schema, "components": document["components"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(example) if not is_null(error)]


def is_null(error: Any) -> bool:
    """Whether a member is missing that may be null: FastAPI leaves null out of examples."""
    if error.validator != "required":
        return False
    absent = [name for name in error.validator_value if name not in error.instance]
    return all({"type": "null"} in error.schema["properties"][name].get("anyOf", ()) for name in absent)
