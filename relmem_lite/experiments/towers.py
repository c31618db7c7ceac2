"""Cores that an experiment compares by name, and towers of them, such as "lstm" or "min_gru+attention"."""

from relmem_lite.core import Core
from relmem_lite.cores import CORES, find_core
from relmem_lite.experiments.experiment import some
from relmem_lite.models import SequenceModel, stacked_model
from relmem_lite.tasks import Task


def build_core(name: str, input_size: int, width: int) -> Core:
    """Return a core of a width as experiments compare it: an LSTM with its forget gate open, by a bias of 1.

    So starts the relational memory's.
    """
    options = {"forget_bias": 1.0} if name == "lstm" else {}
    return find_core(name).of_width(input_size, width, **options)


def check_towers(setting: str, names: tuple[str, ...]) -> None:
    """Refuse a setting that holds no towers, one twice, or one with a core that there is not.

    Raises:
        ValueError: as `some`; the message gives the nearest core.
    """
    some(setting, names)
    some(setting, tuple({core for name in names for core in name.split("+")}), CORES, "core")


def tower(name: str, depth: int) -> list[str]:
    """Return the blocks that a name stands for: "a+b" for a below b, "a" for `depth` times a."""
    names = name.split("+")
    return names if len(names) > 1 else names * depth


def tower_model(name: str, depth: int, task: Task, parameters: int) -> SequenceModel:
    """Return a model for a task: the blocks of `tower`, at about so many parameters in all."""
    made = [_open_lstm if core == "lstm" else core for core in tower(name, depth)]
    return stacked_model(made, task, parameters)


def _open_lstm(width: int) -> Core:
    return build_core("lstm", width, width)
