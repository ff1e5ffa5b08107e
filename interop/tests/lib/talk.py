"""Python's `websockets`, as several tests use it."""

import asyncio

from websockets.asyncio.client import connect

from lib.program import check


async def two_hundred_at_once(url):
    """Each with twenty messages of its own, one after the other."""

    async def one(n):
        async with connect(url, compression=None) as ws:
            for round in range(20):
                await ws.send(f"{n} {round}")
                if await ws.recv() != f"{n} {round}":
                    return "another's message"

    check("two hundred at once", await asyncio.gather(*(one(n) for n in range(200))), [None] * 200)
