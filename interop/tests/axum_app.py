"""`axum_app` under curl, wrk and Python's `websockets`: each of its routes, handlers that are slow or panic, an upgrade, and an end
that loses no request and tells each WebSocket."""
# programs: axum_app
# needs: curl wrk ab=apache2-utils
# pip: websockets==15.0.1

import asyncio
import json
import os
import pathlib
import re
import socket
import signal
import subprocess
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from lib.program import Program, at_rest, check, eventually
from lib.talk import two_hundred_at_once
from lib.web import Asking, Slow, curl, number, run, wrk


def routes(url):
    code = ["-o", "/dev/null", "-w", "%{http_code}"]
    check("the peer's address", re.fullmatch(r"hello, 127\.0\.0\.1:\d+\n", curl(url + "/")) is not None, True)
    check("no notes", json.loads(curl(url + "/notes")), [])
    for n in (1, 2, 3):
        added = curl("--json", json.dumps({"text": f"ü{n}"}), url + "/notes")
        check(f"note {n}", json.loads(added), {"id": n, "text": f"ü{n}"})
    check("one of them", json.loads(curl(url + "/notes/2")), {"id": 2, "text": "ü2"})
    check("deleted", curl(*code, "-X", "DELETE", url + "/notes/2"), "204")
    check("the others", [note["id"] for note in json.loads(curl(url + "/notes"))], [1, 3])
    large = json.dumps({"text": "x" * (16 << 10)})
    for what, words, expected in (
        ("deleted again", ["-X", "DELETE", url + "/notes/2"], "404"),
        ("no number", [url + "/notes/x"], "400"),
        ("no such path", [url + "/nothing"], "404"),
        ("no such method", ["-X", "PUT", url + "/notes"], "405"),
        ("no JSON", ["--json", "{", url + "/notes"], "400"),
        ("other JSON", ["--json", '{"n": 1}', url + "/notes"], "422"),
        ("not said to be JSON", ["-d", '{"text": "x"}', url + "/notes"], "415"),
        ("no query", [url + "/ticks"], "400"),
        ("no WebSocket", [url + "/echo"], "400"),
        ("a panic", [url + "/panic"], "500"),
        ("and the next request on its connection", [url + "/panic", "-o", "/dev/null", url + "/"], "500200"),
    ):
        check(what, curl(*code, *words), expected)
    sent = subprocess.run(["curl", "-sS", *code, "--json", "@-", url + "/notes"], input=large, capture_output=True, text=True)
    check("a body that is too large", sent.stdout, "413")

    begin, seen = time.monotonic(), []
    with subprocess.Popen(["curl", "-sSN", url + "/ticks?count=20"], stdout=subprocess.PIPE, text=True) as ticks:
        for line in ticks.stdout:
            seen.append((line, time.monotonic() - begin))
    check("each tick", [line for line, _ in seen], [f"tick {n}\n" for n in range(20)])
    check("not before it is made", all(0.19 * (n + 1) < at for n, (_, at) in enumerate(seen)), True)
    check("and not all at the end", seen[0][1] < 0.2 * 19, True)


def load(url):
    said = wrk(url + "/notes")
    check("wrk has no errors", ("Socket errors" in said, "Non-2xx" in said), (False, False))
    check("and many answers", number(r"(\d+) requests in", said) > 1000, True)
    for how in ([], ["-k"]):
        ab = run("ab", "-q", "-c", "50", "-n", "5000", *how, url + "/notes")
        good = number(r"Complete requests: +(\d+)", ab) - number(r"Failed requests: +(\d+)", ab)
        check(f"ab {''.join(how)}", (good, "Non-2xx" in ab), (5000, False))
    return number(r"Requests/sec: +([0-9.]+)", said)


async def sockets(url):
    async with connect(url, compression=None) as ws:
        for message in ("", "hello", b"bytes", "x" * 70000, os.urandom(1 << 20)):
            await ws.send(message)
            check(f"{type(message).__name__} of {len(message)}", await ws.recv() == message, True)
        await asyncio.wait_for(await ws.ping(), 10)
        await ws.send(["in ", "two"])
        check("fragments", await ws.recv(), "in two")
        await ws.close(1000)
        check("our close is answered", ws.protocol.close_rcvd.code, 1000)

    await two_hundred_at_once(url)
    async with connect(url, compression=None) as ws:
        await ws.send(bytes((1 << 20) + 1))
        try:
            await ws.recv()
        except ConnectionClosed as closed:
            check("too large", closed.rcvd and closed.rcvd.code, 1009)
    gone = await connect(url, compression=None)
    gone.transport.abort()


async def end(folder):
    with Program(folder, "axum_app", "127.0.0.1:0") as server:
        url = f"http://{server.host}:{server.port}"
        sockets = [await connect(url.replace("http", "ws") + "/echo", compression=None) for _ in range(20)]
        for ws in sockets:
            await ws.send("hello")
            await ws.recv()
        base = server.descriptors()
        paths = ["/sleep/4000", "/ticks?count=20"] * 5
        in_flight = [subprocess.Popen(["curl", "-sS", url + path], stdout=subprocess.PIPE, text=True) for path in paths]
        idle = [socket.create_connection((server.host, server.port)) for _ in range(5)]
        await asyncio.to_thread(eventually, "all are there", server.descriptors, base + 15)
        asking = [Asking(server, "/notes", keeps=n % 2 == 0) for n in range(8)]
        await asyncio.to_thread(eventually, "everybody asks", lambda: all(one.answered > 20 or one.failed for one in asking))
        begin = time.monotonic()
        for one in asking:
            one.since = begin
        asked = asyncio.create_task(asyncio.to_thread(server.asked_to_end))
        told = []
        for ws in sockets:
            try:
                await ws.recv()
            except ConnectionClosed as closed:
                told.append(closed.rcvd and closed.rcvd.code)
        check("each WebSocket is told", told, [1001] * 20)
        check("asked to end, it ends with 0", await asked, 0)
        took = time.monotonic() - begin
        check("before its deadline", took < 10, True)
        answers = [one.communicate()[0] for one in in_flight]
        for one in asking:
            one.join(60)
        check("no request was lost", [one.failed for one in asking if one.failed], [])
        check("each asked until the end", any(one.is_alive() for one in asking), False)
        check("what was in flight is answered", answers, ["slept\n", "".join(f"tick {n}\n" for n in range(20))] * 5)
        for client in idle:
            client.close()
        return took


def cut_off(folder):
    """What takes too long at the end has two ends: a deadline, and a second signal."""
    with Program(folder, "axum_app", "127.0.0.1:0") as one, Program(folder, "axum_app", "127.0.0.1:0") as two:
        clients = []
        for it in (one, two):
            client = subprocess.Popen(["curl", "-sN", f"http://{it.host}:{it.port}/ticks?count=1000"], stdout=subprocess.PIPE)
            check("a stream has begun", client.stdout.readline(), b"tick 0\n")
            clients.append(client)
        begin = time.monotonic()
        one.process.send_signal(signal.SIGTERM)
        two.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        check("they wait", (one.process.poll(), two.process.poll()), (None, None))
        check("a second signal ends it with 0", two.asked_to_end(within_s=8, by=signal.SIGINT), 0)
        check("the deadline as well", one.process.wait(60), 0)
        took = time.monotonic() - begin
        check(f"after 9 to 30 s, {took:.1f}", 9 < took < 30, True)
        for client in clients:
            client.communicate()


def main(folder):
    with Program(folder, "axum_app", "127.0.0.1:0") as server:
        url = f"http://{server.host}:{server.port}"
        curl(url)
        base = at_rest(server.descriptors)
        post = b"POST /notes HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        sleep = b"GET /sleep/600000 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        slow = [
            Slow(server, "silence", (9, 20), b""),
            Slow(server, "a head that drips", (9, 20), b"GET / HTTP/1.1\r\nhost: x\r\nx: ", b"x", 0.5),
            Slow(server, "a body that drips", (4, 15), post, b"x", 0.5),
            Slow(server, "a handler that takes long", (4, 15), sleep),
        ]
        routes(url)
        asyncio.run(sockets(url.replace("http", "ws") + "/echo"))
        speed = load(url)
        for one in slow:
            one.check()
        check("what they are told", [one.told[:12] for one in slow], [b"", b"", b"HTTP/1.1 503", b"HTTP/1.1 503"])
        eventually("nothing is left open", server.descriptors, base)
        check("the panics were those of the handler", server.ended().count("panicked"), 2)
    took = asyncio.run(end(folder))
    cut_off(folder)
    print(f"wrk {speed:.0f}/s; ended {took:.1f} s after being asked, what was in flight took the most of it")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
