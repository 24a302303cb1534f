"""Both ends of live outputs in processes of their own, for bench/readers.py.

`python -m bench.sse read PORT PATH READERS` reads, `python -m bench.sse serve PORT EVENTS PAUSE` is the bare loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

LINE = "a line of the output that many people look at, number %d\n"


def serve(port: int, events: int, pause: float) -> None:
    """The bare loop: send the same events to all who are connected. Each reader is a greenlet that waits for the next one."""
    import gevent
    from gevent.event import Event
    from gevent.fileobject import FileObject
    from gevent.server import StreamServer

    messages: list[bytes] = [b'id: 11\nevent: output\ndata: "first line\\n"\n\n']
    news = [Event()]

    def reader(connection: Any, _: Any) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        sent = 0
        while True:
            waited = news[0]
            while sent < len(messages):
                connection.sendall(messages[sent])
                sent += 1
                if messages[sent - 1].startswith(b"event: end"):
                    return
            waited.wait()

    def say(message: bytes) -> None:
        messages.append(message)
        before, news[0] = news[0], Event()
        before.set()

    StreamServer(("127.0.0.1", port), reader, backlog=1024).start()
    print("ready", flush=True)
    FileObject(sys.stdin).readline()
    for number in range(1, events + 1):
        say(b"id: %d\nevent: output\ndata: %b\n\n" % (number, json.dumps(LINE % number).encode()))
        gevent.sleep(pause)
    say(b"event: end\ndata: {}\n\n")
    gevent.sleep(60)


async def read(port: int, path: str, readers: int) -> int:
    """So many readers, to the end; returns how many lines all of them have got, each counted once and in order."""
    ready, gate = 0, asyncio.Semaphore(200)

    async def one() -> int:
        nonlocal ready
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
            await reader.readuntil(b"first line")
        ready += 1
        if ready == readers:
            print("ready", flush=True)
        lines = 0
        while line := await reader.readline():
            if line == b"event: end\n":
                break
            lines += b", number %d\\n" % (lines + 1) in line
        writer.close()
        return lines

    return sum(await asyncio.gather(*(one() for _ in range(readers))))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    else:
        os.nice(19)  # readers are elsewhere: they shall not take the server's processor from it
        print(asyncio.run(read(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
