"""Files that are gone when the program ends."""

import itertools
import os
import tempfile

_folder = tempfile.TemporaryDirectory(prefix="waken-bench-")
_number = itertools.count()


def path(name):
    """Where no file is yet."""
    return os.path.join(_folder.name, f"{name}.{next(_number)}")
