"""`deployed` twice behind HAProxy, then behind nginx, with the configurations of docs/deploying.md: rolling restarts under load, and a kill -9."""
# programs: deployed load
# needs: curl haproxy nginx

import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from lib.load import Load, listening
from lib.program import Program, check, eventually, free_port

HERE = pathlib.Path(__file__).resolve().parent
RATE = 1500  # Of each of two loads.
ROUNDS = 2  # In each of which both are restarted.


def main(folder):
    with tempfile.TemporaryDirectory() as place:
        print("\n".join([behind_haproxy(folder, pathlib.Path(place)), behind_nginx(folder, pathlib.Path(place))]))


class Pair:
    """Two servers, and what systemd is for them: it keeps their listeners."""

    def __init__(self, folder, *arguments):
        self.listeners = [listening(), listening()]
        self.start = lambda listener: Program(folder, "deployed", *arguments, listener=listener)
        self.servers = [self.start(listener) for listener in self.listeners]

    def ports(self):
        return [listener.getsockname()[1] for listener in self.listeners]

    def restart(self, which):
        """Its exit code, and the last that it has said."""
        code = self.servers[which].asked_to_end()
        said = self.servers[which].ended()
        self.servers[which] = self.start(self.listeners[which])
        return code, said.splitlines()[-1]

    def kill(self, which):
        self.servers[which].ended()
        self.servers[which] = self.start(self.listeners[which])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.ended()


class Proxy:
    """One in the foreground, with a configuration of the page: only addresses and paths are filled in."""

    def __init__(self, place, name, filled_in, command):
        text = (HERE.parent / "deploy" / name).read_text()
        for what, by in filled_in.items():
            if what not in text:
                sys.exit(f"{name} has no `{what}` to fill in")
            text = text.replace(what, by)
        (place / name).write_text(text)
        self.log = (place / f"{name}.log").open("w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def until_it_listens(self, port):
        def listens():
            if self.process.poll() is not None:
                self.log.seek(0)
                sys.exit(f"{self.process.args} has ended: {self.log.read()}")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually(f"{self.process.args[0]} listens", listens)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)


def answer(port, *arguments):
    url = f"http://127.0.0.1:{port}/who"
    command = ["curl", "-sS", "--max-time", "20", "--interface", "127.0.0.9", *arguments, url]
    return subprocess.run(command, capture_output=True, text=True).stdout


def under_load(folder, port, what, restart):
    """Runs `restart` while two loads ask, and checks that they have not noticed."""
    with Load(folder, port, "--rate", RATE, "--new") as new, Load(folder, port, "--rate", RATE, "--method", "POST") as kept:
        time.sleep(0.5)
        restart()
        time.sleep(1)
        seen = {"new": new.ended(), "kept": kept.ended()}
    for name, it in seen.items():
        check(f"{what}: {name}: lost", (it["failed"], it["requests"] - it["answered"]), ({}, 0))
        check(f"{what}: {name}: of all instances", len(it["instances"]), 2 * ROUNDS + 2)
    requests = sum(it["requests"] for it in seen.values())
    rate = sum(it["requests"] / it["seconds"] for it in seen.values())
    longest = max(it["longest_ms"] for it in seen.values())
    return f"{what}: {2 * ROUNDS} restarts, {requests} requests at {rate:.0f}/s, 0 lost; the slowest took {longest:.0f} ms"


def behind_haproxy(folder, place):
    port, admin = free_port(), place / "admin.sock"

    def column(name):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(admin))
            asking.sendall(b"show stat\n")
            rows = b"".join(iter(lambda: asking.recv(10000), b"")).decode().splitlines()
        at = rows[0].split(",").index(name)
        return [row.split(",")[at] for row in rows if row.startswith(("waken,one,", "waken,two,"))]

    # Longer than it takes HAProxy to find out: `fall 2`, so two checks, `inter 500ms`, and two seconds more for a busy machine.
    with Pair(folder, "--proxy", "--lame-duck", "3") as pair:
        one, two = pair.ports()
        filled_in = {
            "bind :80": f"bind 127.0.0.1:{port}",
            "/run/haproxy/admin.sock": str(admin),
            "127.0.0.1:7001": f"127.0.0.1:{one}",
            "127.0.0.1:7002": f"127.0.0.1:{two}",
        }
        with Proxy(place, "haproxy.cfg", filled_in, ["haproxy", "-db", "-f", place / "haproxy.cfg"]) as proxy:
            proxy.until_it_listens(port)
            check("HAProxy: whose request it is", answer(port).startswith("/who for 127.0.0.9:"), True)
            forged = answer(port, "-H", "X-Forwarded-For: 192.0.2.1")
            check("HAProxy: whatever it says of itself", forged.startswith("/who for 127.0.0.9:"), True)

            def rolling():
                for which in [0, 1] * ROUNDS:
                    check("HAProxy: a restart", pair.restart(which), (0, "ended: all are served"))
                    eventually("HAProxy finds it healthy", lambda: column("status"), ["UP", "UP"])

            figures = under_load(folder, port, "HAProxy", rolling)
            found = [int(times) >= ROUNDS for times in column("chkdown")]
            check("HAProxy: has found each unhealthy before it ended", found, [True, True])
            check("HAProxy: and has not tried to reach it", (column("wretr"), column("wredis")), (["0", "0"], ["0", "0"]))

            # Killed, with a restart by its supervisor a moment later. Every answer takes 20 ms, so that some are under way.
            with Load(folder, port, "--rate", 1000, "--path", "/slow/20/", "--connections", 64) as load:
                time.sleep(1)
                pair.kill(0)
                time.sleep(2)
                seen = load.ended()
            lost = sum(seen["failed"].values())
            check("HAProxy, kill -9: only what was under way is lost", 0 < lost <= 64, True)
            # Where the server's connection was used before, HAProxy closes the client's, who should try again. Otherwise it says 502.
            kinds = {"status 502", "on a connection used before: no answer: closed"}
            check("HAProxy, kill -9: and that is said", set(seen["failed"]) - kinds, set())
            check("HAProxy, kill -9: all others", seen["answered"], seen["requests"] - lost)
            figures = f"{figures}\nHAProxy, kill -9: {lost} of {seen['requests']} requests lost, all of them under way"

    # By HTTP/2 clients share connections, so that it is a header that says whose request it is.
    with Pair(folder, "--h2c", "--forwarded", "--lame-duck", "3") as pair:
        one, two = pair.ports()
        filled_in |= {"127.0.0.1:7001": f"127.0.0.1:{one}", "127.0.0.1:7002": f"127.0.0.1:{two}"}
        filled_in["send-proxy-v2"] = "proto h2"
        with Proxy(place, "haproxy.cfg", filled_in, ["haproxy", "-db", "-f", place / "haproxy.cfg"]) as proxy:
            proxy.until_it_listens(port)
            check("HAProxy, HTTP/2: whose request it is", answer(port), "/who for 127.0.0.9\n")
            return f"{figures}\n{under_load(folder, port, 'HAProxy, HTTP/2', rolling)}"


def nginx(place, port, ports):
    """The page's file is one of `/etc/nginx/conf.d`: this is what stands around it."""
    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    lines = "".join(f"    {it}_temp_path {place}/{it};\n" for it in folders)
    (place / "whole.conf").write_text(
        f"pid {place}/nginx.pid;\nevents {{ worker_connections 4096; }}\n"
        f"http {{\n    access_log off;\n{lines}    include {place}/nginx.conf;\n}}\n"
    )
    filled_in = {
        "listen 80": f"listen 127.0.0.1:{port}",
        "127.0.0.1:7001": f"127.0.0.1:{ports[0]}",
        "127.0.0.1:7002": f"127.0.0.1:{ports[1]}",
    }
    command = ["nginx", "-e", "stderr", "-c", place / "whole.conf", "-g", "daemon off;"]
    proxy = Proxy(place, "nginx.conf", filled_in, command)
    proxy.until_it_listens(port)
    return proxy


def behind_nginx(folder, place):
    port = free_port()
    with Pair(folder, "--forwarded", "--lame-duck", "0.5") as pair, nginx(place, port, pair.ports()):
        check("nginx: whose request it is", answer(port), "/who for 127.0.0.9\n")
        check("nginx: whatever it says of itself", answer(port, "-H", "X-Forwarded-For: 192.0.2.1"), "/who for 127.0.0.9\n")

        def rolling():
            for which in [0, 1] * ROUNDS:
                check("nginx: a restart", pair.restart(which), (0, "ended: all are served"))

        figures = under_load(folder, port, "nginx", rolling)

    # The trap: each has its own listener, so that nginx is refused while it restarts.
    ports = [free_port(), free_port()]
    servers = [Program(folder, "deployed", f"127.0.0.1:{it}", "--lame-duck", "0") for it in ports]
    with nginx(place, port, ports), Load(folder, port, "--rate", RATE) as load:
        for which in (0, 1):
            time.sleep(0.3)
            servers[which].asked_to_end()
            time.sleep(0.3)
            servers[which] = Program(folder, "deployed", f"127.0.0.1:{ports[which]}", "--lame-duck", "0")
        time.sleep(0.3)
        seen = load.ended()
    for server in servers:
        server.ended()
    lost = sum(seen["failed"].values())
    check("nginx, with listeners of their own: it is noticed", lost > 0, True)
    return f"{figures}\nnginx, with listeners of their own: {lost} of {seen['requests']} requests lost: {seen['failed']}"


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main(pathlib.Path(sys.argv[1]))
