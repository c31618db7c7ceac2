"""The Core contract: a sequence model whose state is passed in and handed back, never hidden."""

import math
from difflib import get_close_matches
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from relmem_lite.recorder import Recording

State = Tensor | tuple[Tensor, ...]
"""What a core keeps between two calls: one tensor, or a tuple of tensors, each with the batch first."""

Shape = tuple[int | None, ...]
"""Shape of a part of the state, for one sequence; None stands for the number of steps so far, as in a KV cache."""


class Core(nn.Module):
    """A sequence model: `outputs, state = core(inputs, state)`.

    Over a whole sequence, in chunks or step by step, a core gives the same numbers and the same gradients. A subclass
    defines `step` and sets `state_shapes`; where it knows a faster way through a sequence it overrides `forward` too.

    Attributes:
        input_size: number of features of one step's input.
        output_size: number of features of one step's output.
        state_shapes: name and shape of each tensor of the state, for one sequence; None in a shape stands for the
            number of steps so far.
        state_type: the named tuple that holds a state of several tensors; None for a plain tuple of them, or for a
            state of one tensor, which stands alone.
        max_time: number of steps that the core has positions for, counted over all that its state has seen; None where
            there is no limit.
    """

    state_type: ClassVar[type | None] = None
    max_time: int | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.state_type is not None:
            # Else torch.load, which opens no file that could run code, would take no saved state of several tensors.
            torch.serialization.add_safe_globals([cls.state_type])

    def __init__(self, input_size: int, output_size: int, state_shapes: dict[str, Shape]):
        super().__init__()
        self.input_size = input_size
        self.output_size = output_size
        self.state_shapes = state_shapes
        self._recordings: list[Recording] = []

    @classmethod
    def of_width(cls, input_size: int, width: int, **options) -> Self:
        """Return a core of a width, in the proportions usual for it: for most, the size of its state and output."""
        return cls(input_size, width, **options)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over a sequence.

        Args:
            inputs: (B, T, input_size), T at least 1, in the core's dtype and on its device.
            state: where an earlier call ended; None starts from `initial_state`.

        Returns:
            outputs (B, T, output_size), and the state after the last step.

        Raises:
            ValueError: a shape that does not fit, T = 0 or NaN among the inputs.
            TypeError: another dtype or device than the core's, or another core's kind of state.
        """
        state = self._checked(inputs, state, "BTI")
        outputs = []
        for step_input in inputs.unbind(1):
            output, state = self.step(step_input, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1), state

    def step(self, input: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Take one step: input (B, input_size) to output (B, output_size) and the next state.

        Raises:
            ValueError, TypeError: as `forward`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no step")

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first step, for `batch_size` sequences: zeros unless the core says otherwise."""
        batch_size = positive_int("batch_size", batch_size)
        parameter = _reference(self)
        return self._state(
            [parameter.new_zeros(batch_size, *_at(shape, time=0)) for shape in self.state_shapes.values()]
        )

    def state_size(self, time: int) -> int:
        """Return how many floats are kept per sequence after `time` steps: for a recurrent core, the same for all."""
        return sum(math.prod(_at(shape, time)) for shape in self.state_shapes.values())

    def carry_over(self, state: State | None) -> State | None:
        """Return a state to go on from in the next piece of a long sequence: cut off from gradients.

        Where there is no state yet, which is None as in `forward`, there is none to go on from either.

        Parts that grow with every step, such as a KV cache, are left empty: attention sees one piece, what recurs
        goes on.
        """
        if state is None:
            return None
        parts = zip(self._parts(state), self.state_shapes.values(), strict=True)
        return self._state(
            [
                # Not a view, which would hold on to the whole cache.
                part.new_empty(part.shape[0], *_at(shape, time=0)) if None in shape else part.detach()
                for part, shape in parts
            ]
        )

    def compact(self, state: State | None) -> State | None:
        """Return a state to keep or to save: the same numbers in memory of their own, cut off from gradients.

        Where there is no state yet, which is None as in `forward`, there is none to keep either.

        A state may be a part of something larger: a cache has room behind it for the steps to come, a last step may lie
        in a sequence. `torch.save` and pickle write all of that. `torch.load` reads a saved state as it is.
        """
        if state is None:
            return None
        copies = [part.detach().clone(memory_format=torch.contiguous_format) for part in self._parts(state)]
        return self._state(copies)

    def _state(self, parts: list[Tensor]) -> State:
        """Put the parts of a state into the form in which this core passes it on."""
        if self.state_type is not None:
            return self.state_type(*parts)
        return parts[0] if len(parts) == 1 else tuple(parts)

    def _parts(self, state: State) -> tuple[Tensor, ...]:
        """Return the tensors of a state, in the order of `state_shapes`."""
        return (state,) if isinstance(state, Tensor) else tuple(state)

    def _record(self, **values: Tensor) -> None:
        """Hand what happened at one or more steps, each value (B, T, ...), to whoever records this core."""
        for recording in self._recordings:
            recording.add(values)

    def _checked(self, inputs: Tensor, state: State | None, layout: str) -> State:
        """Refuse inputs and states that do not fit this core; return the state to start from."""
        name = type(self).__name__
        if not isinstance(inputs, Tensor):
            raise TypeError(
                f"{name} expected a tensor as input, got {type(inputs).__name__}: try torch.as_tensor(...)."
            )
        if inputs.ndim != len(layout) or inputs.shape[-1] != self.input_size:
            expected = f"({', '.join([*layout[:-1], str(self.input_size)])})"
        if inputs.ndim != len(layout):
            hint = (
                "For a single step use core.step; for a single sequence add the batch with inputs[None]."
                if layout == "BTI"
                else "For a whole sequence call the core itself: core(inputs)."
            )
            raise ValueError(f"{name} expected inputs of shape {expected}, got {tuple(inputs.shape)}. {hint}")
        if inputs.shape[-1] != self.input_size:
            raise ValueError(
                f"{name} expected inputs of shape {expected}, got {tuple(inputs.shape)}: the last dimension is "
                f"{inputs.shape[-1]} where input_size is {self.input_size}."
            )
        if 0 in inputs.shape:
            what = "sequence is empty (T = 0)" if inputs.shape[0] else "batch is empty (B = 0)"
            raise ValueError(
                f"{name} got inputs of shape {tuple(inputs.shape)}: the {what}. Give at least one step of one sequence."
            )
        parameter = _reference(self)
        _check_kind(name, "input", inputs, parameter)
        if contain_nan(inputs):
            position = tuple(inputs.isnan().nonzero()[0].tolist())
            raise ValueError(
                f"{name} got inputs that contain NaN, the first at {position}. Mend the data, or mask missing values."
            )
        if state is None:
            return self.initial_state(inputs.shape[0])
        self._check_state(state, inputs.shape[0], parameter)
        return state

    def _check_state(self, state: State, batch_size: int, parameter: Tensor) -> None:
        name = type(self).__name__
        alone = self.state_type is None and len(self.state_shapes) == 1
        fits = isinstance(state, Tensor if alone else tuple)
        tensors = self._parts(state) if fits else ()
        if len(tensors) != len(self.state_shapes) or not all(isinstance(tensor, Tensor) for tensor in tensors):
            kind = "one tensor" if alone else f"a {getattr(self.state_type, '__name__', 'tuple')}"
            raise TypeError(
                f"{name} expected as its state {kind} ({', '.join(self.state_shapes)}), got {_describe(state)}: "
                "is it another core's state? Pass what this core returned, or None to start afresh."
            )
        time = None
        for (part, shape), tensor in zip(self.state_shapes.items(), tensors, strict=True):
            if time is None and None in shape and tensor.ndim == 1 + len(shape):
                time = tensor.shape[1 + shape.index(None)]
            expected = (batch_size, *_at(shape, time))
            if tuple(tensor.shape) != expected:
                sizes = ", ".join("steps so far" if size is None else str(size) for size in expected)
                raise ValueError(
                    f"{name} expected a state whose {part} has shape ({sizes}) for inputs of batch size "
                    f"{batch_size}, got {tuple(tensor.shape)}. Pass what this core returned for the same batch, "
                    "or None to start afresh."
                )
            _check_kind(name, f"state ({part})", tensor, parameter)


def _reference(core: Core) -> Tensor:
    """Return a parameter, which says what dtype and device the core's states have."""
    parameter = _first_parameter(core)
    if parameter is None:
        raise TypeError(
            f"{type(core).__name__} has no parameters, so that nothing says which dtype and device its states have: "
            "give it at least one, which need not learn, such as nn.Parameter(torch.zeros(()), requires_grad=False)."
        )
    return parameter


def _first_parameter(module: nn.Module) -> Tensor | None:
    """Return what `next(module.parameters())` does, in a fraction of the time, which counts in every step."""
    for parameter in module._parameters.values():
        if parameter is not None:
            return parameter
    found = (_first_parameter(child) for child in module._modules.values() if child is not None)
    return next((parameter for parameter in found if parameter is not None), None)


def _at(shape: Shape, time: int | None) -> Shape:
    """Return a shape with the number of steps so far put in."""
    return tuple(time if size is None else size for size in shape)


def _check_kind(name: str, what: str, tensor: Tensor, parameter: Tensor) -> None:
    """Refuse a tensor of another dtype or device than the core's parameters."""
    if tensor.dtype != parameter.dtype and not (tensor.is_floating_point() and _autocast(parameter.device.type)):
        raise TypeError(
            f"{name}'s {what} is {tensor.dtype}, the core is {parameter.dtype}. Convert the tensor with "
            f".to({parameter.dtype}), or the core with core.to(...)."
        )
    if tensor.device != parameter.device:
        raise TypeError(
            f"{name}'s {what} is on {tensor.device}, the core is on {parameter.device}. Move one of them with "
            f".to('{parameter.device}') or core.to('{tensor.device}')."
        )


def _autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _describe(state: object) -> str:
    if isinstance(state, Tensor):
        return f"a tensor of shape {tuple(state.shape)}"
    if isinstance(state, tuple):
        return f"a {type(state).__name__} of {len(state)}"
    return f"a {type(state).__name__}"


def true_somewhere(condition: Tensor) -> bool:
    """Say whether any entry is true, where a look at the values is to be had for little; elsewhere say no.

    On an accelerator a look would stall the queue at every call, and inside `torch.compile` and `torch.vmap` there is
    no value to look at.
    """
    if condition.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    try:
        return bool(condition.any())
    except RuntimeError:  # inside torch.vmap
        return False


def contain_nan(values: Tensor) -> bool:
    """Say whether any entry is NaN, where `true_somewhere` looks."""
    # A sum is NaN if any part of it is, and takes a twentieth of the time; inf and -inf together make it NaN too.
    return true_somewhere(values.detach().sum().isnan()) and true_somewhere(values.isnan())


def positive_int(name: str, value: int) -> int:
    """Return `value` if it is a whole number of at least 1.

    Raises:
        TypeError: not an int. ValueError: zero or negative.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, got {value!r} ({type(value).__name__}).")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return value


def nearest(name: object, known: list[str], what: str) -> str:
    """Say that `name` is no known `what`, and which known name it resembles: the text of an error."""
    matches = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean {matches[0]!r}?" if matches else ""
    return f"There is no {what} {name!r}.{hint} Known: {', '.join(known)}."
