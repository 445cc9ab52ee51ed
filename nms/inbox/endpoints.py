"""The endpoints of the current revision, kept up to date in every process that receives."""

import logging
from collections.abc import Mapping
from typing import Any

from nms.common.configuration import current_documents, current_revision
from nms.common.custody import read_secrets
from nms.common.document import EndpointDocument
from nms.common.problem import Problem
from nms.common.rollout import Report
from nms.common.secret import stored_name
from nms.common.vault import own_vault
from nms.inbox.address import targets_of
from nms.inbox.endpoint import Endpoint
from nms.inbox.problems import EndpointUnknown, EndpointUnready
from nms.inbox.repository import InboxRepository

log = logging.getLogger(__name__)

UNREAD = -1
Versions = tuple[int | None, ...]


class Endpoints:
    """Endpoints by name; why one cannot be made ready stands in the log, strangers are only told that it is so."""

    name = "endpoints"
    channel = "nms_cfg"

    def __init__(self, *, dev: bool, report: Report | None = None) -> None:
        self._dev, self._report = dev, report
        self._ready: dict[str, Endpoint] = {}
        self.straight: Mapping[bytes, Endpoint] = {}
        """Those whose requests need nothing but the check of their scheme, by the target of the request line."""
        self._unfit: dict[str, Problem] = {}
        self._documents: Mapping[str, EndpointDocument] = {}
        self._versions: Mapping[str, Versions] = {}
        self._revision, self._change = UNREAD, 0

    def get(self, name: str) -> Endpoint:
        """An endpoint by its name; raises EndpointUnknown, or EndpointUnready for one that has a problem.

        While nothing was read yet, every one is unready: a provider that hears of no such endpoint gives up.
        """
        found = self._ready.get(name)
        if found is not None:
            return found
        if name in self._unfit:
            raise EndpointUnready("The endpoint cannot receive just now.")
        if self._revision == UNREAD:
            raise EndpointUnready("The endpoints were not read yet.")
        raise EndpointUnknown("There is no such endpoint.")

    def standing(self) -> list[tuple[str, EndpointDocument | None, Problem | None]]:
        """Every endpoint by name: its document where it can be read, and why it cannot receive."""
        names = sorted(self._documents.keys() | self._unfit.keys())
        return [(name, self._documents.get(name), self._unfit.get(name)) for name in names]

    def waiting(self, name: str) -> tuple[EndpointDocument, Problem] | None:
        """The document of an endpoint that cannot be made ready, and why; not for strangers."""
        document, problem = self._documents.get(name), self._unfit.get(name)
        return None if document is None or problem is None else (document, problem)

    async def look(self) -> None:
        """Take over the current revision; raises a Problem where it cannot be read."""
        repository = await InboxRepository.open()
        await read_secrets(repository)
        change = own_vault().change
        if not self._unfit and (await current_revision(repository), change) == (self._revision, self._change):
            return
        configuration = await current_documents(repository)
        unfit = {name: problem for (kind, name), problem in configuration.unreadable.items() if kind == "endpoint"}
        versions = {name: _versions_of(document) for name, document in configuration.endpoints.items()}
        ready: dict[str, Endpoint] = {}
        for name, document in configuration.endpoints.items():
            try:
                ready[name] = self._kept(document, versions[name]) or Endpoint.of(document, dev=self._dev)
            except Problem as problem:
                log.warning("endpoint %s cannot receive: %s", name, problem.detail)
                unfit[name] = problem
        self._ready, self._unfit, self._revision = ready, unfit, configuration.revision
        self._documents, self._versions, self._change = configuration.endpoints, versions, change
        self.straight = {target: one for one in ready.values() if one.is_straight for target in targets_of(one.name)}
        if self._report is not None:
            self._report.take(configuration.revision)

    @property
    def is_read(self) -> bool:
        """Whether they were ever read."""
        return self._revision != UNREAD

    async def source(self) -> Any:
        """The pool of their database."""
        return (await InboxRepository.open()).connection

    def _kept(self, document: EndpointDocument, versions: Versions) -> Endpoint | None:
        kept = self._ready.get(document.name)
        is_same = kept is not None and kept.document == document and self._versions.get(document.name) == versions
        return kept if is_same else None


def _versions_of(document: EndpointDocument) -> Versions:
    """The versions of the stored secrets that an endpoint names, in order."""
    handshakes = (handshake.reference for handshake in document.handshakes)
    references = [*getattr(document.scheme, "secrets", ()), *(each for each in handshakes if each is not None)]
    names = (stored_name(reference) for reference in references)
    return tuple(None if name is None else own_vault().version(name) for name in names)
