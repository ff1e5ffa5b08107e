"""`websocket` under Python's `websockets` and under hand-made frames: all that a message may be, many clients at once, a room,
the close codes, clients that are slow or vanish, and the end."""
# programs: websocket
# pip: websockets==15.0.1

import asyncio
import os
import pathlib
import signal
import socket
import struct
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from lib.program import Program, at_rest, check, eventually
from lib.talk import two_hundred_at_once
from lib.web import until_closed

LARGEST = 16 << 20
UPGRADE = (
    b"GET /echo HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def messages(url):
    async with connect(url, max_size=None, compression=None) as ws:
        for message in ("", "hello", "grüße, 世界 🌍", b"", bytes(range(256)), "x" * 125, "x" * 126, b"x" * 65535, b"x" * 65536):
            await ws.send(message)
            check(f"{type(message).__name__} of {len(message)}", await ws.recv() == message, True)
        large = os.urandom(LARGEST)
        begin = time.monotonic()
        await ws.send(large)
        check("16 MiB", await ws.recv() == large, True)
        took = time.monotonic() - begin
        await ws.send(b"abc" for _ in range(1000))
        check("a thousand fragments", await ws.recv() == b"abc" * 1000, True)
        await ws.send(["grü", "ße"])
        check("fragments of text", await ws.recv(), "grüße")
        check("a ping is answered", await asyncio.wait_for(await ws.ping(b"are you there"), 10) >= 0, True)
        for n in range(2000):
            await ws.send(f"{n}")
        check("two thousand in a row, in order", [await ws.recv() for _ in range(2000)], [f"{n}" for n in range(2000)])
        await ws.close(1000, "bye")
        check("our close is answered", (ws.close_code, ws.protocol.close_rcvd.code), (1000, 1000))
    return LARGEST / took / (1 << 20)


async def room(url, server):
    members = [await connect(url, compression=None) for _ in range(10)]
    await asyncio.gather(*(ws.send("here") for ws in members))
    for ws in members:
        check_quietly([await ws.recv() for _ in range(10)], ["here"] * 10)
    for n in range(1000):
        await members[0].send(f"{n}")
    for ws in members:
        check_quietly([await ws.recv() for _ in range(1000)], [f"{n}" for n in range(1000)])
    check("in a room, ten hear a thousand, in order", True, True)

    # Eight that say four hundred things each, all of which the server finds at once: who hears them is not put out for that.
    speakers = [raw(url, b"/room") for _ in range(8)]
    said = b"".join(frame(0x81, b"%03d" % n) for n in range(400))
    server.process.send_signal(signal.SIGSTOP)
    for speaker in speakers:
        speaker.sendall(said)
    server.process.send_signal(signal.SIGCONT)
    for ws in members:
        found = [await ws.recv() for _ in range(8 * 400)]
        check_quietly(sorted(found), sorted(8 * [f"{n:03}" for n in range(400)]))
    check("in a burst as well", True, True)
    for speaker in speakers:
        speaker.close()

    too_large = raw(url, b"/room")
    too_large.sendall(frame(0x82, bytes((64 << 10) + 1)))
    check("more than 64 KiB to a room", all_frames(too_large), [(8, struct.pack(">H", 1009))])

    # One that takes nothing: its buffers fill, then its inbox. It is put out, and the others hear all.
    behind = raw(url, b"/room", small=True)
    text = "x" * 60000
    for n in range(1000):
        await members[0].send(text)
        for ws in members:
            if await ws.recv() != text:
                sys.exit("FAILED: another text")
    check("who takes nothing does not hold up the others", True, True)
    found = await asyncio.to_thread(all_frames, behind)
    check("and is told so in the end", found[-1][:2] == (8, struct.pack(">H", 1008)), True)
    await asyncio.gather(*(ws.close() for ws in members))


def check_quietly(found, expected):
    if found != expected:
        check("what is heard", found, expected)


def raw(url, path=b"/echo", small=False):
    """A client by hand, for what no library sends."""
    host, port = url.split("/")[2].split(":")
    client = socket.socket()
    if small:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.settimeout(60)
    client.sendall(UPGRADE.replace(b"/echo", path))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    check_quietly((head[:12], b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head), (b"HTTP/1.1 101", True))
    return client


def frame(first, payload, size=None):
    """Masked, with a mask of zeros. It may lie about its size."""
    size = len(payload) if size is None else size
    if size < 126:
        return bytes([first, 128 | size]) + bytes(4) + payload
    return bytes([first]) + (struct.pack(">BH", 254, size) if size < 65536 else struct.pack(">BQ", 255, size)) + bytes(4) + payload


def all_frames(client):
    """(opcode, payload) until the end; a reset is one too."""
    data, found = until_closed(client, at_a_reset=b"\x8f\x00"), []
    while data:
        size, at = data[1] & 127, 2
        if size == 126:
            size, at = struct.unpack(">H", data[2:4])[0], 4
        elif size == 127:
            size, at = struct.unpack(">Q", data[2:10])[0], 10
        found.append((data[0] & 15, data[at : at + size][:2] if data[0] & 15 == 8 else data[at : at + size]))
        data = data[at + size :]
    client.close()
    return found


def faults(url):
    for what, sent, code in (
        ("too large", frame(0x82, bytes(4 << 20), LARGEST + 1), 1009),
        ("too large in fragments", frame(0x02, bytes(LARGEST)) + frame(0x80, b"x"), 1009),
        ("no UTF-8", frame(0x81, b"\xff\xfe"), 1007),
        ("no mask", b"\x81\x02hi", 1002),
        ("an opcode that is none", frame(0x83, b""), 1002),
        ("a ping in fragments", frame(0x09, b""), 1002),
        ("a reserved bit", frame(0xC1, b""), 1002),
        ("a fragment of nothing", frame(0x80, b""), 1002),
    ):
        client = raw(url)
        client.sendall(sent)
        # Who is told must still be able to say more, without a reset that takes the answer with it.
        time.sleep(0.05)
        try:
            client.sendall(frame(0x88, struct.pack(">H", code)))
        except ConnectionError:
            pass
        check(f"{what}: closed with {code}", all_frames(client), [(8, struct.pack(">H", code))])
    for code in (1000, 1001, 1008, 1011, 3000, 4999):
        client = raw(url)
        client.sendall(frame(0x88, struct.pack(">H", code) + b"why"))
        check(f"close {code} is answered alike", all_frames(client), [(8, struct.pack(">H", code))])
    client = raw(url)
    for byte in frame(0x81, b"byte by byte") + frame(0x88, struct.pack(">H", 1000)):
        client.sendall(bytes([byte]))
        time.sleep(0.001)
    check("a message that comes by bytes", all_frames(client), [(1, b"byte by byte"), (8, struct.pack(">H", 1000))])
    client = raw(url)
    client.sendall(frame(0x01, b"in ") + frame(0x89, b"ping") + frame(0x80, b"two") + frame(0x88, b""))
    check("a ping between fragments", all_frames(client)[:2], [(10, b"ping"), (1, b"in two")])
    for head in (
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        UPGRADE.replace(b"13", b"12"),
        UPGRADE.replace(b"GET", b"POST"),
        b"\x16\x03\x01nonsense\r\n\r\n",
    ):
        with socket.create_connection(url.split("/")[2].split(":")) as client:
            client.settimeout(60)
            client.sendall(head)
            check(f"no handshake: {head[:14]!r}", b"101" in until_closed(client), False)


def slow(url):
    """Clients by hand that say nothing more, each with what it has been told in the end and when."""
    host, port = url.split("/")[2].split(":")
    clients = {}
    for what, sent in (("no byte", b""), ("half a handshake", UPGRADE[:60])):
        client = socket.create_connection((host, int(port)))
        client.sendall(sent)
        clients[what] = client
    clients["silence"] = raw(url)
    clients["half a message"] = raw(url)
    clients["half a message"].sendall(frame(0x81, b"hel", 10))
    # It takes nothing of the echoes of what it sends.
    full = raw(url, small=True)
    full.settimeout(1)
    clients["takes nothing"] = full
    return time.monotonic(), clients


async def cut(begin, clients):
    def until_cut(what):
        client = clients[what]
        if what == "takes nothing":
            while time.monotonic() - begin < 60:
                try:
                    client.sendall(frame(0x82, bytes(60000)))
                except TimeoutError:
                    pass
                except ConnectionError:
                    break
            return [], time.monotonic() - begin
        client.settimeout(60)
        return all_frames(client), time.monotonic() - begin

    expected = {
        "no byte": (9, 20),
        "half a handshake": (9, 20),
        "silence": (28, 45),
        "half a message": (28, 45),
        "takes nothing": (18, 50),
    }
    ends = dict(zip(clients, await asyncio.gather(*(asyncio.to_thread(until_cut, what) for what in clients))))
    for what, (low, high) in expected.items():
        check(f"{what}: cut off after {low} to {high} s, after {ends[what][1]:.1f}", low <= ends[what][1] <= high, True)
    check("who is silent is asked first", ends["silence"][0], [(9, b"")])


async def end(folder):
    with Program(folder, "websocket", "127.0.0.1:0") as server:
        url = f"ws://{server.host}:{server.port}/echo"
        clients = [await connect(url, compression=None) for _ in range(50)]
        asked = asyncio.to_thread(server.asked_to_end)

        async def until_told(ws):
            try:
                for n in range(1_000_000):
                    await ws.send(f"{n}")
                    await ws.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else closed

        told = [asyncio.create_task(until_told(ws)) for ws in clients]
        await asyncio.sleep(0.3)
        begin = time.monotonic()
        check("asked to end, it ends with 0", await asked, 0)
        took = time.monotonic() - begin
        check("everybody is told", await asyncio.gather(*told), [1001] * 50)
        return took


async def all_of_it(folder):
    with Program(folder, "websocket", "127.0.0.1:0") as server:
        url = f"ws://{server.host}:{server.port}"
        base = server.descriptors()
        begin, clients = slow(url)
        waiting = asyncio.create_task(cut(begin, clients))
        speed = await messages(url + "/echo")
        await asyncio.to_thread(faults, url + "/echo")
        # Those who are slow may be cut off meanwhile.
        most = at_rest(server.descriptors)
        await two_hundred_at_once(url + "/echo")
        eventually("none of them is left", lambda: server.descriptors() <= most)
        await room(url + "/room", server)
        # A client that vanishes in the middle of a message.
        gone = raw(url)
        gone.sendall(frame(0x82, b"x" * 100, 1000))
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        async with connect(url + "/echo") as ws:
            await ws.send("still there")
            check("an answer after a client has vanished", await ws.recv(), "still there")
        took = await end(folder)
        await waiting
        eventually("nothing is left open", server.descriptors, base)
        check("it has not panicked", "panicked" in server.ended(), False)
    return speed, took


def main(folder):
    begin = time.monotonic()
    speed, took = asyncio.run(all_of_it(folder))
    print(f"16 MiB there and back at {speed:.0f} MiB/s; ended {took:.1f} s after being asked; {time.monotonic() - begin:.0f} s in all")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
