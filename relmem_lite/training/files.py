"""Files that are either whole or not there."""

import json
import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` so that a reader, or a crash at any moment, sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, value: dict) -> None:
    """Write a JSON file atomically. NaN and infinity, which JSON lacks, are refused with ValueError."""
    write_atomically(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())
