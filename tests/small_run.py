"""A run small enough for a test, and one that kills its process at a chosen moment, as a power cut would."""

import os
import signal
from pathlib import Path

import torch

from relmem_lite import RelationalMemory, models
from relmem_lite.models import SequenceModel
from relmem_lite.tasks import Comparison
from relmem_lite.training import TrainingSettings, train
from relmem_lite.training.files import os as files_os


def small_settings(**changes):
    defaults = {"steps": 12, "batch_size": 8, "eval_every": 4, "eval_samples": 16, "accelerator": "cpu"}
    return TrainingSettings(**defaults | changes)


class NoisyHead(torch.nn.Module):
    """Dropout before the head: its noise must be the same after a resumption."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, outputs):
        return self.head(torch.nn.functional.dropout(outputs, 0.2, self.training))


def small_model(seed=0):
    torch.manual_seed(seed)
    core = RelationalMemory(Comparison(2).input_size, num_slots=2, num_heads=2, head_size=3)
    model = SequenceModel(core, 2, (5,))
    model.head = NoisyHead(model.head)
    return model


def small_train(directory=None, model=None, **changes):
    settings = small_settings(**changes)
    return train(model or small_model(), Comparison(2), settings, directory=directory, progress=False)


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def call_then(function, count, before=None, after=None):
    """Wrap `function` so that its call number `count` is preceded or followed by something else."""
    calls = 0

    def wrapped(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == count and before:
            before()
        result = function(*arguments, **options)
        if calls == count and after:
            after()
        return result

    return wrapped


def main(directory: str, moment: str) -> None:
    torch.set_num_threads(1)
    if moment == "in the middle of a step":
        models.cross_entropy = call_then(models.cross_entropy, 7, after=die)
    elif moment == "before the first checkpoint":
        models.cross_entropy = call_then(models.cross_entropy, 3, after=die)
    elif moment == "half-way through writing a checkpoint":
        files_os.fsync = call_then(files_os.fsync, 3, before=die)  # a save syncs its file and its folder
    elif moment == "before a checkpoint gets its name":
        files_os.replace = call_then(files_os.replace, 2, before=die)
    elif moment == "after a checkpoint got its name":
        files_os.replace = call_then(files_os.replace, 2, after=die)
    elif moment == "while old checkpoints are removed":
        Path.unlink = call_then(Path.unlink, 4, before=die)
    elif moment == "before the record gets its name":
        files_os.replace = call_then(files_os.replace, 4, before=die)
    small_train(directory)
