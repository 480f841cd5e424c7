"""A WebSocket server that sends back what it gets. Prints `listening PORT`, ends when its stdin does."""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        if message == "please close":
            await socket.close(4001, "as you wish")
            return
        await socket.send(message)


async def main():
    async with serve(echo, "127.0.0.1", 0, subprotocols=["echo.unlag"], max_size=4 << 20) as server:
        print(f"listening {server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
