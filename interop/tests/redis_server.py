"""`redis_server`, beside Redis itself: the same commands to both, byte for byte the same answers; and what hostile clients do."""
# programs: redis_server
# needs: redis-cli=redis-tools redis-server
# pip: redis==5.2.1

import contextlib
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import redis

from lib.program import Program, check, eventually, free_port

MIB = 1 << 20
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))


def main(folder):
    with Program(folder, "redis_server", "127.0.0.1:0", "--patience", "3") as server, oracle() as oracle_port:
        base = server.descriptors()
        begin = time.monotonic()
        compared = the_same_answers(server.port, oracle_port)
        compared += the_same_words(server.port, oracle_port)
        took = time.monotonic() - begin
        the_tools(server.port)
        expiry(server)
        messages = publish_and_subscribe(server.port)
        slow_subscriber(server)
        slow_reader(server)
        hostile(server)
        eventually("it has the descriptors it began with", server.descriptors, base)
        the_end(server)
    with Program(folder, "redis_server", "127.0.0.1:0", "--clients", "3") as server:
        places(server.port)
    print(f"{compared} answers as of Redis in {took:.1f} s (SEED={SEED}), {messages} messages")


def oracle():
    """Redis itself, with our limits, on a port of its own."""
    return contextlib.contextmanager(_oracle)()


def _oracle():
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--databases", "1", "--dir", folder]
            + ["--proto-max-bulk-len", str(64 << 20)],
            stdout=subprocess.DEVNULL,
        )
        try:
            eventually("Redis answers", lambda: answers(port))
            yield port
        finally:
            process.kill()
            process.wait()


def answers(port):
    try:
        return talk(port, b"PING\r\n", 7) == b"+PONG\r\n"
    except OSError:
        return False


def connected(port):
    stream = socket.create_connection(("127.0.0.1", port), timeout=30)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def talk(port, request, length):
    with connected(port) as stream:
        stream.sendall(request)
        return stream.makefile("rb").read(length)


def until_closed(port, request):
    """All that is answered to this, when the other side closes in return."""
    with connected(port) as stream:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stream.sendall(request)
        return rest(stream)


def rest(stream):
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while part := stream.recv(1 << 16):
            answer += part
    return answer


def encoded(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Answers:
    """Cuts a stream into answers, each as the bytes that came."""

    def __init__(self, stream):
        self.file = stream.makefile("rb")

    def next(self):
        line = self.file.readline()
        if line[:1] == b"$" and line != b"$-1\r\n":
            return line + self.file.read(int(line[1:]) + 2)
        if line[:1] == b"*":
            return line + b"".join(self.next() for _ in range(int(line[1:])))
        return line


# ---- the same as Redis

KEYS = [b"a", b"b", b"c", b"list", b"other", b"k\r\n\0\xff", b""]
NUMBERS = [b"0", b"1", b"-1", b"2", b"3", b"-2", b"10", b"-100", b"9223372036854775807", b"-9223372036854775808"]
NO_NUMBERS = [b"", b"-", b"+1", b"01", b"-0", b"1.0", b" 1", b"1 ", b"x", b"9223372036854775808", b"1" * 30]
NO_TIMES = [b"0", b"-1", b"9223372036854775", b"9223372036854776", b"x"]


def random_command(rng):
    key = lambda: rng.choice(KEYS)
    number = lambda: rng.choice(NO_NUMBERS if rng.random() < 0.1 else NUMBERS)

    # Never the same one twice: which of two equal times is later, as GT asks, is a matter of milliseconds.
    time = lambda unit=1: rng.choice(NO_TIMES) if rng.random() < 0.3 else b"%d" % rng.randrange(1000 * unit, 1_000_000 * unit)

    def text():
        kind = rng.random()
        if kind < 0.3:
            return number()
        return rng.randbytes(rng.choice([0, 1, 2, 10, 100, 5000] if kind < 0.95 else [70_000]))

    def set_options():
        options = []
        while rng.random() < 0.5:
            options += rng.choice(
                [[b"NX"], [b"xx"], [b"GET"], [b"keepttl"], [b"EX", time()], [b"Px", time(1000)], [b"EX"], [b"?"]]
            )
        return options

    name, *arguments = rng.choice(
        [
            lambda: (b"GET", key()),
            lambda: (b"SET", key(), text(), *set_options()),
            lambda: (b"DEL", *(key() for _ in range(rng.randrange(1, 4)))),
            lambda: (b"EXISTS", *(key() for _ in range(rng.randrange(1, 4)))),
            lambda: (b"EXPIRE", key(), time(), *rng.sample([b"nx", b"XX", b"gt", b"LT", b"no"], rng.choice([0, 0, 1, 1, 2]))),
            lambda: (b"PEXPIRE", key(), time(1000)),
            lambda: (b"TTL", key()),
            lambda: (b"PTTL", key()),
            lambda: (b"PERSIST", key()),
            lambda: (rng.choice([b"INCR", b"DECR"]), key()),
            lambda: (rng.choice([b"INCRBY", b"DECRBY"]), key(), number()),
            lambda: (b"APPEND", key(), text()),
            lambda: (b"STRLEN", key()),
            lambda: (b"MGET", *(key() for _ in range(rng.randrange(1, 4)))),
            lambda: (b"MSET", *(text() for _ in range(rng.choice([1, 2, 3]))), *(it for _ in range(2) for it in (key(), text())))
            if rng.random() < 0.2
            else (b"MSET", *(it for _ in range(rng.randrange(1, 4)) for it in (key(), text()))),
            lambda: (rng.choice([b"LPUSH", b"RPUSH"]), key(), *(text() for _ in range(rng.randrange(1, 5)))),
            lambda: (rng.choice([b"LPOP", b"RPOP"]), key(), *([number()] if rng.random() < 0.4 else [])),
            lambda: (b"LLEN", key()),
            lambda: (b"LRANGE", key(), number(), number()),
            lambda: (b"TYPE", key()),
            lambda: (b"DBSIZE",),
            lambda: (b"PING", *([text()] if rng.random() < 0.5 else [])),
            lambda: (b"ECHO", text()),
            lambda: (b"SELECT", rng.choice([b"0", b"1", b"-1", b"x"])),
            lambda: (b"PUBLISH", key(), text()),
            lambda: (b"FLUSHALL", *rng.choice([[], [b"ASYNC"], [b"sync"], [b"x"]])) if rng.random() < 0.1 else (b"DBSIZE",),
            lambda: (b"CONFIG", b"GET", rng.choice([b"save", b"appendonly", b"nothing"])),
            lambda: (b"UNSUBSCRIBE",),
            lambda: (b"nosuch\r\n", *(rng.choice([b"x", b"a\r\nb", b"y" * 200]) for _ in range(rng.randrange(4)))),
        ]
    )()
    if rng.random() < 0.03:
        arguments = arguments[:-1] if rng.random() < 0.5 else [*arguments, b"more"]
    if rng.random() < 0.2:
        name = bytes(rng.choice([it, it ^ 32]) if 65 <= it & ~32 <= 90 else it for it in name)
    return (name, *arguments)


def is_a_line(command):
    return all(word and re.fullmatch(rb"[\w.+*-]+", word) for word in command)


def in_pieces(stream, request, rng):
    """Cut anywhere, so that commands begin in one read and end in another."""
    at = 0
    while at < len(request):
        end = at + rng.choice([1, 2, 3, 10, 1000, 1000, 100_000])
        stream.sendall(request[at:end])
        at = end


def the_same_answers(port, oracle_port):
    rng = random.Random(SEED)
    batches = [[random_command(rng) for _ in range(rng.choice([1, 5, 100, 400]))] for _ in range(120)]
    with connected(port) as ours, connected(oracle_port) as theirs:
        from_ours, from_theirs = Answers(ours), Answers(theirs)
        kinds = set()
        for batch in batches:
            request = b"".join(
                b" ".join(it) + rng.choice([b"\n", b"\r\n"]) if is_a_line(it) and rng.random() < 0.1 else encoded(*it) for it in batch
            )
            # Both are read meanwhile: Redis would buffer any answers, but the test's own buffers have an end.
            writers = [
                threading.Thread(target=in_pieces, args=(stream, request, random.Random(SEED)), daemon=True)
                for stream in (ours, theirs)
            ]
            for writer in writers:
                writer.start()
            for command in batch:
                found, expected = from_ours.next(), from_theirs.next()
                kinds.add(expected[:20] if expected[:1] == b"-" else expected[:1])
                if found != expected and not is_the_same_time(command, found, expected):
                    sys.exit(f"FAILED: SEED={SEED}: {command!r}: {found!r}, and Redis says {expected!r}")
            for writer in writers:
                writer.join()
    count = sum(map(len, batches))
    print(f"ok: {count} random commands, {len(kinds)} kinds of answers", flush=True)
    check("among them enough kinds of errors", len([it for it in kinds if it[:1] == b"-"]) >= 8, True)
    return count


def is_the_same_time(command, found, expected):
    """One of the two was asked a moment later."""
    unit = {b"TTL": 1, b"PTTL": 1000}.get(command[0].upper())
    numbers = [re.fullmatch(rb":(\d+)\r\n", it) for it in (found, expected)]
    return unit is not None and all(numbers) and abs(int(numbers[0][1]) - int(numbers[1][1])) <= 60 * unit


def the_same_words(port, oracle_port):
    """What is asked once: errors, odd lines, ends. Redis closes after some; then so do we."""
    requests = [
        b"*0\r\n*-1\r\n\r\n \r\nPING\r\n",
        b'SET "a b" "\\x41\\n\\t\\"" \nGET \'a b\'\nECHO "it\'s"\nECHO \'a"b\\\'c\'\n ECHO  x \r\n',
        b'ECHO "unbalanced\r\nPING\r\n',
        b"ECHO 'un\\'balanced\nPING\r\n",
        b'ECHO "a"b\r\nPING\r\n',
        b'ECHO a"b c"\r\nECHO ""\r\nECHO \'\'\r\n',
        b"*1\r\n:4\r\nPING\r\nPING\r\n",
        b"*x\r\nPING\r\n",
        b"*\r\nPING\r\n",
        b"*3000000000\r\n",
        b"*99999999999999999999\r\n",
        b"*1\r\n$-1\r\nPING\r\n",
        b"*1\r\n$x\r\nPING\r\n",
        b"*1\r\n$67108865\r\nPING\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*2\r\n$4\r\nPING\r\nPING\r\n",
        b"*" + b"1" * 70_000,
        b"*1\r\n$" + b"1" * 70_000,
        b"x" * 70_000,
        b"QUIT\r\nPING\r\n",
        b"PING\r\nnosuch 1 2\r\nQUIT now\r\n",
        encoded("hello", "3x") + encoded("HELLO", "4") + encoded("HELLO", "2", "x"),
        encoded("CONFIG", "xyz") + encoded("CONFIG", "GET") + encoded("CONFIG"),
        encoded("SUBSCRIBE", "x", "y", "x") + encoded("GET", "x") + encoded("PING") + encoded("PING", "p")
        + encoded("UNSUBSCRIBE", "z") + encoded("PSUBSCRIBE", "x*") + encoded("UNSUBSCRIBE", "x", "y") + encoded("SUBSCRIBE")
        + encoded("PUNSUBSCRIBE") + encoded("PUNSUBSCRIBE") + encoded("UNSUBSCRIBE") + encoded("PUBLISH", "x", "1"),
        *(
            encoded("FLUSHALL") + encoded("MSET", *(it for name in NAMES for it in (name, "1"))) + encoded("KEYS", pattern)
            for pattern in PATTERNS
        ),
    ]
    for request in requests:
        if len(request) < 1 << 16:  # what is longer is closed for just that, before the end of its line
            request += b"\r\nECHO the-end\r\nQUIT\r\n"
        found, expected = [until_closed(it, request) for it in (port, oracle_port)]
        if request.find(b"KEYS") > 0:
            found, expected = sorted(found.split(b"\r\n")), sorted(expected.split(b"\r\n"))
        if found != expected:
            sys.exit(f"FAILED: {request[:300]!r}: {found!r}, and Redis says {expected!r}")
    print(f"ok: {len(requests)} odd requests are answered as by Redis", flush=True)
    return len(requests)


NAMES = ["a", "b", "ab", "abc", "a*c", "aXbXc", "x-y", "[", "]", "\\", "^", "z\n", "hello", "hallo", "hillo", "0"]
PATTERNS = ["*", "?", "a*", "*c", "a*b*c", "a\\*c", "h[ae]llo", "h[^e]llo", "h[a-e]llo", "h[e-a]llo", "[", "\\", "[]", "[^]", "[\\]]"]
PATTERNS += ["**", "a**c", "[a", "[a-", "x[-]y", "x[+-.]y", "", "*\\", "[^a-z]", "[[]", "\\[", "??", "h*l?o", "\\^"]


# ---- its own clients

BENCHMARKS = "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,lrange_100,lrange_300,mset"


def the_tools(port):
    def cli(*words, stdin=None):
        command = ["redis-cli", "-p", str(port), *words]
        return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=120).stdout

    check("redis-cli sets", cli("SET", "greeting", "hello", "EX", "60"), "OK\n")
    check("and gets", cli("GET", "greeting"), "hello\n")
    check("and takes many lines", cli(stdin="INCR counted\n" * 100).split()[-1], "100")
    pipe = b"".join(encoded("SET", f"piped:{n}", "x" * 100) for n in range(50_000)).decode()
    check("redis-cli --pipe", cli("--pipe", stdin=pipe).splitlines()[-1], "errors: 0, replies: 50000")
    check("all of them are there", cli("GET", "piped:49999"), "x" * 100 + "\n")

    for pipeline, requests in ((1, 20_000), (16, 200_000)):
        command = ["redis-benchmark", "-p", str(port), "-P", str(pipeline), "-n", str(requests), "-r", "1000", "-q", "--csv"]
        ended = subprocess.run([*command, "-t", BENCHMARKS], capture_output=True, text=True, timeout=300)
        rates = re.findall(r'^"([^"]+)","([\d.]+)"', ended.stdout, re.MULTILINE)
        check(f"redis-benchmark -P {pipeline}", (ended.returncode, ended.stderr, len(rates) >= 12), (0, "", True))
        print("    " + ", ".join(f"{name.split(' ')[0]} {float(rate):,.0f}" for name, rate in rates) + " requests/s")
    check("FLUSHALL", cli("FLUSHALL"), "OK\n")


def expiry(server):
    with redis.Redis(port=server.port) as client:
        client.mset({"stays": "x", "kept": "x"})
        client.expire("kept", 1)
        check("a deadline is taken back", client.persist("kept"), True)
        # Deadlines in no order.
        pipeline = client.pipeline(transaction=False)
        for n in random.Random(1).sample(range(5000), 5000):
            pipeline.set(f"goes:{n}", "x", px=200 + n % 800)
        pipeline.execute()
        eventually("five thousand keys go when their time has come", client.dbsize, 2)
        begin = time.monotonic()
        client.set("later", "x", px=300_000)
        client.set("soon", "x", px=300)
        eventually("a key is not there any more in time", client.dbsize, 3)
        check("nor gone before", time.monotonic() - begin > 0.29, True)
        # Each command looks at the clock, so whether keys also go by themselves is seen by the memory alone.
        before = server.resident_mib()
        client.set("soon", b"x" * (60 * MIB), px=5000)  # the timer is set for `later` by now
        check("a large value is there", server.resident_mib() - before > 50, True)
        eventually("and goes while nobody asks", lambda: server.resident_mib() - before < 20)
        client.flushall()


def publish_and_subscribe(port):
    subscribers, rounds = 100, 50
    client = redis.Redis(port=port)
    listeners = [client.pubsub() for _ in range(subscribers)]
    for n, listener in enumerate(listeners):
        if n % 2:
            listener.psubscribe("news.*")
        else:
            listener.subscribe("news.local", f"own.{n}")
    for listener in listeners:
        for _ in listener.channels or listener.patterns:
            check_quietly(heard_by(listener)["type"] in ("subscribe", "psubscribe"))
    pipeline = client.pipeline(transaction=False)
    for n in range(rounds):
        pipeline.publish("news.local", b"%d\r\n\0" % n)
    pipeline.publish("own.4", "for one")
    pipeline.publish("nobody", "for none")
    check("a publisher is told how many heard it", pipeline.execute(), [subscribers] * rounds + [1, 0])
    for listener in listeners:
        heard = [heard_by(listener) for _ in range(rounds)]
        check_quietly([it["data"] for it in heard] == [b"%d\r\n\0" % n for n in range(rounds)])
    check("one has heard what was for it", heard_by(listeners[4])["data"], b"for one")
    for listener in listeners[1:]:
        listener.close()
    eventually("who goes is not counted", lambda: client.publish("news.local", "x"), 1)
    listeners[0].close()
    client.close()
    print(f"ok: {subscribers} subscribers heard {rounds} messages each, in order", flush=True)
    return subscribers * rounds


def heard_by(listener):
    message = listener.get_message(timeout=60)
    check_quietly(message is not None)
    return message


def check_quietly(holds):
    if not holds:
        check("each subscriber", holds, True)


def slow_subscriber(server):
    """It may keep us 32 MiB, and no more: then it is cut off, and the others have lost nothing."""
    message, count = b"x" * (1 << 20), 100
    with connected(server.port) as slow, connected(server.port) as good, connected(server.port) as publisher:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        for stream in (slow, good):
            stream.sendall(encoded("SUBSCRIBE", "flood"))
        answers = Answers(good)
        answers.next()
        before, most = server.resident_mib(), 0
        to_publisher = Answers(publisher)
        receivers = []
        for _ in range(count):
            publisher.sendall(encoded("PUBLISH", "flood", message))
            receivers.append(to_publisher.next())
            check_quietly(answers.next().endswith(message + b"\r\n"))
            most = max(most, server.resident_mib())
        check("a subscriber that does not read is cut off", (receivers[0], receivers[-1]), (b":2\r\n", b":1\r\n"))
        check("and keeps a bounded part of the memory", most - before < 150, True)
        print(f"    {most - before:.0f} MiB at most for {count} MiB of messages")


def slow_reader(server):
    """Answers that are not taken: it is not read from any more, so what it sends fills its own buffers."""
    with redis.Redis(port=server.port) as client:
        client.set("large", b"x" * (1 << 20))
    with connected(server.port) as slow:
        slow.setblocking(False)
        before, most, sent = server.resident_mib(), 0, 0
        begin = time.monotonic()
        closed = False
        while not closed and time.monotonic() - begin < 30:
            try:
                sent += slow.send(encoded("GET", "large") * 1000)
            except BlockingIOError:
                time.sleep(0.05)
            except (BrokenPipeError, ConnectionResetError):
                closed = True
            most = max(most, server.resident_mib())
        took = time.monotonic() - begin
        check("a client that reads nothing is closed when patience ends", closed and took > 2.9, True)
        check("and was not answered beyond a limit", most - before < 150, True)
        print(f"    {sent // len(encoded('GET', 'large')):,} answers of 1 MiB wanted, {most - before:.0f} MiB at most, {took:.1f} s")
    # One that is slow, but not silent, is served to the end.
    with connected(server.port) as patient:
        patient.sendall(encoded("GET", "large") * 100)
        length, begin = 0, time.monotonic()
        while length < 100 * len(b"$1048576\r\n" + b"x" * (1 << 20) + b"\r\n"):
            part = patient.recv(1 << 20)
            check_quietly(part != b"")
            length += len(part)
            if time.monotonic() - begin < 5:
                time.sleep(0.1)
        check("a slow one gets all it has asked for", length, 100 * (10 + (1 << 20) + 2))


def hostile(server):
    port = server.port
    before, begin = server.resident_mib(), time.monotonic()
    # A length is a claim, and a claim costs nothing.
    claims = [connected(port) for _ in range(200)]
    for n, claim in enumerate(claims):
        claim.sendall([b"*1048576\r\n", b"*1\r\n$67108864\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$60000000\r\nabc", b"GET half"][n % 4])
    check("others are served meanwhile", talk(port, b"PING\r\n", 7), b"+PONG\r\n")
    check("claims cost no memory", server.resident_mib() - before < 30, True)
    idle = connected(port)
    check("half a command and silence is closed", [rest(claim) for claim in claims], [b""] * 200)
    check("after its time", 2 < time.monotonic() - begin < 25, True)
    for claim in claims:
        claim.close()
    idle.sendall(b"PING\r\n")
    check("whole silence is not", idle.recv(7), b"+PONG\r\n")
    idle.close()

    rng = random.Random(SEED)
    for n in range(300):
        noise = rng.randbytes(rng.choice([1, 10, 1000, 100_000]))
        if n % 2:  # nearly right: a command with some bytes changed
            noise = bytearray(encoded("SET", "a", rng.randbytes(50)) * 20)
            for _ in range(3):
                noise[rng.randrange(len(noise))] = rng.choice(b"*$\r\n-0123456789x")
        with connected(port) as stream, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stream.sendall(noise)
            if n % 3 == 0:
                stream.shutdown(socket.SHUT_WR)
                rest(stream)
    check("after 300 noisy clients it answers", talk(port, b"PING\r\n", 7), b"+PONG\r\n")

    # Lines of nothing are not kept until a command comes.
    before = server.resident_mib()
    with connected(port) as stream:
        stream.sendall(b"\r\n" * 10_000_000 + b"PING\r\n")
        check("after ten million empty lines it answers", stream.recv(7), b"+PONG\r\n")
        check("and has kept none", server.resident_mib() - before < 5, True)

    # In one byte each: the same, and no slower than it has to be.
    with connected(port) as stream:
        for byte in encoded("SET", "a", "x" * 1000):
            stream.sendall(bytes([byte]))
        check("a command byte by byte", stream.recv(5), b"+OK\r\n")

    # A pipeline that is sent before anything is read, as clients do it.
    with redis.Redis(port=port) as client:
        client.set("page", b"x" * 10_000)
        pipeline = client.pipeline(transaction=False)
        for _ in range(2000):
            pipeline.get("page")
            pipeline.set("copy", b"y" * 10_000)
        check("20 MB each way in one pipeline", len(pipeline.execute()), 4000)
        client.flushall()


def the_end(server):
    """SIGTERM: what has arrived is answered, and nobody waits for idle clients."""
    idle, busy = connected(server.port), connected(server.port)
    busy.sendall(encoded("LPUSH", "end", *["x" * 1000] * 2000) + encoded("LRANGE", "end", "0", "-1"))
    busy.recv(1)
    begin = time.monotonic()
    code = []
    waiter = threading.Thread(target=lambda: code.append(server.asked_to_end()), daemon=True)
    waiter.start()
    check("what was asked before the end is answered", len(rest(busy)), len(b":2000\r\n*2000\r\n") - 1 + 2000 * (7 + 1000 + 2))
    check("an idle one is closed", rest(idle), b"")
    busy.close()
    idle.close()
    waiter.join(30)
    check("and the exit is clean, and soon", (code, time.monotonic() - begin < 9), ([0], True))


def places(port):
    inside = [connected(port) for _ in range(3)]
    for stream in inside:
        stream.sendall(b"PING\r\n")
        check_quietly(stream.recv(7) == b"+PONG\r\n")
    check("one more than there are places is told so", until_closed(port, b""), b"-ERR max number of clients reached\r\n")
    inside.pop().close()
    eventually("a place that is free again is given", lambda: answers(port))


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    main(pathlib.Path(sys.argv[1]))
