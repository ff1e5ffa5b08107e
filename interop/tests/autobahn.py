"""`websocket` and `axum_app` under the cases of the Autobahn test suite: all but those of compression, which neither has.

The suite is of Python 2, with Twisted; its cases are not of much else than strings and a few calls. They are fetched, made
Python 3 by a few words, and get those calls from `Fuzzer` here. Its strings are bytes, as they were: a character each."""
# programs: websocket axum_app

import asyncio
import binascii
import codecs
import collections
import importlib
import pathlib
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import types

from lib.program import Program, check, eventually

SUITE = "autobahntestsuite==25.10.1"
AT_ONCE = 40
LONGEST_S = 200
# Informational, or more than they must: to fail at once in the middle of a text, or a frame, that is no UTF-8 any more.
NOT_STRICT = {"6.4.3", "6.4.4"}


class Fuzzer(asyncio.Protocol):
    """What the cases know as `self.p`: a client that does as it is told, and takes notes."""

    STATE_CLOSED, STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = range(4)
    CLOSE_STATUS_CODE_NORMAL, CLOSE_STATUS_CODE_PROTOCOL_ERROR, CLOSE_STATUS_CODE_INVALID_PAYLOAD = 1000, 1002, 1007

    def __init__(self, make, address):
        self.factory = types.SimpleNamespace(isServer=False)
        self.address, self.state, self.data = address, self.STATE_CONNECTING, b""
        self.done = asyncio.get_running_loop().create_future()
        self.connectionWasOpen = self.closedByMe = self.failedByMe = self.droppedByMe = self.wasClean = False
        self.remoteCloseCode = self.localCloseReason = None
        self.autoFragmentSize, self.txFrameStats = 0, collections.Counter()
        self.message, self.is_binary = None, False
        self.chops, self.is_chopping = collections.deque(), None
        self.case = make(self)

    # What the loop calls.

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(0)
        transport.write(
            f"GET /echo HTTP/1.1\r\nHost: {self.address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data):
        self.data += data
        if self.state == self.STATE_CONNECTING:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101") or b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" not in head:
                return self.failConnection()
            self.data, self.state, self.connectionWasOpen = rest, self.STATE_OPEN, True
            self.case.onOpen()
        while len(self.data) >= 2:
            size, at = self.data[1], 2
            if size >= 126:
                at, kind = (4, ">H") if size == 126 else (10, ">Q")
                if len(self.data) < at:
                    return
                size = struct.unpack(kind, self.data[2:at])[0]
            if len(self.data) < at + size:
                return
            first, payload = self.data[0], self.data[at : at + size]
            self.data = self.data[at + size :]
            self.frame(first & 0x80, first & 0x0F, payload)

    def frame(self, is_last, opcode, payload):
        if opcode == 8:
            self.remoteCloseCode = struct.unpack(">H", payload[:2])[0] if payload else None
            self.wasClean = True
            if self.state == self.STATE_OPEN:
                self.sendFrame(8, payload[:2].decode("latin-1"))
                self.state = self.STATE_CLOSING
            asyncio.get_running_loop().call_later(30, self.drop)  # The server is to close.
        elif opcode == 9:
            self.case.onPing(payload.decode("latin-1"))
        elif opcode == 10:
            self.case.onPong(payload.decode("latin-1"))
        else:
            if opcode:
                self.message, self.is_binary = [], opcode == 2
            self.message.append(payload)
            if is_last and self.state == self.STATE_OPEN:
                message = b"".join(self.message)
                if not self.is_binary:
                    message.decode()  # What is sent as text is text.
                self.case.onMessage(message.decode("latin-1"), self.is_binary)

    def connection_lost(self, _error):
        self.state = self.STATE_CLOSED
        self.case.onConnectionLost(self.failedByMe)
        self.done.set_result((self.case.behavior, self.case.behaviorClose, self.case.result, self.case.resultClose))

    # What the cases call.

    def sendFrame(self, opcode, payload="", fin=True, rsv=0, mask=None, payload_len=None, chopsize=None, sync=False):
        payload = payload.encode("latin-1")
        if payload_len is not None:
            payload = (payload * (payload_len // max(len(payload), 1) + 1))[:payload_len]
        size = len(payload)
        self.txFrameStats[opcode] += 1
        frame = self.head(fin << 7 | rsv << 4 | opcode, size) + masked(payload)
        self.put([frame[at : at + chopsize] for at in range(0, len(frame), chopsize)] if chopsize else [frame])

    def head(self, first, size):
        if size < 126:
            return bytes([first, 128 | size]) + MASK
        return bytes([first]) + (struct.pack(">BH", 254, size) if size < 65536 else struct.pack(">BQ", 255, size)) + MASK

    def put(self, chops):
        """In their order, and each by itself: the others of this program come between."""
        self.chops.extend(chops)
        if not self.is_chopping or self.is_chopping.done():
            if len(self.chops) == 1:
                self.transport.write(self.chops.popleft())
            else:
                self.is_chopping = asyncio.create_task(self.chop())

    async def chop(self):
        while self.chops and not self.transport.is_closing():
            self.transport.write(self.chops.popleft())
            await asyncio.sleep(0)

    def sendMessage(self, payload, isBinary=False, fragmentSize=None):
        size = fragmentSize or self.autoFragmentSize or max(len(payload), 1)
        parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [""]
        frames = []
        for n, part in enumerate(parts):
            opcode = 0 if n else 2 if isBinary else 1
            self.txFrameStats[opcode] += 1
            frames.append(self.head((n == len(parts) - 1) << 7 | opcode, len(part)) + masked(part.encode("latin-1")))
        # The kernel has its own limits to one write: the parts come as it likes.
        self.put([b"".join(frames)])

    def beginMessage(self):
        self.is_first = True

    def beginMessageFrame(self, size):
        self.put([self.head(int(self.is_first), size)])
        self.is_first, self.sent = False, 0

    def sendMessageFrameData(self, payload):
        self.put([masked(payload.encode("latin-1"), self.sent)])
        self.sent += len(payload)

    def endMessage(self):
        self.sendFrame(0)

    def sendCloseFrame(self, code=None, reasonUtf8=None):
        payload = b"" if code is None else struct.pack(">H", code) + (reasonUtf8 or "").encode("latin-1")
        self.closedByMe, self.state, self.localCloseReason = True, self.STATE_CLOSING, reasonUtf8
        self.sendFrame(8, payload.decode("latin-1"))

    def sendClose(self, code=None, reason=None):
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code, reason)

    def enableWirelog(self, _is_on):
        pass

    def continueLater(self, delay, then, _tag=None):
        asyncio.get_running_loop().call_later(delay, lambda: self.state == self.STATE_CLOSED or then())

    def closeAfter(self, delay):
        self.continueLater(delay, self.sendClose)

    def killAfter(self, delay):
        # For who hangs; a second, as the cases have it, is what a busy machine may take.
        self.continueLater(10 * delay, self.failConnection)

    def failConnection(self):
        self.failedByMe = True
        self.drop()

    def drop(self):
        if self.state != self.STATE_CLOSED:
            self.droppedByMe = True
            self.transport.abort()


MASK = b"\x12\x34\x56\x78"
TABLES = [bytes(byte ^ mask for byte in range(256)) for mask in MASK]


def masked(payload, at=0):
    found = bytearray(payload)
    for n, table in enumerate(TABLES):
        from_here = (n - at) % 4
        found[from_here::4] = found[from_here::4].translate(table)
    return bytes(found)


class Utf8Validator:
    """Of Autobahn; so much of it as the cases use."""

    def reset(self):
        pass

    def validate(self, string):
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(string.encode("latin-1"))
        except UnicodeDecodeError:
            return False, False
        return True, not decoder.getstate()[0]


def cases(folder):
    """By their numbers: the classes of the suite."""
    thrice = pathlib.Path(__file__).resolve().parents[2] / ".ci" / "thrice"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([thrice, *download, "-d", folder, SUITE], check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder)
    source, target = next(folder.glob("*/autobahntestsuite/case")), folder / "cases"
    target.mkdir()
    for path in source.glob("case*.py"):
        if path.stem.startswith(("case12", "case9_9")):
            continue
        text = path.read_text(encoding="latin-1")
        text = re.sub(r"\bxrange\b", "range", text)
        text = re.sub(r"^(\s*)print (.*)$", r"\1print(\2)", text, flags=re.MULTILINE)
        text = text.replace("(object, Case, )", "(Case, )").replace("/ self.p.autoFragmentSize", "// self.p.autoFragmentSize")
        (target / path.name).write_text(text.replace("import binascii", "import binascii_of_strings as binascii"), encoding="utf-8")
    sys.path.insert(0, str(target))
    for name, what in (
        ("binascii_of_strings", {"b2a_hex": lambda string: binascii.b2a_hex(string.encode("latin-1")).decode()}),
        ("autobahn.websocket.protocol", {"WebSocketProtocol": Fuzzer}),
        ("autobahn.websocket.utf8validator", {"Utf8Validator": Utf8Validator}),
    ):
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(what)
    for name in ("autobahn", "autobahn.websocket"):
        sys.modules[name] = types.ModuleType(name)
    importlib.import_module("case").Case.compare = lambda self, a, b: a == b
    found = {}
    for path in target.glob("case*.py"):
        for value in vars(importlib.import_module(path.stem)).values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, type) and re.fullmatch(r"Case\d+(_\d+)+", one.__name__):
                    found[one.__name__[4:].replace("_", ".")] = one
    return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


async def run(server, cases):
    places, found = asyncio.Semaphore(AT_ONCE), {}

    async def one(number, make):
        async with places:
            _, fuzzer = await asyncio.get_running_loop().create_connection(
                lambda: Fuzzer(make, f"{server.host}:{server.port}"), server.host, server.port
            )
            try:
                found[number] = await asyncio.wait_for(fuzzer.done, LONGEST_S)
            except asyncio.TimeoutError:
                found[number] = ("FAILED", "FAILED", "it does not end", "")

    await asyncio.gather(*(one(number, make) for number, make in cases.items()))
    return found


def main(folder):
    with tempfile.TemporaryDirectory(prefix="autobahn-") as scratch:
        all_cases = cases(pathlib.Path(scratch))
        check("the cases", len(all_cases), 301)
        for name, largest in (("websocket", 16 << 20), ("axum_app", 1 << 20)):
            with Program(folder, name, "127.0.0.1:0") as server:
                base = server.descriptors()
                # What is larger than the server takes is a case for its limits, and not for these.
                fitting = {number: make for number, make in all_cases.items() if size(make) <= largest}
                found = asyncio.run(run(server, fitting))
                counts = collections.Counter(behavior for behavior, *_ in found.values())
                bad = {
                    number: result
                    for number, result in found.items()
                    if result[0] not in ("OK", "INFORMATIONAL") and not (result[0] == "NON-STRICT" and number in NOT_STRICT)
                    or result[1] not in ("OK", "INFORMATIONAL")
                }
                for number, result in bad.items():
                    print(f"{number}: {result}")
                check(f"{name}: cases that failed", sorted(bad), [])
                eventually("nothing is left open", server.descriptors, base)
                check("it has not panicked", "panicked" in server.ended(), False)
                print(f"{name}: {len(found)} cases, {dict(counts)}", flush=True)


def size(make):
    """Of the message of a case."""
    probe = make(types.SimpleNamespace())
    return max(getattr(probe, "DATALEN", 0), getattr(probe, "LEN", 0))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
