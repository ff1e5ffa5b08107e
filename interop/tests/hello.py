"""`hello`, the server of the documentation: keep-alive, many at once, a client that is cut off, and one that is slow."""
# programs: hello
# needs: curl

import pathlib
import socket
import subprocess
import sys
import time

from lib.program import Program, check, eventually


def curl(*arguments):
    return subprocess.run(["curl", "-sS", "--max-time", "60", *arguments], capture_output=True, text=True)


def main(folder):
    with Program(folder, "hello", "127.0.0.1:0") as server:
        url = f"http://{server.host}:{server.port}"
        check("an answer", curl(f"{url}/a").stdout, "hello from /a\n")

        kept = curl("-w", "%{num_connects} ", *[f"{url}/{n}" for n in range(100)])
        answers = [line.split(" ", 1)[-1] if n else line for n, line in enumerate(kept.stdout.splitlines())]
        check("a hundred answers", answers[:100], [f"hello from /{n}" for n in range(100)])
        check("on one connection", sum(int(line.split(" ")[0]) for line in kept.stdout.splitlines()[1:]), 1)

        many = [subprocess.Popen(["curl", "-sS", "--max-time", "60", f"{url}/{n}"], stdout=subprocess.PIPE) for n in range(50)]
        check("fifty clients at once", [it.communicate()[0] for it in many], [b"hello from /%d\n" % n for n in range(50)])

        # Slowloris: the headers never end, though a byte comes now and then.
        begin = time.monotonic()
        slow = socket.create_connection((server.host, server.port))
        slow.settimeout(1)
        slow.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")
        cut = False
        while not cut and time.monotonic() - begin < 60:
            try:
                slow.sendall(b"x")
                cut = slow.recv(1000) == b""
            except TimeoutError:
                check("others are served meanwhile", curl(f"{url}/b").stdout, "hello from /b\n")
            except (BrokenPipeError, ConnectionResetError):
                cut = True
        took = time.monotonic() - begin
        check("slow headers are cut off after ten seconds", cut and 9 < took < 30, True)

        # A client that goes away in the middle harms nobody.
        with socket.create_connection((server.host, server.port)) as gone:
            gone.sendall(b"GET / HT")
        check("an answer after that", curl(f"{url}/c").stdout, "hello from /c\n")
        eventually("each of the two is told of", lambda: len(server.said().splitlines()), 2)
    print(f"153 requests and two bad clients; the slow one was cut after {took:.1f} s")


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    main(pathlib.Path(sys.argv[1]))
