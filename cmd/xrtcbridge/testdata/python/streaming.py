"""Sets items while a stream gets them, on one session."""

import asyncio

from xrtc import AXRTC

COUNT = 100


async def setting(xrtc):
    for i in range(COUNT):
        await xrtc.set_item(items=[{"portalid": "latency", "payload": str(i)}])


async def getting(xrtc):
    got = []
    while len(got) < COUNT:  # the server ends a stream after five seconds
        async for item in xrtc.get_item(portals=[{"portalid": "latency"}], mode="stream", schedule="FIFO"):
            got.append(int(item.payload))
    return got


async def main():
    async with AXRTC() as xrtc:
        _, got = await asyncio.gather(setting(xrtc), getting(xrtc))
        print("in order:", got == list(range(COUNT)))
        await asyncio.gather(*(xrtc.set_item(items=[{"portalid": "many", "payload": str(i)}]) for i in range(25)))
        got = [int(item.payload) async for item in xrtc.get_item(portals=[{"portalid": "many"}])]
        print("at once:", sorted(got) == list(range(25)))


asyncio.run(main())
