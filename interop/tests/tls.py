"""`tls` and `tls_client`: both versions of TLS and of HTTP, bodies of 64 MiB, resumed sessions, ends, and bad clients of every kind."""
# programs: tls tls_client
# needs: curl openssl h2load=nghttp2-client

import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from lib.program import Program, check, eventually

SIZE = 64 << 20
PIECE = bytes(range(251))

COMPLAINTS = [
    # Cut in the middle of what it had sent back.
    "error from user's Body stream: error reading a body from connection: peer closed connection without sending TLS close_notify",
    # It took nothing of its answer, until the kernel gave it up.
    "error writing a body to connection: Connection timed out (os error 110)",
    "http2 error: keep-alive timed out: operation timed out",
    "no handshake in time",
    "no handshake in time",
    "no request in time",
    "no request in time",
    "read header from client timeout",
    "received corrupt message of type InvalidContentType",
    "received fatal alert: UnknownCA",
    "received fatal alert: UnknownCA",
]


def run(*command, send=None):
    return subprocess.run([str(word) for word in command], input=send, capture_output=True, timeout=120)


def curl(*arguments):
    return run("curl", "-sS", "--max-time", "100", *arguments).stdout


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def context(ca, *alpn):
    made = ssl.create_default_context(cafile=ca)
    made.set_alpn_protocols(alpn)
    return made


def connect(server, made):
    stream = socket.create_connection((server.host, server.port), 30)
    return made.wrap_socket(stream, server_hostname="localhost", suppress_ragged_eofs=False)


def rest(stream):
    """All until the end, which has to be one of TLS: a bare end of TCP is an error here."""
    read = b""
    while piece := stream.recv(1 << 16):
        read += piece
    return read


def bodies(url, ca, folder):
    sent = folder / "sent"
    sent.write_bytes(os.urandom(SIZE))
    for http in ("--http1.1", "--http2"):
        back = folder / "back"
        curl(http, "--cacert", ca, "-H", "expect:", "--data-binary", f"@{sent}", "-o", back, url)
        check(f"64 MiB there and back, {http}", digest(back), digest(sent))
    expected = hashlib.sha256((PIECE * (SIZE // 251 + 1))[:SIZE]).hexdigest()
    for http in ("--http1.1", "--http2"):
        curl(http, "--cacert", ca, "-o", back, f"{url}{SIZE}")
        check(f"64 MiB from the server, {http}", digest(back), expected)


def answers_before_the_end(url, ca, folder):
    """A big request that nobody wants is answered, and the answer is not lost in a reset."""
    for http, size in (("--http1.1", SIZE), ("--http2", 500_000)):
        with open(folder / "sent", "r+b") as file:
            file.truncate(size)
        codes = [
            curl(http, "--cacert", ca, "-H", "expect:", "--data-binary", f"@{folder / 'sent'}", "-o", "/dev/null", "-w", "%{http_code}", url + "none")
            for _ in range(20)
        ]
        check(f"20 requests of {size} bytes for nothing, {http}", set(codes), {b"404"})


def peak_mib(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def versions(server, ca, folder):
    request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        def s_client(*arguments):
            to = ["-connect", f"{server.host}:{server.port}", "-CAfile", ca, "-verify_return_error", "-ign_eof"]
            return run("openssl", "s_client", version, *to, "-alpn", "http/1.1", *arguments, send=request).stdout.decode()

        kept = folder / f"session{version}"
        first, second = s_client("-sess_out", kept), s_client("-sess_in", kept)
        spoken = name.replace(".", "_")
        check(f"{name} with a client of OpenSSL", f"\nHTTP/1.1 over {spoken}\n" in first, True)
        check(f"{name}: the certificate is verified", "Verify return code: 0 (ok)" in first, True)
        check(f"{name}: ALPN", re.findall("ALPN protocol: (.*)", first), ["http/1.1"])
        check(f"{name}: a session is new", re.findall("^(New|Reused), (TLS.*), C", first, re.M), [("New", name)])
        check(f"{name}: and then resumed", re.findall("^(New|Reused), (TLS.*), C", second, re.M), [("Reused", name)])
        check(f"{name}: and is served", f"\nHTTP/1.1 over {spoken}\n" in second, True)


def ends(server, ca):
    made = context(ca, "http/1.1")
    with connect(server, made) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        check("the server says that it ends", rest(stream).endswith(b"\r\n\r\nHTTP/1.1 over TLSv1_3\n"), True)

    with connect(server, made) as stream:
        stream.sendall(b"CONNECT elsewhere:1 HTTP/1.1\r\nhost: x\r\n\r\n")
        check("a request without a path", stream.recv(1 << 16)[:12], b"HTTP/1.1 404")

    # The client says that it ends, and after that still waits for its answer.
    plain = socket.create_connection((server.host, server.port), 30)
    got, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = made.wrap_bio(got, to_send, server_hostname="localhost")

    def step(what, *arguments):
        while True:
            try:
                return what(*arguments)
            except ssl.SSLWantReadError:
                if to_send.pending:
                    plain.sendall(to_send.read())
                received = plain.recv(1 << 16)
                got.write(received) if received else got.write_eof()

    step(tls.do_handshake)
    tls.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    tls.write(b"6\r\nhello\n\r\n0\r\n\r\n")
    try:
        tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    plain.sendall(to_send.read())
    plain.shutdown(socket.SHUT_WR)
    answer = b""
    try:
        while piece := step(tls.read, 1 << 16):
            answer += piece
    except ssl.SSLZeroReturnError:
        pass
    check("who has said all still gets the answer", b"hello\n" in answer, True)
    plain.close()

    # In the middle of a body the connection ends, but nobody has said so.
    stream = connect(server, made)
    stream.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhello")
    stream.recv(1000)
    bare = socket.socket(fileno=stream.detach())
    bare.shutdown(socket.SHUT_WR)
    bare.settimeout(30)
    while bare.recv(1 << 16):
        pass
    bare.close()


def bad_clients(server, ca, url):
    """Those who say nothing, not enough, or too slowly, all at once; the server has ten seconds' patience with each."""
    begin = time.monotonic()
    silent = socket.create_connection((server.host, server.port))
    slow = socket.create_connection((server.host, server.port))
    slow.sendall(b"\x16\x03\x01\x02\x00\x01")
    no_headers = connect(server, context(ca, "http/1.1"))
    no_preface = connect(server, context(ca, "h2"))
    no_request = connect(server, context(ca, "h2"))
    check("HTTP/2 is agreed", no_request.selected_alpn_protocol(), "h2")
    no_request.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4" + bytes(5))
    no_answer = connect(server, context(ca, "h2"))
    request = b"\x82\x87\x84\x41\x01x"  # GET https://x/
    no_answer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4" + bytes(5) + b"\0\0\6\1\5\0\0\0\1" + request)
    bad = {
        "no handshake": silent, "a slow handshake": slow, "no headers": no_headers, "no preface": no_preface,
        "no request": no_request, "no answer to a ping": no_answer,
    }  # fmt: skip
    garbage = socket.create_connection((server.host, server.port), 30)
    garbage.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    refusal = garbage.recv(1000)
    check("what is not TLS gets an alert", refusal[:1], b"\x15")
    garbage.close()
    gone, meanwhile = {}, []
    for stream in bad.values():
        stream.setblocking(False)
    while len(gone) < len(bad) and time.monotonic() - begin < 50:
        time.sleep(0.5)
        if "a slow handshake" not in gone:
            try:
                slow.send(b"\0")
            except OSError:
                pass
        meanwhile.append(curl("--cacert", ca, url))
        for name, stream in bad.items():
            if name not in gone and is_gone(stream):
                gone[name] = time.monotonic() - begin
    check("others are served meanwhile", set(meanwhile), {b"HTTP/2.0 over TLSv1_3\n"})
    for name in bad:
        after = gone.get(name, 99) - (10 if name == "no answer to a ping" else 0)  # It is asked after ten seconds.
        check(f"{name}: cut, but not at once", 8 < after < 25, True)
    for stream in bad.values():
        stream.close()
    return gone


def is_gone(stream):
    try:
        while stream.recv(1 << 16):
            pass
        return True
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def load(url, ca):
    figures = []
    for name, arguments in (("HTTP/2", ["-m", "10"]), ("HTTP/1.1", ["--h1"])):
        said = run("h2load", "-n", "20000", "-c", "50", *arguments, url).stdout.decode()
        done = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored", said)
        check(f"20,000 requests of {name} on 50 connections", done and done.groups(), ("20000", "20000", "0", "0"))
        figures.append(f"{name} {float(re.search(r', ([0-9.]+) req/s', said).group(1)):.0f} requests/s")
    return figures


def the_client(programs, server, ca, folder):
    def ask(ca, to, path):
        said = run(programs / "tls_client", ca, to, path)
        return said.returncode, said.stdout, said.stderr.decode()

    check("our client", ask(ca, f"localhost:{server.port}", "/"), (0, b"HTTP/2.0 over TLSv1_3\n", ""))
    check("our client: a long answer", ask(ca, f"localhost:{server.port}", "/1000000")[1], (PIECE * 4000)[:1000000])
    check("our client: nothing there", "404" in ask(ca, f"localhost:{server.port}", "/none")[2], True)

    def made(name):
        key, cert = folder / f"{name}.key", folder / f"{name}.pem"
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        what = ["-config", "/dev/stdin", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
        done = run(*new, "-keyout", key, "-out", cert, *what, send=b"[req]\ndistinguished_name = name\n[name]\n")
        if done.returncode:
            sys.exit(done.stderr.decode())
        return key, cert

    other_key, other = made("localhost")
    status, _, error = ask(other, f"localhost:{server.port}", "/")
    check("our client trusts nobody else", (status, "UnknownIssuer" in error or error), (1, True))
    wrong_key, wrong = made("example.org")
    # The server again, with a certificate and key from files; and one of OpenSSL, which knows nothing of ALPN.
    with Program(programs, "tls", "127.0.0.1:0", "--cert", other, "--key", other_key) as second:
        check("a certificate from files", curl("--cacert", other, f"https://localhost:{second.port}/"), b"HTTP/2.0 over TLSv1_3\n")
    with Program(programs, "tls", "127.0.0.1:0", "--cert", wrong, "--key", wrong_key) as third:
        status, _, error = ask(wrong, f"localhost:{third.port}", "/")
        check("our client: the name must be the certificate's", (status, "NotValidForName" in error or error), (1, True))
    with openssl_server(other, other_key) as port:
        status, page, error = ask(other, f"localhost:{port}", "/")
        check("our client, a server of OpenSSL", (status, b"TLSv1.3" in page, error), (0, True, ""))


@contextlib.contextmanager
def openssl_server(cert, key):
    what = ["-cert", cert, "-key", key, "-accept", "127.0.0.1:0", "-www"]
    server = subprocess.Popen(["openssl", "s_server", *what], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        for line in server.stdout:
            if line.startswith("ACCEPT "):
                break
        yield int(line.rpartition(":")[2])
    finally:
        server.kill()
        server.wait()


def main(programs):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        ca = folder / "ca.pem"
        with Program(programs, "tls", "127.0.0.1:0", "--self-signed", ca) as server:
            base = server.descriptors()
            # It asks for a billion bytes, and takes none.
            stalled = connect(server, context(ca, "http/1.1"))
            stalled.sendall(b"GET /1000000000 HTTP/1.1\r\nhost: x\r\n\r\n")
            url = f"https://localhost:{server.port}/"
            check("HTTP/1.1", curl("--http1.1", "--cacert", ca, url), b"HTTP/1.1 over TLSv1_3\n")
            check("HTTP/2", curl("--http2", "--cacert", ca, url), b"HTTP/2.0 over TLSv1_3\n")
            check("the client has to trust us", run("curl", "-sS", url).returncode, 60)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                bad = pool.submit(bad_clients, server, ca, url)
                bodies(url, ca, folder)
                answers_before_the_end(url, ca, folder)
                versions(server, ca, folder)
                ends(server, ca)
                the_client(programs, server, ca, folder)
                gone = bad.result()
            complaints = lambda: sorted(line.split(": ", 1)[1].split(": https:")[0] for line in server.said().splitlines())
            eventually("each bad client is told of, and no other", complaints, COMPLAINTS)
            figures = load(url, ca)
            peak = peak_mib(server)
            check("no body was ever in memory as a whole", peak < 48, True)
            eventually("every descriptor is closed again", server.descriptors, base)
            # Whoever has all its answers may close while we say goodbye: h2load does so, now and then.
            lasting = [it for it in complaints() if it != "connection error: broken pipe"]
            check("and of the load nobody, but who did not wait for our goodbye", lasting, COMPLAINTS)
    took = ", ".join(f"{name} {when:.1f} s" for name, when in gone.items())
    print(f"{', '.join(figures)}; {peak:.0f} MiB at most; cut after: {took}")


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    main(pathlib.Path(sys.argv[1]))
