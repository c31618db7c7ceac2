"""Port mistakes: what other implementations of the relational memory get wrong, one switch each, and what it costs."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from relmem_lite.core import Core, nearest
from relmem_lite.cores import RelationalMemory
from relmem_lite.experiments.experiment import Experiment, one_axis, some
from relmem_lite.models import SequenceModel
from relmem_lite.tasks import NthFarthest

MISTAKES = {
    "shared_layer": "the MLP applies one and the same layer twice",
    "last_relu": "a ReLU follows the MLP's last layer too",
    "no_mlp": "the block ends after attention",
    "joint_norm": "LayerNorm takes rows and features together, with a gain for each pair",
    "unused_norm": "LayerNorm is computed and its result is not used",
    "tiled_input": "the input stands beside every row's features instead of being a row",
    "wide_scale": "queries are scaled by 1/sqrt(2K + V) instead of 1/sqrt(K)",
    "output_gate": "a third gate is put on the output",
    "detached": "the memory is detached before every step",
}
"""What was found in other implementations, by the name of its switch; a switch changes nothing else."""


class PortedMemory(RelationalMemory):
    """A relational memory of one block and two MLP layers, with one mistake of other implementations in it, or none.

    Args:
        input_size: features of one step's input.
        num_slots: S, the number of memory rows.
        num_heads: H, the number of attention heads.
        head_size: V, the size of one head's query, key and value; a row has D = H * V features.
        mistake: a key of `MISTAKES`, or None.

    Raises:
        ValueError: no such mistake, or a size that does not fit.
    """

    def __init__(self, input_size: int, *, num_slots: int, num_heads: int, head_size: int, mistake: str | None = None):
        if mistake is not None and mistake not in MISTAKES:
            raise ValueError(nearest(mistake, list(MISTAKES), "mistake"))
        super().__init__(input_size, num_slots=num_slots, num_heads=num_heads, head_size=head_size)
        self.mistake = mistake
        width, block = self.row_size, self.blocks[0]
        if mistake == "shared_layer":
            self.mlp = self.mlp[:1]
        if mistake == "no_mlp":
            self.mlp, block.mlp_norm = nn.ModuleList(), None
        if mistake == "joint_norm":
            for name in ("qkv_norm", "attention_norm", "mlp_norm"):
                features = getattr(block, name).normalized_shape
                setattr(block, name, nn.LayerNorm([num_slots + 1, *features]))
        if mistake == "tiled_input":
            self.tile = nn.Linear(2 * width, width)
        if mistake == "output_gate":
            self.input_output_gate, self.memory_output_gate = nn.Linear(width, width), nn.Linear(width, width)
        if mistake is not None:
            self.reset_parameters()

    @classmethod
    def like(cls, core: RelationalMemory, mistake: str | None = None) -> "PortedMemory":
        """Return a port of `core` that makes `mistake`, with the core's weights wherever it has such weights at all."""
        sizes = {"num_slots": core.num_slots, "num_heads": core.num_heads, "head_size": core.head_size}
        port = cls(core.input_size, **sizes, mistake=mistake).to(core.embed.weight)
        weights = core.state_dict()
        with torch.no_grad():
            for name, weight in port.state_dict().items():
                if name in weights:
                    weight.copy_(weights[name].expand_as(weight))
        return port

    forward = Core.forward  # step by step, with nothing computed ahead

    def step(self, input: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        memory = self._checked(input, state, "BI")
        mistake, block = self.mistake, self.blocks[0]
        if mistake == "detached":
            memory = memory.detach()

        # Augment: X = [M; e]
        embedded = self.embed(input)
        rows = torch.cat([memory, embedded[:, None]], dim=1)  # (B, S+1, D)
        if mistake == "tiled_input":
            beside = embedded[:, None].expand_as(memory)
            rows = self.tile(torch.cat([memory, beside], dim=-1))  # (B, S, D)

        # Attend: X = LayerNorm(X + softmax(q k^T / sqrt(K)) v)
        projections = self._normalise(block.qkv_norm, block.qkv(rows))
        heads = projections.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, H, S+1, 2K+V)
        queries, keys, values = heads.split([self.key_size, self.key_size, self.head_size], dim=-1)
        scaled_by = 2 * self.key_size + self.head_size if mistake == "wide_scale" else self.key_size
        weights = torch.softmax(queries @ keys.transpose(-2, -1) * scaled_by**-0.5, dim=-1)
        attended = (weights @ values).transpose(1, 2).flatten(2)  # (B, S+1, D)
        rows = self._normalise(block.attention_norm, rows + attended)

        # Process: X = LayerNorm(X + MLP(X))
        if mistake != "no_mlp":
            layers = [self.mlp[0], self.mlp[0]] if mistake == "shared_layer" else self.mlp
            processed = layers[1](torch.relu(layers[0](rows)))
            if mistake == "last_relu":
                processed = torch.relu(processed)
            rows = self._normalise(block.mlp_norm, rows + processed)

        # Gate: M' = i tanh(X) + f M
        seen = torch.tanh(memory)
        gates = self.input_gates(embedded)[:, None] + self.memory_gates(seen)
        input_gate, forget_gate = gates.chunk(2, dim=-1)
        input_gate, forget_gate = (
            torch.sigmoid(input_gate + self.input_bias),
            torch.sigmoid(forget_gate + self.forget_bias),
        )
        new_memory = input_gate * torch.tanh(rows[:, : self.num_slots]) + forget_gate * memory
        output = new_memory
        if mistake == "output_gate":
            output_gate = self.input_output_gate(embedded)[:, None] + self.memory_output_gate(seen)
            output = torch.sigmoid(output_gate) * new_memory
        return output.flatten(1), new_memory

    def _normalise(self, norm: nn.Module, rows: Tensor) -> Tensor:
        normalised = norm(rows)
        return rows if self.mistake == "unused_norm" else normalised


@dataclass(frozen=True, kw_only=True)
class PortMistakesExperiment(Experiment):
    """Port mistakes: the relational memory on Nth farthest, with one mistake of other implementations at a time."""

    name: ClassVar[str] = "port_mistakes"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {"steps": 4, "batch_size": 32, "eval_every": 2, "eval_samples": 256, "seeds": (0,)},
        # The learning rate at which nth_farthest's sweep leaves its plateau soonest; sizes are nth_farthest's too.
        "cpu": {
            "steps": 2000,
            "batch_size": 256,
            "eval_every": 100,
            "eval_samples": 4096,
            "learning_rates": (1e-3,),
            "accelerator": "cpu",
        },
    }

    mistakes: tuple[str, ...] = ("none", *MISTAKES)
    """Mistakes to make, one at a time; none for the core as it should be."""
    num_items: int = 3
    """Vectors in a sequence, and labels (K)."""
    item_size: int = 1
    """Numbers in a vector (D)."""
    num_slots: int = 4
    """Memory rows (S)."""
    num_heads: int = 4
    """Attention heads (H)."""
    head_size: int = 16
    """Numbers in one head's value (V); a memory row has H * V."""
    head_sizes: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers between the memory and its answer."""

    def __post_init__(self):
        super().__post_init__()
        some("mistakes", self.mistakes, ["none", *MISTAKES], "mistake")

    def contestants(self) -> dict[str, dict]:
        return one_axis(self.mistakes)

    def task(self, core: str | None = None) -> NthFarthest:
        return NthFarthest(self.num_items, self.item_size)

    def model(self, core: str) -> SequenceModel:
        """Return a fresh model around the relational memory that makes this mistake."""
        task = self.task()
        memory = PortedMemory(
            task.input_size,
            num_slots=self.num_slots,
            num_heads=self.num_heads,
            head_size=self.head_size,
            mistake=None if core == "none" else core,
        )
        return SequenceModel(memory, task.output_size, self.head_sizes)
