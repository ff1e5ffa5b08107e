"""`deployed`: restarted again and again under load, with no request lost; its ends, its limits, its PROXY headers."""
# programs: deployed load
# needs: curl systemd-analyze=systemd systemd-socket-activate=systemd

import fcntl
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from lib.load import Load, listening
from lib.program import Program, at_rest, check, eventually, free_port

HERE = pathlib.Path(__file__).resolve().parent
RATE = 3300  # Of each of two loads, as far as the machine has it.


def main(folder):
    the_end(folder)
    systemd(folder)
    proxy_headers(folder)
    limits(folder)
    figures = [
        restarts(folder, "a listener handed on, and both serve for a while", inherited, overlapping, 20),
        restarts(folder, "a listener handed on, one after the other", inherited, in_turn, 5),
        hasty(folder),
    ]
    print("\n".join(figures), flush=True)
    # In a network of its own, where the kernel may be told what the page tells to tell it.
    alone = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL).returncode:
        print("there is no network of its own here: SO_REUSEPORT as the kernel has it")
        alone = []
    ended = subprocess.run([*alone, sys.executable, __file__, folder, "reuse-port", *alone[:1]], timeout=600)
    sys.exit(ended.returncode)


def with_reuse_port(folder, is_alone):
    migrate = pathlib.Path("/proc/sys/net/ipv4/tcp_migrate_req")
    figures = []
    if is_alone:
        with socket.socket() as any_socket:  # netdevice(7): SIOCSIFFLAGS, IFF_UP
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))
        reset = []
        for value in ("0", "1"):
            migrate.write_text(value)
            reset.append(left_in_the_queue())
        check("SO_REUSEPORT: whom a closed queue loses, with tcp_migrate_req 0 and 1", (reset[0] > 0, reset[1]), (True, 0))
        figures.append(f"SO_REUSEPORT: of 100 clients in two queues {reset[0]} are reset when one is closed; with tcp_migrate_req none")
    what = f"SO_REUSEPORT, tcp_migrate_req {migrate.read_text().strip()}"
    figures.append(restarts(folder, what, reuse_port, overlapping, 20))
    print("\n".join(figures))


def left_in_the_queue():
    """How many clients lose their connection, when one of two listeners is closed with them in its queue."""
    kept, closed = socket.socket(), socket.socket()
    for it in (kept, closed):
        it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        it.bind(("127.0.0.1", 0 if it is kept else kept.getsockname()[1]))
        it.listen(200)
    clients = [socket.create_connection(kept.getsockname()) for _ in range(100)]
    closed.close()
    watched = select.poll()
    for client in clients:
        watched.register(client, 0)  # an error, and a hang-up, are told of in any case
    return len(watched.poll(0))


def ask(port, path, *arguments):
    """What curl says: the status, then the answer."""
    url = f"http://127.0.0.1:{port}{path}"
    command = ["curl", "-sS", "--max-time", "60", "-w", "%{stderr}%{http_code}", *arguments, url]
    answer = subprocess.run(command, capture_output=True, text=True)
    return answer.stderr, answer.stdout


def the_end(folder):
    """Step by step, as the header of `deployed` tells it."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"{place}/notify")
        supervisor.settimeout(60)
        listener = listening()
        told = os.environ | {"NOTIFY_SOCKET": f"{place}/notify"}
        arguments = ["--lame-duck", "4", "--deadline", "6"]
        with Program(folder, "deployed", *arguments, env=told, listener=listener) as server:
            check("READY=1", supervisor.recv(100), b"READY=1")
            base = at_rest(server.descriptors)
            check("healthy", ask(server.port, "/healthz"), ("200", "ready\n"))
            kept = socket.create_connection(("127.0.0.1", server.port))
            idle = socket.create_connection(("127.0.0.1", server.port))
            for it in (kept, idle):
                check("a connection is kept", b"connection: close" in request(it, "/a"), False)
            slow = subprocess.Popen(["curl", "-sS", f"http://127.0.0.1:{server.port}/slow/6000"], stdout=subprocess.PIPE)
            late = subprocess.Popen(["curl", "-sS", f"http://127.0.0.1:{server.port}/slow/60000"], stderr=subprocess.DEVNULL)
            eventually("four clients are there", server.descriptors, base + 4)

            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            check("STOPPING=1", supervisor.recv(100), b"STOPPING=1")
            check("unhealthy", ask(server.port, "/healthz"), ("503", "stopping\n"))
            check("new clients are served nevertheless", ask(server.port, "/b")[0], "200")
            check("an old one is told that it is over", b"connection: close" in request(kept, "/c"), True)
            check("and it is", kept.recv(100), b"")
            idle.settimeout(60)
            check("an idle one is closed", idle.recv(100), b"")
            check("after the lame-duck period", 4 <= time.monotonic() - begin < 10, True)
            # The next one, as it would be: the kernel lets clients in meanwhile.
            waiting = socket.create_connection(("127.0.0.1", server.port))
            check("a slow answer arrives whole", slow.communicate()[0].startswith(b"/slow/6000 for 127.0.0.1:"), True)
            check("the exit code", server.process.wait(60), 0)
            took = time.monotonic() - begin
            check("the slowest is cut at the deadline", 10 <= took < 30 and late.wait(60) != 0, True)
            said = server.ended()
            check("which is said", "ended: the deadline is over" in said, True)
        with Program(folder, "deployed", "--lame-duck", "20", listener=listener) as server:
            check("who came meanwhile is served by the next", b" 200 " in request(waiting, "/d"), True)
            server.process.send_signal(signal.SIGQUIT)
            server.process.send_signal(signal.SIGTERM)
            eventually("it is stopping", lambda: ask(server.port, "/healthz"), ("503", "stopping\n"))
            check("a second signal ends it at once", server.asked_to_end(within_s=15), 0)
            said = server.ended()
            check("SIGQUIT tells who waits", "task 1 `report`" in said and "Metrics {" in said, True)

    with Program(folder, "deployed", "127.0.0.1:0", "--h2c", "--lame-duck", "1") as server:
        two = "--http2-prior-knowledge"
        check("HTTP/2", ask(server.port, "/e", two)[0], "200")
        base = at_rest(server.descriptors)
        slow = subprocess.Popen(["curl", "-sS", two, f"http://127.0.0.1:{server.port}/slow/2000"], stdout=subprocess.PIPE)
        eventually("a client is there", server.descriptors, base + 1)
        check("ends", server.asked_to_end(), 0)
        check("and its slow answer arrives", slow.communicate()[0].startswith(b"/slow/2000 for 127.0.0.1:"), True)


def request(connection, path):
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return connection.recv(10000)


def systemd(folder):
    """The units of the page, with the program as it is here; and a real activation."""
    with tempfile.TemporaryDirectory() as units:
        for unit in ("waken@.service", "waken@.socket"):
            text = (HERE.parent / "deploy" / unit).read_text()
            text = text.replace("/usr/local/bin/deployed", str(folder / "deployed"))
            pathlib.Path(units, unit.replace("@", "@7001")).write_text(text)
        names = [f"{units}/waken@7001.service", f"{units}/waken@7001.socket"]
        # And as the page says it for a server without a proxy: one socket, of which all instances are.
        service = pathlib.Path(names[0]).read_text().replace("Requires=waken@%i.socket", "Requires=waken.socket")
        pathlib.Path(units, "waken@1.service").write_text(service.replace("[Service]", "[Service]\nSockets=waken.socket"))
        activates = "[Socket]\nService=waken@1.service"
        shared = pathlib.Path(names[1]).read_text().replace("127.0.0.1:%i", "7000").replace("[Socket]", activates)
        pathlib.Path(units, "waken.socket").write_text(shared.replace("%i", "7000"))
        names += [f"{units}/waken@1.service", f"{units}/waken.socket"]
        verified = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True)
        check("systemd understands the units", (verified.returncode, verified.stderr), (0, ""))

    port = free_port()
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", folder / "deployed", "--lame-duck", "0"]
    activated = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        answer = ask(port, "/f", "--retry", "20", "--retry-connrefused", "--retry-delay", "1")
        check("systemd-socket-activate hands over", answer[0][-3:], "200")
        check("what is listened on", activated.stdout.readline(), f"listening on 127.0.0.1:{port}\n")
        activated.send_signal(signal.SIGTERM)
        check("and it ends", activated.wait(60), 0)
    finally:
        activated.kill()
        activated.wait()


def proxy_headers(folder):
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    four = struct.pack("!4s4sHH", bytes([192, 0, 2, 7]), bytes([10, 0, 0, 1]), 1234, 80)
    six = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + struct.pack("!HH", 1234, 80)

    def header(command, family, rest):
        return signature + bytes([0x20 | command, family]) + struct.pack("!H", len(rest)) + rest

    def answer(server, first, pause_s=0):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.settimeout(60)
            client.sendall(first[:20])
            time.sleep(pause_s)
            try:
                client.sendall(first[20:] + b"GET /p HTTP/1.1\r\nhost: x\r\n\r\n")
                return client.recv(10000).decode().rpartition("\r\n\r\n")[2]
            except ConnectionError:
                return ""

    with Program(folder, "deployed", "127.0.0.1:0", "--proxy", "--first", "3") as server:
        check("PROXY: IPv4", answer(server, header(1, 0x11, four)), "/p for 192.0.2.7:1234\n")
        check("PROXY: IPv6", answer(server, header(1, 0x21, six)), "/p for [2001:db8::7]:1234\n")
        check("PROXY: with more behind it", answer(server, header(1, 0x11, four + bytes(100))), "/p for 192.0.2.7:1234\n")
        check("PROXY: in two parts", answer(server, header(1, 0x11, four), 0.3), "/p for 192.0.2.7:1234\n")
        check("PROXY: a check's own", answer(server, header(0, 0, b"")).startswith("/p for 127.0.0.1:"), True)
        refused = {
            "none": b"",
            "version 1": b"PROXY TCP4 192.0.2.7 10.0.0.1 1234 80\r\n",
            "too long": header(1, 0x11, four + bytes(1000)),
            "too short": header(1, 0x11, four[:11]),
            "of a Unix socket": header(1, 0x31, bytes(216)),
            "version 3": signature + bytes([0x31, 0x11]) + struct.pack("!H", len(four)) + four,
        }
        for what, first in refused.items():
            check(f"PROXY, refused: {what}", answer(server, first), "")
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", server.port)) as silent:
            silent.settimeout(60)
            silent.sendall(signature)
            check("PROXY, refused: half of one", silent.recv(100), b"")
        check("after its time", 3 <= time.monotonic() - begin < 30, True)
        eventually("each is said", lambda: len(server.said().splitlines()), len(refused) + 1)


def limits(folder):
    short = ["--connections", "2", "--first", "2", "--idle", "8", "--answer", "1"]
    with Program(folder, "deployed", "127.0.0.1:0", *short) as server:
        check("an answer that takes too long", ask(server.port, "/slow/9000"), ("503", "it took too long\n"))
        begin = time.monotonic()
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        for client in clients:
            client.settimeout(60)
        request(clients[0], "/kept")
        clients[2].sendall(b"GET /third HTTP/1.1\r\nhost: x\r\n\r\n")
        check("the third waits", select.select([clients[2]], [], [], 0.5)[0], [])
        check("who says nothing is closed", clients[1].recv(100), b"")
        silent_s = time.monotonic() - begin
        check("and the third has its place", b" 200 " in clients[2].recv(1000), True)
        check("who is idle is closed later", (clients[0].recv(100), clients[2].recv(100)), (b"", b""))
        idle_s = time.monotonic() - begin
        check("each in its time", 2 <= silent_s < 7.9 and 8 <= idle_s < 30, True)
        check("only the silent one is told of", server.ended().partition(": ")[2], "no request in time\n")


# How a server begins, and how the next one takes its place.

PATIENT = ["--lame-duck", "0.2"]
HASTY = ["--lame-duck", "0", "--settle", "0"]


def inherited(folder, arguments):
    listener = listening()
    return lambda: Program(folder, "deployed", *arguments, listener=listener)


def reuse_port(folder, arguments):
    # Bound, and does not listen: it keeps the port for those who come.
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind(("127.0.0.1", 0))
    port = place.getsockname()[1]
    return lambda: place and Program(folder, "deployed", f"127.0.0.1:{port}", "--reuse-port", *arguments)


def overlapping(start, old):
    new = start()
    code = old.asked_to_end()
    return new, (code, old.ended())


def in_turn(start, old):
    code = old.asked_to_end()
    return start(), (code, old.ended())


def restarted(start, replaced, count, folder, slow_millis=300):
    """How each of them ended, and what the loads have seen."""
    server = start()
    try:
        with (
            Load(folder, server.port, "--rate", RATE, "--new") as new,
            Load(folder, server.port, "--rate", RATE, "--method", "POST") as kept,
            Load(folder, server.port, "--rate", 20, "--path", f"/slow/{slow_millis}/") as slow,
        ):
            time.sleep(0.3)
            ends = []
            for _ in range(count):
                server, end = replaced(start, server)
                ends.append(end)
                time.sleep(0.2)  # So that each of them has something to do.
            time.sleep(0.3)
            return ends, {"new": new.ended(), "kept": kept.ended(), "slow": slow.ended()}
    finally:
        check("nothing is said of any client", server.ended(), "")


def restarts(folder, what, how, replaced, count):
    ends, seen = restarted(how(folder, PATIENT), replaced, count, folder)
    check(f"{what}: {count} restarts", ends, [(0, "ended: all are served\n")] * count)
    for name, it in seen.items():
        check(f"{what}: {name}: lost", (it["failed"], it["requests"] - it["answered"]), ({}, 0))
        check(f"{what}: {name}: of all instances", len(it["instances"]), count + 1)
    rates = {name: it["requests"] / it["seconds"] for name, it in seen.items()}
    check(f"{what}: a hundred requests an instance, and more", min(seen[it]["requests"] for it in ("new", "kept")) > 100 * count, True)
    requests = sum(it["requests"] for it in seen.values())
    longest = max(seen["new"]["longest_ms"], seen["kept"]["longest_ms"])
    return (
        f"{what}: {count} restarts, {requests} requests at {sum(rates.values()):.0f}/s, 0 lost; the slowest took {longest:.0f} ms; "
        f"{seen['kept']['announced']} connections ended by announcement, {seen['kept']['closed_between']} without"
    )


def hasty(folder):
    """What all the patience is for; and that the loads notice."""
    for _ in range(5):  # Seldom is anybody as lucky as to lose nothing even once.
        ends, seen = restarted(inherited(folder, HASTY), overlapping, 30, folder, slow_millis=20)
        failed = {f"{name}, {what}": count for name, it in seen.items() for what, count in it["failed"].items()}
        lost, requests = sum(failed.values()), sum(it["requests"] for it in seen.values())
        check("each request that is lost is counted", lost, requests - sum(it["answered"] for it in seen.values()))
        if lost:
            return f"without patience: {len(ends)} restarts, {requests} requests, {lost} lost: {failed}"
    sys.exit("FAILED: without patience no request is lost")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    if "reuse-port" in sys.argv:
        with_reuse_port(pathlib.Path(sys.argv[1]), "unshare" in sys.argv)
    else:
        main(pathlib.Path(sys.argv[1]))
