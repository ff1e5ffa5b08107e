"""An echo server in Rust, inside Python's event loop. What it is, and how to run it, is said in lib.rs beside this."""

import asyncio
import ctypes
import pathlib
import sys


def load(path):
    """The functions of lib.rs, with their types."""
    library = ctypes.CDLL(str(path))
    server = ctypes.c_void_p
    for name, arguments, result in [
        ("waken_new", [ctypes.c_uint16], server),
        ("waken_fd", [server], ctypes.c_int),
        ("waken_port", [server], ctypes.c_uint16),
        ("waken_turn", [server], ctypes.c_int),
        ("waken_free", [server], None),
    ]:
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


async def ticker():
    """Something of Python's own, which must not suffer."""
    ticks = 0
    while True:
        for _ in range(10):
            await asyncio.sleep(0.1)
            ticks += 1
        print(f"Python has ticked {ticks} times", flush=True)


async def main(port, path):
    waken = load(path)
    server = waken.waken_new(port)
    if not server:
        sys.exit(1)  # It has said why.
    loop, failed = asyncio.get_running_loop(), asyncio.Event()

    def turn():
        if waken.waken_turn(server) != 0:
            failed.set()

    fd = waken.waken_fd(server)
    loop.add_reader(fd, turn)  # That is all.
    print(f"listening on 127.0.0.1:{waken.waken_port(server)}", flush=True)
    ticking = asyncio.create_task(ticker())
    try:
        await failed.wait()
    finally:
        ticking.cancel()
        loop.remove_reader(fd)
        waken.waken_free(server)


if __name__ == "__main__":
    built = pathlib.Path(__file__).resolve().parents[2] / "target/debug/examples/libasyncio.so"
    arguments = dict(enumerate(sys.argv))
    try:
        asyncio.run(main(int(arguments.get(1, 7004)), arguments.get(2, built)))
    except KeyboardInterrupt:
        pass
