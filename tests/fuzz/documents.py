"""Documents by chance: those of `examples`, changed here and there as the published JSON Schemas allow it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any, Final

from nms.cfg.models import Changeset, Identity, Plan
from nms.cfg.plan import draw_plan
from nms.cfg.standing import Standing
from nms.cfg.text import Draft, read_drafts
from nms.common.document import json_schema, normal_form
from nms.common.problem import Malformed

EXAMPLES: Final = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
MORE: Final[tuple[dict[str, Any], ...]] = (
    {"kind": "system", "name": "broker", "type": "amqp", "dsn": "amqp://a@127.0.0.1:1/"},
    {"kind": "system", "name": "log", "type": "kafka", "servers": ["127.0.0.1:1"]},
)
WORDS: Final = (
    "a", "id", "name", "title", "public.a", "public.b", "yes", "1e5", " ", "x: y", "'", "# \t\u2028", "env://A",
    "bigint", "text", "a.b", "@", "/a/{id}", "https://api.example.org/a",
)  # fmt: skip
DEPTH: Final = 6
Body = dict[str, Any]
Schema = Mapping[str, Any]


class Chance:
    """Draws values of a JSON Schema; what it draws may still break a rule that no schema tells."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.schema = json_schema()

    def change(self, body: Body) -> Body:
        """The same document with another value, or without one, somewhere in it."""
        changed = deepcopy(body)
        place, schema = self._descend(changed, self._variant(self.schema, body))
        names = [name for name in schema.get("properties", ()) if name not in ("kind", "type", "name")]
        if not names:
            return changed
        name = self.random.choice(names)
        if name in place and self.random.random() < 0.3:
            del place[name]
        else:
            place[name] = self.value(schema["properties"][name])
        return changed

    def _descend(self, body: Body, schema: Schema) -> tuple[Body, Schema]:
        below = [(each, part) for each, part in self._parts(body, schema) if isinstance(each, dict)]
        if below and self.random.random() < 0.7:
            return self._descend(*self.random.choice(below))
        return body, schema

    def _parts(self, body: Body, schema: Schema) -> Iterator[tuple[Any, Schema]]:
        for name, value in body.items():
            part = self._variant(schema.get("properties", {}).get(name, _other(schema, name)), value)
            if isinstance(value, list):
                yield from ((each, self._variant(part.get("items", {}), each)) for each in value)
            else:
                yield value, part

    def _variant(self, schema: Schema, value: Any) -> Schema:
        """The form of several that a value has, by its constants."""
        for each in self._forms(schema):
            words = {name: part["const"] for name, part in each.get("properties", {}).items() if "const" in part}
            wanted = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else None
            if each.get("type") == wanted and (wanted != "object" or words.items() <= value.items()):
                return each
        return {}

    def _forms(self, schema: Schema) -> list[Schema]:
        if "$ref" in schema:
            return self._forms(self.schema["$defs"][schema["$ref"].rpartition("/")[2]])
        several = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        return [form for each in several for form in self._forms(each)] if several else [schema]

    def value(self, schema: Schema, depth: int = 0) -> Any:
        """Any value that the schema takes, or an example of it."""
        if schema.get("examples") and self.random.random() < 0.7:
            return deepcopy(self.random.choice(schema["examples"]))
        form = self.random.choice(self._forms(schema))
        if "const" in form or "enum" in form:
            return form["const"] if "const" in form else self.random.choice(form["enum"])
        match form.get("type"):
            case "object":
                return self._object(form, depth + 1)
            case "array":
                least, most = form.get("minItems", 0), form.get("maxItems", 3)
                return [self.value(form.get("items", {}), depth + 1) for _ in range(self._count(least, most))]
            case "string":
                return self._text(form)
            case "boolean":
                return self.random.random() < 0.5
            case "integer" | "number":
                return self._number(form)
            case "null":
                return None
        return self.random.choice([*WORDS, 1, -0.5, True, None, [1], {"eq": 1}])

    def _count(self, least: int, most: int) -> int:
        return self.random.randint(least, max(least, min(most, least + 2)))

    def _number(self, form: Schema) -> Any:
        least = form.get("minimum", form.get("exclusiveMinimum", 0))
        most = form.get("maximum", form.get("exclusiveMaximum", 100_000))
        whole = self.random.choice([least, least + 1, most, self.random.randint(int(least), int(most))])
        return whole if form["type"] == "integer" else whole / 2

    def _text(self, form: Schema) -> str:
        known = [*form.get("examples", ()), *WORDS]
        fit = [each for each in known if re.search(form.get("pattern", ""), each)]
        return str(self.random.choice(fit or list(WORDS)))

    def _object(self, form: Schema, depth: int) -> Body:
        needed, parts = form.get("required", ()), form.get("properties", {})
        share = 0.2 if depth < DEPTH else 0.0
        named = [name for name in parts if name in needed or self.random.random() < share]
        made = {name: self.value(parts[name], depth) for name in named}
        others = [*form.get("patternProperties", {}).items()] or [("", form.get("additionalProperties"))]
        for pattern, other in others:
            fit = [each for each in WORDS if re.search(pattern, each)]
            if isinstance(other, Mapping) and fit:
                count = self._count(form.get("minProperties", 0), form.get("maxProperties", 2))
                made |= {self.random.choice(fit): self.value(other, depth) for _ in range(count)}
        return made


def _other(schema: Schema, name: str) -> Schema:
    """What a schema says of a member that it does not name."""
    matching = [part for pattern, part in schema.get("patternProperties", {}).items() if re.search(pattern, name)]
    other = schema.get("additionalProperties")
    return matching[0] if matching else other if isinstance(other, Mapping) else {}


class History:
    """Revisions that follow each other by chance, from the empty one on; what would not be taken is left out."""

    def __init__(self, random: Random) -> None:
        self.random, self.chance = random, Chance(random)
        self.revisions: list[dict[Identity, Mapping[str, Any]]] = [{}]
        self.taken = 0
        self._bodies: dict[Identity, Body] = {}

    @classmethod
    def make(cls, seed: int, revisions: int = 3, changes: int = 8) -> "History":
        """The history of a seed, always the same: some of `examples`, then changes of what is there."""
        history = cls(Random(seed))
        for path in history.random.sample(EXAMPLES, 4):
            history._offer([draft.data for draft in read_drafts(path.read_bytes(), path.name)])
        history._offer(list(MORE))
        for _ in range(revisions):
            for _ in range(changes if history.revisions[1:] else 0):
                history._go_on()
            history._store()
        return history

    def changeset(self, number: int) -> Changeset:
        """What makes a revision of the one before it."""
        before, after = self.revisions[number - 1 : number + 1]
        drafts = [Draft(dict(body)) for identity, body in after.items() if before.get(identity) != body]
        return Changeset(drafts, removed=frozenset(before.keys() - after.keys()), message=f"revision {number}")

    def _go_on(self) -> None:
        self._offer([self.chance.change(self.random.choice([*self._bodies.values()]))])
        if self.random.random() < 0.1:
            gone = self.random.choice([*self._bodies])
            if self._draw([], gone):
                del self._bodies[gone]

    def _offer(self, bodies: Sequence[Body]) -> None:
        plan = self._draw(bodies)
        if plan is not None:
            fresh = {(each["kind"], each["name"]): dict(each) for each in bodies}
            self.taken += any(self._bodies.get(identity) != body for identity, body in fresh.items())
            self._bodies |= fresh

    def _draw(self, bodies: Sequence[Body], gone: Identity | None = None) -> Plan | None:
        """The plan of all that is there with these documents, or without one; None where it is refused."""
        fresh = {(each["kind"], each["name"]): each for each in bodies}
        wanted = {identity: body for identity, body in {**self._bodies, **fresh}.items() if identity != gone}
        try:
            return draw_plan(Standing.of(0), Changeset([Draft(body) for body in wanted.values()]))
        except Malformed:
            return None

    def _store(self) -> None:
        plan = self._draw([])
        assert plan is not None
        self.revisions.append({identity: normal_form(document) for identity, document in plan.documents.items()})
