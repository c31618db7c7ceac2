"""From a task's inputs to its answers: an encoder, a core or a stack of them, and a head."""

import bisect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, cross_entropy

from relmem_lite.core import Core, Shape, State, positive_int, true_somewhere
from relmem_lite.cores import find_core
from relmem_lite.tasks import Batch, Task


class SequenceModel(nn.Module):
    """A core, and a ReLU network that reads its answer out of each step's output.

    Args:
        core: the sequence model that remembers.
        output_size: C, the number of answers to choose from.
        head_sizes: widths of the head's hidden layers; () for one linear layer.
        encoder: turns what the task gives into the core's inputs, (B, T, core.input_size), such as `nn.Embedding` for
            tokens; None if the task gives them. If it has several embeddings, or none, and reads tokens, its attribute
            `num_tokens` says how many there are.

    Raises:
        TypeError, ValueError: no core, or a size that is not a whole number of at least 1.
    """

    def __init__(
        self,
        core: Core,
        output_size: int,
        head_sizes: tuple[int, ...] = (128, 128),
        encoder: nn.Module | None = None,
    ):
        super().__init__()
        if not isinstance(core, Core):
            raise TypeError(
                f"SequenceModel expected a core, got {core!r}. Names are for a Stack: Stack(['min_gru'], width)."
            )
        self.output_size = positive_int("output_size", output_size)
        self.encoder = nn.Identity() if encoder is None else encoder
        self.core = core
        layers: list[nn.Module] = []
        width = core.output_size
        for size in head_sizes:
            layers += [nn.Linear(width, positive_int("head_sizes", size)), nn.ReLU()]
            width = size
        self.head = nn.Sequential(*layers, nn.Linear(width, output_size))

    @property
    def num_tokens(self) -> int | None:
        """How many different tokens the model reads; None if it reads features.

        An encoder says so by an attribute `num_tokens`; without one, its `nn.Embedding` does.

        Raises:
            ValueError: embeddings of different sizes, of which nothing says which one is that of the tokens.
        """
        said = getattr(self.encoder, "num_tokens", None)
        if said is not None:
            return positive_int("the encoder's num_tokens", said)
        tables = [module for module in self.encoder.modules() if isinstance(module, nn.Embedding)]
        sizes = sorted({table.num_embeddings for table in tables})
        if len(sizes) > 1:
            raise ValueError(
                f"The encoder, {type(self.encoder).__name__}, has embeddings of {' and '.join(map(str, sizes))} rows: "
                "which one are the tokens'? Say so by an attribute: encoder.num_tokens = ..."
            )
        return sizes[0] if sizes else None

    def forward(self, inputs: Tensor, state: State | None = None, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """Read a sequence, answer at each step.

        Args:
            inputs: (B, T, input_size), or what the encoder takes: tokens (B, T) for an embedding.
            state: the core's state to carry on from.
            mask: (B, T) bool: answer only at these steps, and save the rest of the head's work.

        Returns:
            logits, (B, T, C), or (N, C) for the N marked steps in row order; and the core's state.

        Raises:
            ValueError: a mask that is not bool, or not (B, T).
        """
        outputs, state = self.core(self.encoder(inputs), state)
        return self.head(outputs if mask is None else marked(outputs, mask)), state

    def step(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Take one step: inputs (B, input_size), or tokens (B,), to logits (B, C), and the core's state."""
        output, state = self.core.step(self.encoder(inputs), state)
        return self.head(output), state

    def loss(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Return the mean cross-entropy over a batch's marked steps, in nats, and the core's state.

        Raises:
            ValueError: no step is marked, where that is to be seen for little; elsewhere the loss is NaN.
        """
        check_marked(batch.mask)
        if batch.mask.device.type == "cpu":
            logits, state = self(batch.inputs, state, batch.mask)
            return cross_entropy(logits, batch.targets[batch.mask]), state
        return self._loss_of_all(batch, state)

    def _loss_of_all(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """The same by a product with the mask: to select, the CPU would wait for the GPU to count what is marked."""
        logits, state = self(batch.inputs, state)
        targets = batch.targets.masked_fill(~batch.mask, 0)
        losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        mask = batch.mask.flatten()
        return (losses * mask).sum() / mask.sum(), state


def marked(outputs: Tensor, mask: Tensor) -> Tensor:
    """Return the outputs, (B, T, D), of the N marked steps in row order, (N, D).

    Raises:
        ValueError: the mask is not bool, or not (B, T): torch would take it for numbers of rows, or for whole rows.
    """
    if mask.dtype != torch.bool or mask.shape != outputs.shape[:2]:
        raise ValueError(
            f"A mask must be torch.bool of shape {tuple(outputs.shape[:2])}, true where an answer is asked for, got "
            f"{mask.dtype} of shape {tuple(mask.shape)}: try mask.bool()."
        )
    return outputs[mask]


def check_marked(mask: Tensor) -> None:
    """Refuse a mask that marks no step, for a mean over none is NaN; on an accelerator it is not looked at.

    Raises:
        ValueError: no step is marked.
    """
    if true_somewhere(~mask.any()):
        raise ValueError(
            f"A batch marks none of its steps: its mask, {tuple(mask.shape)}, is false everywhere, and nothing is left "
            "to learn from. Look at what the task draws."
        )


class CausalConvolution(Core):
    """A weighted sum of each channel's last few inputs: what a core without a window can't see by itself.

    The state holds the inputs that the next step's window still reaches, (B, window - 1, D).

    Args:
        size: D, features of a step's input and output.
        window: steps in the sum, this one included.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1.
    """

    def __init__(self, size: int, window: int = 4):
        positive_int("size", size)
        positive_int("window", window)
        super().__init__(size, size, {"inputs": (window - 1, size)})
        self.window = window
        self.convolution = nn.Conv1d(size, size, window, groups=size)

    def step(self, input: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        past = self._checked(input, state, "BI")
        seen = torch.cat([past.to(input.dtype), input.unsqueeze(1)], dim=1)  # (B, window, D)
        # One window is a product and a sum, which take a fraction of the time that conv1d takes to start.
        products = seen * self.convolution.weight.squeeze(1).T
        return products.sum(1) + self.convolution.bias, seen[:, 1:].clone()

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        past = self._checked(inputs, state, "BTI")
        seen = torch.cat([past.to(inputs.dtype), inputs], dim=1)  # (B, window - 1 + T, D)
        weight, bias = self.convolution.weight, self.convolution.bias
        channels = seen.transpose(1, 2)  # (B, D, window - 1 + T)
        if seen.is_cuda:
            outputs = conv1d(channels, weight, bias, groups=self.input_size)
        else:
            # As a picture one pixel high: it stays laid out as `seen` is, which takes half of conv1d's time or less.
            outputs = conv2d(channels.unsqueeze(2), weight.unsqueeze(2), bias, groups=self.input_size).squeeze(2)
        outputs = outputs.transpose(1, 2)
        return outputs, seen[:, seen.shape[1] - self.window + 1 :].clone()


class Block(Core):
    """A residual block around a core: x + core(convolution(norm(x))), then x + mlp(norm(x)).

    Args:
        core: reads `width` features a step; if it gives another number of them, a linear layer adapts its output.
        width: D, features of the stream that passes by.
        convolution: window of a causal convolution before the core, 0 for none.
        expansion: hidden size of the MLP in multiples of D, 0 for no MLP.
        dropout: share of the core's and the MLP's outputs set to zero in training.

    Raises:
        TypeError, ValueError: no core, one that reads another number of features, or a size that does not fit.
    """

    def __init__(self, core: Core, width: int, *, convolution: int = 4, expansion: int = 2, dropout: float = 0.0):
        for name, size in {"width": width, "convolution": convolution or 1, "expansion": expansion or 1}.items():
            positive_int(name, size)
        if not isinstance(core, Core):
            raise TypeError(f"Block expected a core, got {core!r}. Names are for a Stack: Stack(['min_gru'], {width}).")
        if core.input_size != width:
            name = type(core).__name__
            raise ValueError(
                f"A block of width {width} needs a core with input_size {width}, got a {name} with input_size "
                f"{core.input_size}. Try {name}.of_width({width}, {width})."
            )
        window = CausalConvolution(width, convolution) if convolution else None
        parts = {"core": core} if window is None else {"convolution": window, "core": core}
        super().__init__(width, width, _shapes_of(parts))
        self.norm = nn.LayerNorm(width)
        self.convolution = window
        self.core = core
        self.project = nn.Identity() if core.output_size == width else nn.Linear(core.output_size, width)
        self.mlp = None
        if expansion:
            self.mlp = nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
            )
        self.dropout = nn.Dropout(dropout)

    @property
    def max_time(self) -> int | None:
        return self.core.max_time

    def initial_state(self, batch_size: int) -> State:
        parts = [] if self.convolution is None else [self.convolution.initial_state(batch_size)]
        return self._state([*parts, *self.core._parts(self.core.initial_state(batch_size))])

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._through(inputs, self._checked(inputs, state, "BTI"), nn.Module.__call__)

    def step(self, input: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._through(input, self._checked(input, state, "BI"), lambda core, *given: core.step(*given))

    def _through(self, stream: Tensor, state: State, run: Callable) -> tuple[Tensor, State]:
        parts, kept = list(self._parts(state)), []
        inside = self.norm(stream)
        if self.convolution is not None:
            inside, past = run(self.convolution, inside, parts.pop(0))
            kept.append(past)
        inside, core_state = run(self.core, inside, self.core._state(parts))
        stream = stream + self.dropout(self.project(inside))
        if self.mlp is not None:
            stream = stream + self.dropout(self.mlp(stream))
        return stream, self._state([*kept, *self.core._parts(core_state)])


class Stack(Core):
    """Cores on top of one another, each in a residual `Block`: a stack of cores is a core.

    Its state is a tuple of the states of its blocks, one after the other; `state_size` adds them up.

    Args:
        cores: from first to last, names such as "min_gru" or "attention", or cores of `width` inputs.
        width: D, features of a step's input, of its output and of each core in between.
        convolution: window of the causal convolution before each core, 0 for none.
        expansion: hidden size of each block's MLP in multiples of D, 0 for no MLP.
        dropout: share of each block's outputs set to zero in training.

    Raises:
        TypeError, ValueError: an unknown name, no core at all, or a size that does not fit.

    Example:
        >>> model = SequenceModel(Stack(["min_gru", "min_gru", "attention"], 64), 16, (), nn.Embedding(16, 64))
    """

    def __init__(
        self,
        cores: Sequence[str | Core],
        width: int,
        *,
        convolution: int = 4,
        expansion: int = 2,
        dropout: float = 0.0,
    ):
        positive_int("width", width)
        if isinstance(cores, str) or not cores:
            raise ValueError(f"Stack expected a list of cores, such as ['min_gru', 'attention'], got {cores!r}.")
        options = {"convolution": convolution, "expansion": expansion, "dropout": dropout}
        blocks = [
            Block(core if isinstance(core, Core) else find_core(core).of_width(width, width), width, **options)
            for core in cores
        ]
        super().__init__(width, width, _shapes_of({str(number): block for number, block in enumerate(blocks)}))
        self.cores = ", ".join(type(block.core).__name__ for block in blocks)
        self.convolution, self.expansion = convolution, expansion
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)

    @property
    def max_time(self) -> int | None:
        return min((block.max_time for block in self.blocks if block.max_time is not None), default=None)

    def initial_state(self, batch_size: int) -> State:
        return self._state([part for block in self.blocks for part in block._parts(block.initial_state(batch_size))])

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._through(inputs, self._checked(inputs, state, "BTI"), nn.Module.__call__)

    def step(self, input: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._through(input, self._checked(input, state, "BI"), lambda block, *given: block.step(*given))

    def _through(self, stream: Tensor, state: State, run: Callable) -> tuple[Tensor, State]:
        parts, kept = iter(self._parts(state)), []
        for block in self.blocks:
            stream, block_state = run(block, stream, block._state([next(parts) for _ in block.state_shapes]))
            kept += block._parts(block_state)
        return self.norm(stream), self._state(kept)


def _shapes_of(parts: dict[str, Core]) -> dict[str, Shape]:
    """State shapes of several cores, each under its core's name."""
    return {f"{key}.{name}": shape for key, core in parts.items() for name, shape in core.state_shapes.items()}


def stacked_model(
    cores: Sequence[str | Callable[[int], Core]], task: Task, parameters: int, **options
) -> SequenceModel:
    """Return a model for a task: encoder, stack of cores and linear head, of about so many parameters in all.

    The width follows from the number of parameters, in multiples of 8, so that heads divide it.

    Args:
        cores: names of cores, from first to last, or functions that make one of a width.
        task: says what goes in, tokens or features, and what comes out.
        parameters: how many numbers the model may learn.
        options: those of `Stack`, such as `convolution=0`.

    Raises:
        TypeError, ValueError: as `Stack`, or if even the narrowest model has more than twice as many parameters.
    """
    positive_int("parameters", parameters)
    if isinstance(cores, str):
        raise ValueError(f"stacked_model expected a list of cores, such as ['min_gru', 'attention'], got {cores!r}.")

    def build(eighth: int) -> SequenceModel:
        width = 8 * eighth
        encoder = nn.Embedding(task.num_tokens, width) if task.num_tokens else nn.Linear(task.input_size, width)
        made = [core if isinstance(core, str) else core(width) for core in cores]
        return SequenceModel(Stack(made, width, **options), task.output_size, (), encoder)

    return match_parameters(build, parameters)


def num_parameters(module: nn.Module) -> int:
    """Return how many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def match_parameters(build: Callable[[int], nn.Module], target: nn.Module | int) -> nn.Module:
    """Return `build(width)` at the width whose number of parameters comes closest to `target`'s.

    Args:
        build: makes a model of a width, 1 or more; wider models have more parameters.
        target: the model to match, or its number of parameters.

    Raises:
        TypeError, ValueError: a target that is no number of parameters; even at width 1 the model is more than twice
            as large, or no width makes it as large.
    """
    wanted = num_parameters(target) if isinstance(target, nn.Module) else positive_int("target", target)

    def size(width: int) -> int:
        with torch.device("meta"):
            return num_parameters(build(width))

    upper = 1
    while size(upper) < wanted:
        if upper > wanted:
            raise ValueError(
                f"A model of width {upper:,} has {size(upper):,} parameters, and {wanted:,} are asked for: does what "
                "builds it make use of the width?"
            )
        upper *= 2
    wide = bisect.bisect_left(range(1, upper + 1), wanted, key=size) + 1
    width = min({max(wide - 1, 1), wide}, key=lambda width: abs(size(width) - wanted))
    if size(width) > 2 * wanted:
        what = "asked for were" if isinstance(target, int) else "the one to match has"
        raise ValueError(f"The smallest model has {size(width)} parameters, {what} {wanted}: let it have more.")
    return build(width)
