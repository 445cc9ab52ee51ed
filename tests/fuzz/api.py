"""Fuzzing a role over HTTP by its OpenAPI document: schemathesis makes the requests and judges the answers."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from requests.auth import AuthBase
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import Interaction, ScenarioRecorder
from schemathesis.generation.case import Case

SEED = 20261121
PHASES = ("examples", "coverage", "fuzzing", "stateful")
MEANT = frozenset({
    "cursor-refused", "grant-refused", "list-too-costly", "login-refused", "page-too-large", "password-refused",
    "precondition-failed", "refresh-refused", "scope-refused", "token-type-refused",
})  # fmt: skip
"""Problems of requests that have the right form: no document can say which token, cursor or password is good."""
AHEAD = frozenset({"target-too-long", "headers-too-large"})
"""Problems of what the server refuses before it looks for a route: no route names them."""
BAD_FORM = "The request does not have the right form."


@dataclass(frozen=True, slots=True)
class Role:
    """A role that is to be fuzzed: where it is, its document, and whose token asks."""

    address: str
    document: Mapping[str, Any]
    token: str | None = None
    spared: frozenset[str] = frozenset()
    """Ids that no path may name: of the session and the account that the token is of."""
    provider: AuthBase | None = None
    """Who signs requests once they are whole."""
    judge: Callable[[Interaction], Iterable[str]] | None = None
    """What else is wrong with an answer."""
    unjudged: frozenset[str] = frozenset()
    """Checks of schemathesis that say nothing here."""
    excused: Callable[[str, Interaction], bool] | None = None
    """Whether a check, by its name, says nothing of this answer: what the form of this role's requests cannot tell."""


@dataclass
class Fuzzed:
    """What was asked, how it was answered, and what is wrong."""

    cases: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


def fuzz(role: Role, examples: int, phases: tuple[str, ...] = PHASES) -> Fuzzed:
    """Ask a role in phases, each operation with so many generated requests; the same ones each time."""
    schema = schemathesis.openapi.from_dict(strict(role.document), config=configure(role, examples, phases))

    @schema.hook
    def filter_case(context: object, case: Case[Any]) -> bool:
        return role.spared.isdisjoint(str(value) for value in case.path_parameters.values())

    if role.provider is not None:
        schema.auth.set_from_requests(role.provider)
    fuzzed = Fuzzed()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            count(fuzzed, event.recorder, role)
        elif isinstance(event, events.NonFatalError):
            fuzzed.faults[f"{event.label}: cannot be fuzzed: {event.value}"] += 1
        elif isinstance(event, events.FatalError):
            raise event.exception
    return fuzzed


def strict(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without `default` answers: only what it names may come."""
    paths = {
        path: {
            method: {**operation, "responses": {k: v for k, v in operation["responses"].items() if k != "default"}}
            for method, operation in operations.items()
        }
        for path, operations in document["paths"].items()
    }
    return {**document, "paths": paths}


def configure(role: Role, examples: int, phases: tuple[str, ...]) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict({
        "seed": SEED,
        "base-url": role.address,
        "headers": {"Authorization": f"Bearer {role.token}"} if role.token else {},
        "continue-on-failure": True,
        "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
        "phases": {name: {"enabled": name in phases} for name in PHASES},
    })  # fmt: skip


def count(fuzzed: Fuzzed, recorder: ScenarioRecorder, role: Role) -> None:
    for number, interaction in recorder.interactions.items():
        response, operation = interaction.response, recorder.cases[number].value.operation
        fuzzed.cases += 1
        assert response is not None, f"{operation.label} was not answered"
        fuzzed.statuses[operation.label, response.status_code] += 1
        told = () if role.judge is None else role.judge(interaction)
        for fault in (*faults_of(recorder, number, role), *told):
            fuzzed.faults[f"{operation.label}: {fault}"] += 1
        guarded = role.document["paths"][operation.path][operation.method].get("security")
        elsewhere = response.status_code in (401, 405) or is_nowhere(response) or is_ahead(response)
        if role.token is None and guarded and not elsewhere:
            fuzzed.faults[f"{operation.label}: answers {response.status_code} to nobody"] += 1


def faults_of(recorder: ScenarioRecorder, number: str, role: Role) -> Iterator[str]:
    interaction = recorder.interactions[number]
    response = interaction.response
    assert response is not None, f"{recorder.label} was not answered"
    if is_ahead(response):
        return
    for check in recorder.checks.get(number, ()):
        if check.name in role.unjudged:
            continue
        # What is too large, or meant for what is not there, is refused before anybody looks at its form.
        refused = (check.name == "positive_data_acceptance" and is_meant(response)) or (
            check.name == "negative_data_rejection" and response.status_code in (412, 413)
        )
        excused = role.excused is not None and role.excused(check.name, interaction)
        if check.status is Status.SUCCESS or refused or excused:
            continue
        info = check.failure_info
        told = f"{info.failure.message}\n{info.code_sample}\n{response.text[:1000]}" if info else check.status
        yield f"{check.name}: {told}"


def is_meant(response: Response) -> bool:
    """Whether a request of the right form was refused for what it says: by a use case, not for its form."""
    if response.status_code == 410:
        return True
    if not response.headers.get("content-type", [""])[0].endswith("problem+json"):
        return False
    if response.request.method == "HEAD":
        # Its reason stands in the answer to a GET.
        return True
    problem = response.json()
    code = problem.get("code")
    return code in MEANT or (code == "malformed" and problem["detail"] != BAD_FORM)


def is_ahead(response: Response) -> bool:
    """Whether the server refused it before it looked for a route."""
    if response.status_code not in (414, 431):
        return False
    # To a HEAD there is no body that names it.
    return response.request.method == "HEAD" or response.json()["code"] in AHEAD


def is_nowhere(response: Response) -> bool:
    """Whether no route has this path, such as one with a slash in a name."""
    return response.status_code == 404 and "Nothing stands at this path." in response.text
