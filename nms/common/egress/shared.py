"""The one Egress of a process: made on first use, closed with the last role."""

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from nms.common.settings import get_settings

if TYPE_CHECKING:
    from nms.common.egress.egress import Egress

_made: dict[int, "Egress"] = {}


def get_egress() -> "Egress":
    """The Egress of this event loop, by the settings of the process; raises SettingsRefused.

    Its library is imported only now, so that roles without outbound HTTP do without.
    """
    here = id(asyncio.get_running_loop())
    if here not in _made:
        module = import_module("nms.common.egress.egress")
        _made[here] = module.Egress.of(get_settings())
    return _made[here]


async def close_egress() -> None:
    """Close the Egress of this event loop, if there is one."""
    made = _made.pop(id(asyncio.get_running_loop()), None)
    if made is not None:
        await made.close()
