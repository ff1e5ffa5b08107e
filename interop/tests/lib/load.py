"""`load`, in the background: what it has seen is there when it is ended."""

import json
import signal
import socket
import subprocess


class Load:
    def __init__(self, folder, port, *arguments):
        self.process = subprocess.Popen(
            [f"{folder}/load", f"127.0.0.1:{port}", "--seconds", "600", *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )

    def ended(self):
        """Lets it finish what it has sent, and returns its report."""
        self.process.send_signal(signal.SIGTERM)
        return json.loads(self.process.communicate(timeout=120)[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def listening():
    """A listener for programs that are handed one."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    return listener
