"""Processes: how many train one run together, which of them speaks, and which of them Ctrl-C is for."""

import atexit
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

import torch

from relmem_lite.training.settings import TrainingBudget

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def launched_by_torchrun() -> bool:
    """Say whether torchrun started this process, perhaps beside others."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def is_first_process() -> bool:
    """Say whether this is the one process, or the first of those that train together, which speaks for all."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return _number("RANK") == 0 if launched_by_torchrun() else is_first_on_machine()


def is_first_on_machine() -> bool:
    """Say whether this is the first process on its machine, which speaks for it when something is wrong."""
    # torchrun sets it, and lightning_fabric for the processes that it starts.
    return _number("LOCAL_RANK") == 0


def processes(settings: TrainingBudget) -> tuple[int, int]:
    """Return how many processes train a run: on each machine, and on how many machines.

    torchrun decides if it started this process; else the settings' `devices` do, on one machine.

    Raises:
        ValueError: so many cannot share a batch, or have no device each.
    """
    each, machines = settings.devices, 1
    if launched_by_torchrun():
        if settings.devices > 1:
            raise ValueError(
                f"devices is {settings.devices}, but torchrun started {_number('WORLD_SIZE')} processes, one a device: "
                "leave devices out."
            )
        each = _number("LOCAL_WORLD_SIZE")
        machines = _number("WORLD_SIZE") // each
        if each * machines != _number("WORLD_SIZE") or machines != _number("GROUP_WORLD_SIZE"):
            raise ValueError(
                f"torchrun started {_number('WORLD_SIZE')} processes on {_number('GROUP_WORLD_SIZE')} machines, {each} "
                "of them here: give every machine the same --nproc-per-node."
            )
    if settings.batch_size % (each * machines):
        raise ValueError(
            f"batch_size must be a multiple of the number of processes, got {settings.batch_size} and "
            f"{each * machines}: each takes an equal share of a batch."
        )
    kind, have = _devices_here(settings.accelerator)
    if have is not None and each > have:
        raise ValueError(
            f"{each} processes on this machine need a device each, and there are {have} of kind {kind}: "
            f"try {have}, or accelerator cpu."
        )
    return each, machines


def make_fabric(settings: TrainingBudget) -> "Fabric":
    """Return what the processes of a run share work through, not launched yet.

    Raises:
        ValueError: as `processes`.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    each, machines = processes(settings)
    if each * machines > 1:
        _forget_earlier_attempts(settings.accelerator)
    # Which weights a batch touches can depend on its tokens (an adaptive softmax), and so on a process's share.
    strategy = "auto" if each * machines == 1 else DDPStrategy(find_unused_parameters=True)
    return Fabric(
        accelerator=settings.accelerator,
        strategy=strategy,
        devices=each,
        num_nodes=machines,
        precision=settings.precision,
    )


def _forget_earlier_attempts(accelerator: str) -> None:
    """Meet under a new name when torchrun starts its processes again, as it does for `--max-restarts`.

    PyTorch keeps what the processes told one another at the first attempt, addresses of dead ones, and processes that
    read it wait for ever (https://github.com/pytorch/pytorch/issues/135712). Machines count attempts each for itself,
    so there only one of them can be helped.
    """
    attempt = _number("TORCHELASTIC_RESTART_COUNT")
    if not attempt or _number("GROUP_WORLD_SIZE") > 1 or torch.distributed.is_initialized():
        return
    store, rank, world_size = next(torch.distributed.rendezvous("env://"))
    torch.distributed.init_process_group(
        "nccl" if _devices_here(accelerator)[0] == "cuda" else "gloo",
        store=torch.distributed.PrefixStore(f"attempt-{attempt}", store),
        rank=rank,
        world_size=world_size,
    )
    atexit.register(torch.distributed.destroy_process_group)


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Let Ctrl-C wait; in a process that is started meanwhile, until it calls `take_ctrl_c`.

    Ctrl-C in a terminal reaches every process there, and one that is still importing would die with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # multiprocessing starts it with the first queue or process, and lets signals through when it has.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_ctrl_c(handler: Callable | signal.Handlers) -> None:
    """Handle Ctrl-C from now on, and one that has waited since this process was started."""
    signal.signal(signal.SIGINT, handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _number(variable: str) -> int:
    return int(os.environ.get(variable, "0"))


def _devices_here(accelerator: str) -> tuple[str, int | None]:
    """Return the kind of device that is taken, and how many there are; None where any number of processes fits."""
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return "mps", 1
    if accelerator == "cuda" or (accelerator == "auto" and torch.cuda.is_available()):
        return "cuda", torch.cuda.device_count()
    return "cpu", None
