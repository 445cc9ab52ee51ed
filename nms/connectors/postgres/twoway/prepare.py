"""What a two-way pipeline needs at its database before it begins: made, and what is missing."""

from dataclasses import replace

import asyncpg

from nms.common.finding import Finding
from nms.connectors.postgres import catalog
from nms.connectors.postgres.catalog import queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.preflight import check_inlet, check_outlet
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.twoway import statements
from nms.connectors.postgres.twoway.opening import PREPARE, back_spec


async def prepare_twoway(spec: PipelineSpec) -> list[str]:
    """Make what keeps the last synced state where our login may; says what was made."""
    target = await catalog.connect(spec.target, name=f"nms-prepare:{spec.name}")
    try:
        if await queries.get_base(target) is not None:
            return []
        async with target.transaction():
            await target.execute(PREPARE)
        return [f"the table nms.base of {spec.target.system}"]
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError):
        # The check that follows prints the SQL for whoever may.
        return []
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, at=spec.target.system) from error
    finally:
        target.terminate()


async def check_twoway(spec: PipelineSpec) -> list[Finding]:
    """What stands in the way of bringing changes of the tables back; raises a Problem of a server that is away."""
    target = await catalog.connect(spec.target, name=f"nms-doctor:{spec.name}")
    try:
        found = []
        login = (await queries.get_server(target))["login"]
        if await queries.get_base(target) is None:
            text = f"{spec.target.system} has no table nms.base, which keeps what both sides of a record had last"
            sql = PREPARE + statements.grant_base(login)
            remedy = "`nms doctor PIPELINE --prepare` makes it where the login may."
            found.append(Finding("schema-missing", text, spec.target.system, sql=sql, pointer="/target", remedy=remedy))
        if spec.back == "log":
            pairing = (await check_inlet(target, spec)).pairing
            back = await check_outlet(target, back_spec(spec, pairing), None) if pairing.pairs else None
            found += [_of_the_target(one) for one in back.findings] if back is not None else []
        return found
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, at=spec.target.system) from error
    finally:
        target.terminate()


def _of_the_target(finding: Finding) -> Finding:
    """What is found of the source of changes is said of the pipeline's target."""
    return replace(finding, pointer=finding.pointer.replace("/source", "/target"))
