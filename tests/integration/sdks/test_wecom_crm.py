"""
Another client that nobody here wrote works against the simulator as against WeCom: wecom-crm-mcp, on httpx.

Its base URL is a setting; nothing is overridden.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import diskcache
import pytest
from wecom_crm_mcp import WecomAPIError, WecomAuthError, WecomClient, WecomConfig
from wecom_crm_mcp.modules.contact_way import ContactWayModule
from wecom_crm_mcp.modules.customer import CustomerModule
from wecom_crm_mcp.modules.msg_template import MsgTemplateModule
from wecom_crm_mcp.modules.tag import TagModule

from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.play import APP, CORP_ID
from simulator.server import Server


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    async with run_simulator(Simulator(SimulatorConfig.quiet())) as server:
        yield server


@asynccontextmanager
async def crm_client(url: str, folder: Path, secret: str = APP.secret) -> AsyncIterator[WecomClient]:
    config = WecomConfig(corpid=CORP_ID, corpsecret=secret, base_url=url)
    async with WecomClient(config, cache=diskcache.Cache(str(folder))) as client:
        yield client


async def test_wecom_crm_mcp_marks_a_customer(tmp_path: Path) -> None:
    """Contact way, welcome, batch, remark, tags: with the SDK's own calls and its own token."""
    async with serving() as server, crm_client(server.url, tmp_path) as client:
        simulator, ways, customers = server.simulator, ContactWayModule(client), CustomerModule(client)
        way = (await ways.add_contact_way(1, 2, state="qd_expo", user=["lin.qiao"]))["config_id"]
        assert (await ways.list_contact_way(limit=10))["contact_way"] == [{"config_id": way}]
        scan = await simulator.scan(config_id=way, customer={"name": "Nana"})
        code = next(iter(simulator.corp.welcome_codes))
        await MsgTemplateModule(client).send_welcome_msg(code, text={"content": "你好"})
        remarked = await customers.remark("lin.qiao", scan.external_userid, remark="展会26-Nana", description="d")
        tags = TagModule(client)
        tag = (await tags.add_corp_tag(group_name="来源", tag=[{"name": "展会"}]))["tag_group"]["tag"][0]["id"]
        await tags.mark_tag("lin.qiao", scan.external_userid, add_tag=[tag])
        batch = await customers.batch_get(["lin.qiao"], limit=100)
        details = await customers.get(scan.external_userid)
        truth = simulator.truth()[0]
    follow = batch["external_contact_list"][0]["follow_info"]
    assert remarked == {"errcode": 0, "errmsg": "ok"}
    assert (follow["remark"], follow["tag_id"], follow["state"]) == ("展会26-Nana", [tag], "qd_expo")
    assert details["follow_user"][0]["tags"][0]["tag_name"] == "展会"
    assert (truth["remark"], truth["welcomes"], truth["tag_names"]) == ("展会26-Nana", 1, ["来源/展会"])


async def test_wecom_crm_mcp_pages_and_understands_the_errors(tmp_path: Path) -> None:
    """Cursors lead through all relations; a revoked token is fetched again; errors carry code and endpoint."""
    async with serving() as server, crm_client(server.url, tmp_path) as client:
        server.simulator.populate(130, userid="lin.qiao", state="qd_old")
        customers, seen, cursor = CustomerModule(client), [], ""
        while True:
            page = await customers.batch_get(["lin.qiao"], cursor=cursor, limit=50)
            seen += [entry["external_contact"]["external_userid"] for entry in page["external_contact_list"]]
            cursor = page["next_cursor"]
            server.simulator.revoke_tokens(42001)
            if not cursor:
                break
        assert (len(seen), len(set(seen))) == (130, 130)
        with pytest.raises(WecomAPIError) as error:
            await customers.remark("lin.qiao", seen[0], remark="x" * 21)
        assert (error.value.errcode, error.value.endpoint) == (40058, "/cgi-bin/externalcontact/remark")
        async with crm_client(server.url, tmp_path / "other", "wrong") as stranger:
            with pytest.raises(WecomAuthError, match="40001"):
                await CustomerModule(stranger).list_followers()
