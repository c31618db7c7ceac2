"""A run whose batches another process draws, which waits at a chosen moment until it may go on; as a script."""

import os
import sys
import threading
from pathlib import Path


def wait_for_leave(moment):
    folder = Path(os.environ["FOLDER"])
    if os.environ["MOMENT"] == moment:
        (folder / "here").touch()
        while not (folder / "go on").exists():
            threading.Event().wait(0.05)


if __name__ == "__mp_main__":
    wait_for_leave("it starts")

from relmem_lite.tasks import Comparison  # noqa: E402


class DrawnElsewhere(Comparison):
    def training_batch(self, batch_size, generator, step, steps):
        wait_for_leave("it draws the first batch")
        return super().training_batch(batch_size, generator, step, steps)


def main():
    from small_run import small_model, small_settings

    from relmem_lite.training import train

    settings = small_settings(steps=1_000_000, eval_every=1_000_000, data_workers=1)
    try:
        train(small_model(), DrawnElsewhere(2), settings, directory=Path(os.environ["FOLDER"]) / "run", progress=False)
    except KeyboardInterrupt as stopped:
        print(stopped)
        sys.exit(130)


if __name__ == "__main__":
    main()
