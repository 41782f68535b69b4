"""Asking the candidate which build it is."""

import asyncio

from aiohttp import web

from harness.app.version_path import asked, poll
from harness.proxy.address import UpstreamAddress, parse_address
from tests.app.support import serving


def test_each_answer_is_told_and_what_is_no_answer_says_nothing() -> None:
    answers = ["v1", 500, "v2"]
    told: list[str] = []

    async def build(request: web.Request) -> web.Response:
        answer = answers.pop(0) if answers else "v3"
        return web.Response(status=answer) if isinstance(answer, int) else web.Response(text=f"{answer}\n")

    async def tell(label: str) -> None:
        told.append(label)

    async def body() -> None:
        async with serving(build) as url, asyncio.timeout(60):
            polling = asyncio.create_task(poll(parse_address(url), "/version", tell, every_s=0.001))
            while len(told) < 3:
                await asyncio.sleep(0.005)
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    asyncio.run(body())
    assert told[:3] == ["v1", "v2", "v3"]


def test_a_candidate_that_is_not_there_says_nothing() -> None:
    assert asyncio.run(asked(UpstreamAddress(host="127.0.0.1", port=9), "/version")) == ""
    assert asyncio.run(asked(UpstreamAddress(unix_path="/nonexistent/socket"), "/version")) == ""
