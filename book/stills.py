"""No widgets in the built book, where nobody can move them: chapters that the build runs draw their stills alone."""

import os

from relmem_lite.figures.explore import STILL


def setup(app):
    os.environ[STILL] = "1"  # the kernels that the build starts inherit it
    return {"parallel_read_safe": True, "parallel_write_safe": True}
