"""Every value of the fidelity suite is compared: equal ones are left alone, lost ones are seen and mended."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.compared import OFTEN, going
from tests.contract.fidelity.sample import Sample, Servers, between, columns_for
from tests.contract.test_fidelity import servers

__all__ = ["servers"]


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("servers", ["15-18"], indirect=True)
async def test_values_are_compared_and_mended(servers: Servers, form: str, tmp_path: Path) -> None:
    sample = Sample(await columns_for(servers, portable=form == "binary"))
    async with between(servers, tmp_path, sample.ddl, ["t"]) as pipe:
        await sample.fill(pipe.source)
        await pipe.source.execute(sample.insert())
        async with going(replace(pipe.spec, capture="compare", every=OFTEN)) as rounds:
            assert rounds.opened.text_form is (form == "text")
            await rounds.pass_round(seconds=60)
            assert await sample.compare(pipe) == sample.rows
            written = len(rounds.batches)
            facts = await rounds.pass_round(seconds=60)
            assert len(rounds.batches) == written
            assert facts["compared"]["public.t"]["source"]["apart"] == 0
            assert not rounds.refused
            for name in sample.names:
                await pipe.target.execute(f"update t set {name} = null where id = (select max(id) from t)")
            await rounds.pass_round(seconds=60)
            assert await sample.compare(pipe) == sample.rows
