#!/usr/bin/env python3
"""Starts an echo server, has so many connections send so many messages each, and ends it: echo.py CONNECTIONS MESSAGES COMMAND..."""

import selectors
import signal
import socket
import subprocess
import sys


def main():
    connections, messages = int(sys.argv[1]), int(sys.argv[2])
    server = subprocess.Popen([*sys.argv[3:], "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[-1].rsplit(":", 1)
        drive((address[0], int(address[1])), connections, messages)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    print(f"echo: {connections} connections sent {messages} messages each, and every byte came back")


def drive(address, connections, messages):
    """All at once: each sends its next message when the last one is back."""
    selector = selectors.DefaultSelector()
    for n in range(connections):
        peer = Peer(socket.create_connection(address), n, messages)
        selector.register(peer.socket, selectors.EVENT_READ, peer)
        peer.send()
    left = connections
    while left:
        ready = selector.select(timeout=60)
        if not ready:
            sys.exit(f"echo: {left} connections wait for an answer that does not come")
        for key, _ in ready:
            if key.data.receive():
                selector.unregister(key.fileobj)
                key.data.end()
                left -= 1


class Peer:
    def __init__(self, stream, n, messages):
        self.socket, self.n, self.left, self.waits_for = stream, n, messages, b""

    def send(self):
        # From a byte to a few kilobytes, so that a message is one read of the server's, or several.
        self.waits_for = bytes((self.n + self.left + k) % 256 for k in range(1 + self.n * 37 % 6000 * (self.left % 3) // 2))
        self.socket.sendall(self.waits_for)

    def receive(self):
        got = self.socket.recv(65536)
        if not got or not self.waits_for.startswith(got):
            sys.exit(f"echo: connection {self.n} got other bytes than it sent")
        self.waits_for = self.waits_for[len(got):]
        if not self.waits_for:
            self.left -= 1
            if self.left:
                self.send()
        return self.left == 0

    def end(self):
        # Some by a reset, the others by an end.
        if self.n % 4 == 0:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


main()
