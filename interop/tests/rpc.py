"""`grpc`: Python's grpcio calls our server, in all four ways, and our client calls a server of grpcio, whose module has the name `grpc`."""
# programs: grpc
# needs: curl
# pip: grpcio==1.85.1 grpcio-tools==1.85.1

import concurrent.futures
import importlib
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import grpc
from grpc_tools import protoc

from lib.program import Program, check, eventually

PROTO = pathlib.Path(__file__).resolve().parents[1] / "proto"


def generated(folder):
    """What grpcio makes of the same file as we."""
    if protoc.main(["", f"-I{PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}", "talk.proto"]):
        sys.exit("protoc has failed")
    sys.path.insert(0, folder)
    return importlib.import_module("talk_pb2"), importlib.import_module("talk_pb2_grpc")


def status(call):
    try:
        return call().text
    except grpc.RpcError as error:
        return error.code().name, error.details()


class Silent(threading.Thread):
    """A client that does not say a word, while the others talk: for how long."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.begin, self.took = time.monotonic(), 99
        self.client = socket.create_connection((server.host, server.port), 60)
        self.start()

    def run(self):
        with self.client:
            while self.client.recv(1000):
                pass
        self.took = time.monotonic() - self.begin


def calls_of_each_kind(talk, stub, channel):
    check("a call", stub.Say(talk.Line(text="hello"), timeout=30).text, "HELLO")
    check("an error", status(lambda: stub.Say(talk.Line(), timeout=30)), ("INVALID_ARGUMENT", "there is nothing to say"))
    unknown = channel.unary_unary("/talk.Talk/Nobody", talk.Line.SerializeToString, talk.Line.FromString)
    check("a method that there is not", status(lambda: unknown(talk.Line(), timeout=30))[0], "UNIMPLEMENTED")

    begin = time.monotonic()
    many = [stub.Say.future(talk.Line(text=f"line {n}", after_ms=n % 7), timeout=60) for n in range(2000)]
    check("two thousand calls, in flight at once", [it.result().text for it in many], [f"LINE {n}" for n in range(2000)])
    took = time.monotonic() - begin
    big = "x" * 1_000_000
    check("a message of a million bytes", stub.Say(talk.Line(text=big), timeout=30).text, big.upper())

    numbers = [it.number for it in stub.Count(talk.Steps(steps=20_000), timeout=60)]
    check("a stream of 20,000 answers", numbers, list(range(1, 20_001)))

    # Each line is sent only when the answer to the one before has come: nothing may wait for more.
    more = threading.Semaphore(1)

    def lines():
        for n in range(200):
            more.acquire(timeout=30)
            yield talk.Line(text=f"line {n}")

    answers = []
    for answer in stub.Chat(lines(), timeout=60):
        answers.append(answer.text)
        more.release()
    check("a talk of 200 lines each way", answers, [f"LINE {n}" for n in range(200)])
    check("nobody counts any more", stub.Counting(talk.Nothing(), timeout=30).number, 0)
    return took


def ends_before_the_end(talk, stub, server):
    counting = lambda: stub.Counting(talk.Nothing(), timeout=30).number
    endless = talk.Steps(steps=1_000_000_000, every_ms=5)

    call = stub.Count(endless)
    check("three of a stream", [next(call).number for _ in range(3)], [1, 2, 3])
    check("it goes on", counting(), 1)
    call.cancel()
    eventually("a cancelled stream is dropped", counting, 0)

    # Who reads nothing is sent only so much: neither the server's memory nor its time is his.
    call = stub.Count(talk.Steps(steps=1_000_000_000))
    next(call)
    eventually("a stream that nobody reads stands still", lambda: busy(server, 0.5) < 0.05)
    check("and waits", counting(), 1)
    call.cancel()
    eventually("until it is cancelled", counting, 0)

    check("the client's own deadline", status(lambda: stub.Say(talk.Line(text="slow", after_ms=60_000), timeout=0.3))[0], "DEADLINE_EXCEEDED")
    # That one was grpcio's. curl sends the deadline, and knows nothing of it: what comes is the server's doing.
    def curl(method, message):
        data = message.SerializeToString()
        sent = b"\0" + struct.pack(">I", len(data)) + data
        headers = [word for it in ("content-type: application/grpc", "te: trailers", "grpc-timeout: 400m") for word in ("-H", it)]
        url = f"http://{server.host}:{server.port}/talk.Talk/{method}"
        begin = time.monotonic()
        said = subprocess.run(
            ["curl", "-sSi", "--http2-prior-knowledge", "--max-time", "30", *headers, "--data-binary", "@-", url],
            input=sent, capture_output=True,
        )
        return said.stdout, time.monotonic() - begin

    said, took = curl("Say", talk.Line(text="slow", after_ms=60_000))
    check("the server keeps the deadline of a call", (b"grpc-status: 4" in said, 0.35 < took < 10), (True, True))
    said, took = curl("Count", endless)
    check("and of a stream", (b"grpc-status: 4" in said, 0.35 < took < 10, said.count(b"\0\0\0\0\2\x08") > 3), (True,) * 3)
    eventually("which is dropped", counting, 0)
    said, took = curl("Say", talk.Line(text="quick"))
    check("a call in time", (b"QUICK" in said, b"grpc-status: 0" in said), (True, True))


def busy(server, seconds):
    """The processor time that the server uses meanwhile."""
    def used():
        fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(seconds)
    return used() - before


def our_client(programs, talk, service):
    class Theirs(service.TalkServicer):
        def Say(self, request, context):
            if not request.text:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "there is nothing to say")
            end = time.monotonic() + request.after_ms / 1000
            while time.monotonic() < end and context.is_active():
                time.sleep(0.01)
            return talk.Line(text=request.text.upper())

        def Count(self, request, context):
            for n in range(request.steps):
                yield talk.Number(number=n + 1)

        def Chat(self, lines, context):
            for line in lines:
                yield talk.Line(text=line.text.upper())

    def ask(port):
        said = subprocess.run([f"{programs}/grpc", "--client", f"127.0.0.1:{port}"], capture_output=True, text=True, timeout=120)
        return said.stdout.splitlines(), said.stderr

    expected = [
        "say: HELLO", "say: InvalidArgument: there is nothing to say", "count: 1 2 3 4 5", "chat: ONE TWO THREE",
        "slow: DeadlineExceeded",
    ]  # fmt: skip
    theirs = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    service.add_TalkServicer_to_server(Theirs(), theirs)
    port = theirs.add_insecure_port("127.0.0.1:0")
    theirs.start()
    found, errors = ask(port)
    # Over time their server is free to say that the call was cancelled.
    check("our client, their server", (found[:4], errors), (expected[:4], ""))
    check("over time", found[4] in ("slow: DeadlineExceeded", "slow: Cancelled"), True)
    theirs.stop(None).wait()
    with Program(programs, "grpc", "127.0.0.1:0") as ours:
        check("our client, our server", ask(ours.port), (expected, ""))


def main(programs):
    with tempfile.TemporaryDirectory() as folder:
        talk, service = generated(folder)
        with Program(programs, "grpc", "127.0.0.1:0") as server:
            base = server.descriptors()
            silent = Silent(server)
            with grpc.insecure_channel(f"{server.host}:{server.port}") as channel:
                stub = service.TalkStub(channel)
                took = calls_of_each_kind(talk, stub, channel)
                ends_before_the_end(talk, stub, server)
            silent.join()
            check("who does not say a word is cut, but not at once", 8 < silent.took < 25, True)
            eventually("every descriptor is closed again", server.descriptors, base)
            eventually("and nothing else to complain of", lambda: server.said().split(": ")[1:], ["no call in time\n"])
        our_client(programs, talk, service)
    print(f"2,000 calls in {took:.2f} s")


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    main(pathlib.Path(sys.argv[1]))
