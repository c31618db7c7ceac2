"""Checkpoints: all that a run needs to go on, in files that cannot run code and are never half-written."""

import hashlib
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from relmem_lite.training.files import write_atomically

FORMAT = "relmem_lite checkpoint 1"
KEPT = 2


class CheckpointError(Exception):
    """A file that is no usable checkpoint of this run; the message says why."""


@dataclass
class Progress:
    """How far a run has come: all of its state besides model and optimiser.

    Batches and dropout are functions of the seed and the step, so no random generator needs to be kept.
    """

    step: int = 0
    curve: list[dict] = field(default_factory=list)
    loss_sum: float = 0.0
    """Sum of the training losses since the last point of the curve, which covers `loss_count` steps."""
    loss_count: int = 0
    seconds: float = 0.0
    state: tuple[Tensor, ...] = ()
    """Parts of the core's state, where the next batch goes on from it."""


def save_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer, progress: Progress, run: dict) -> Path:
    """Write the run's state into `folder`, keep the newest two checkpoints, return the new one's path.

    Args:
        folder: where this run's checkpoints lie.
        model: its weights and buffers are saved.
        optimizer: its state and settings are saved.
        progress: how far the run has come.
        run: what identifies the run (settings, task, model), as JSON; `load_latest` refuses another run's file.

    Raises:
        OSError: the file could not be written whole; those that were there are untouched.
    """
    from safetensors.torch import save

    state = optimizer.state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    scalars: dict[str, dict] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    tensors |= {f"state.{index}": part for index, part in enumerate(progress.state)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    written = {name: value for name, value in vars(progress).items() if name != "state"}
    content = json.dumps({"run": run, "progress": written, "param_groups": state["param_groups"], "scalars": scalars})
    metadata = {"format": FORMAT, "content": content, "digest": _digest(content, tensors)}
    path = folder / f"step-{progress.step:09d}.safetensors"
    write_atomically(path, save(tensors, metadata))
    # Refused files of later steps may lie there too: they are not this run's to count, and never a reason to delete.
    for old in [other for other in checkpoints(folder) if other <= path][KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_latest(folder: Path, model: nn.Module, optimizer: Optimizer, run: dict) -> Progress | None:
    """Restore the newest usable checkpoint of `folder` into model and optimiser; None if there is none at all.

    A checkpoint that is torn, altered or another run's is refused with a warning that says why, and the one before it
    is tried.

    Raises:
        CheckpointError: there are checkpoints, but none of them can be used.
    """
    paths = checkpoints(folder)
    problems = []
    for path in paths:
        try:
            return load_checkpoint(path, model, optimizer, run)
        except CheckpointError as error:
            problems.append(str(error))
            if path != paths[-1]:
                warnings.warn(f"{error} Trying the one before it.", stacklevel=2)
    if problems:
        raise CheckpointError(" ".join(problems) + f" To start afresh, delete {folder} or name another directory.")
    return None


def load_checkpoint(path: Path, model: nn.Module, optimizer: Optimizer, run: dict) -> Progress:
    """Restore one checkpoint into model and optimiser, and return how far the run had come. Executes no code.

    Raises:
        CheckpointError: the file is torn, altered, of another format or of another run; nothing was changed.
    """
    tensors, content = _read(path)
    if content["run"] != run:
        raise CheckpointError(f"{path} belongs to another run: {difference(content['run'], run)}.")
    weights = _weights(tensors)
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in model.state_dict().items()}
    if {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()} != expected:
        raise CheckpointError(f"{path} holds the weights of another model than {type(model).__name__} as built here.")
    state: dict[int, dict] = {int(index): values for index, values in content["scalars"].items()}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": state, "param_groups": content["param_groups"]})
    parts = [name for name in tensors if name.startswith("state.")]
    carried = tuple(tensors[f"state.{index}"] for index in range(len(parts)))
    return Progress(**content["progress"], state=carried)


def load_weights(folder: Path, model: nn.Module, described: dict, labels: dict) -> None:
    """Read the newest usable checkpoint's weights into a model; the rest of the run is left alone.

    Weights of another dtype than the model's are converted. A checkpoint that is torn, altered or another model's is
    refused with a warning that says why, and the one before it is tried.

    Args:
        folder: where the run's checkpoints lie.
        model: what the weights are read into.
        described: what `describe_model` says of it; the run must say the same.
        labels: labels that the run must have, perhaps among others.

    Raises:
        FileNotFoundError: there is no checkpoint.
        CheckpointError: there are checkpoints, but none of them can be used.
    """
    paths = checkpoints(folder)
    if not paths:
        raise FileNotFoundError(f"There is no checkpoint in {folder}.")
    ours, problems = {"model": described, "labels": labels}, []
    for path in paths:
        try:
            tensors, content = _read(path)
            run = content["run"]
            theirs_labels = run.get("labels", {})
            theirs = {"model": run.get("model"), "labels": {name: theirs_labels.get(name) for name in labels}}
            if theirs != ours:
                raise CheckpointError(f"{path} holds the weights of another model: {difference(theirs, ours)}.")
            weights = _weights(tensors)
            expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
            if {name: tensor.shape for name, tensor in weights.items()} != expected:
                raise CheckpointError(f"{path} holds the weights of another model: their shapes are others.")
            model.load_state_dict(weights)
            return
        except CheckpointError as error:
            problems.append(str(error))
            if path != paths[-1]:
                warnings.warn(f"{error} Trying the one before it.", stacklevel=2)
    raise CheckpointError(" ".join(problems))


def _weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: what is read stays mapped to the file, which will be deleted while the run goes on.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is torn or no checkpoint ({error}).") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this library ({FORMAT!r} is missing).")
    if metadata.get("digest") != _digest(metadata.get("content", ""), tensors):
        raise CheckpointError(f"{path} was altered or damaged: its contents do not match its checksum.")
    return tensors, json.loads(metadata["content"])


def _digest(content: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def difference(theirs: dict, ours: dict) -> str:
    """Name what two runs' descriptions disagree on: first what both have, then what only one of them has."""
    flat_theirs, flat_ours = _flatten(theirs), _flatten(ours)
    absent = object()
    differing = [
        name
        for name in sorted(flat_theirs.keys() | flat_ours.keys())
        if flat_theirs.get(name, absent) != flat_ours.get(name, absent)
    ]
    differing.sort(key=lambda name: name not in flat_theirs or name not in flat_ours)
    rows = [
        f"{name} is {flat_theirs.get(name, 'absent')} there, {flat_ours.get(name, 'absent')} here"
        for name in differing[:5]
    ]
    return "; ".join(rows)


def _flatten(value: object, name: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, object] = {}
    for key, part in value.items():
        flat |= _flatten(part, f"{name}.{key}" if name else str(key))
    return flat
