"""How fast the relational memory is beside a direct transcription of its equations, and beside the machine."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from relmem_lite.bench.timing import matmul_rate, ratio, summary, take_turns
from relmem_lite.core import positive_int
from relmem_lite.cores import RelationalMemory


class Size(NamedTuple):
    """One line of the benchmark."""

    batch: int
    time: int
    slots: int
    heads: int
    head_size: int
    key_size: int | None = None
    mlp_layers: int = 2


# Nth farthest at the paper's length, a long sequence, and the WikiText-2 configuration of a public PyTorch port.
SIZES = [Size(200, 8, 8, 8, 32), Size(64, 16, 8, 4, 32), Size(32, 35, 1, 4, 192, 64, 3)]


def benchmark_relational_memory(rounds: int = 9, threads: int | None = None) -> None:
    """Relational memory, forward and backward, against a direct transcription of its equations.

    Args:
        rounds: Turns that each contestant takes; the table gives medians and quartiles.
        threads: Processor threads; as many as torch takes by itself if not given.
    """
    positive_int("rounds", rounds)
    if threads is not None:
        torch.set_num_threads(positive_int("threads", threads))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rate = matmul_rate(device)
    print(f"{device.type}, {torch.get_num_threads()} threads, matrix products at {rate / 1e9:.0f} GFLOP/s")
    print("B, T: batch and steps; S slots; H heads of V; K key size; L MLP layers. Milliseconds: median (quartiles).")
    print("Share: of the matrix-product rate, counting each one's own operations.\n")
    print(f"{'B':>4}{'T':>4}{'S':>3}{'H':>3}{'V':>5}{'K':>5}{'L':>3}  {'direct':>22}{'share':>7}", end="")
    print(f"  {'relmem_lite':>22}{'share':>7}  direct / relmem_lite")
    for size in SIZES:
        print(_row(size, device, rounds, rate), flush=True)


def _row(size: Size, device: torch.device, rounds: int, rate: float) -> str:
    torch.manual_seed(0)
    core = RelationalMemory(
        size.heads * size.head_size,
        num_slots=size.slots,
        num_heads=size.heads,
        head_size=size.head_size,
        key_size=size.key_size,
        mlp_layers=size.mlp_layers,
    ).to(device)
    inputs = torch.randn(size.batch, size.time, core.input_size, device=device)

    def backward(forward) -> None:
        core.zero_grad(set_to_none=True)
        outputs, _ = forward(inputs)
        outputs.sum().backward()

    contestants = {
        "direct": lambda: backward(lambda inputs: direct_forward(core, inputs)),
        "ours": lambda: backward(core),
    }
    seconds = take_turns(contestants, rounds)
    cells = []
    for name, run in contestants.items():
        with FlopCounterMode(display=False) as counter:
            run()
        timing = summary(seconds[name])
        share = counter.get_total_flops() / timing.median / rate
        spread = f"({timing.low * 1e3:.1f} to {timing.high * 1e3:.1f})"
        cells.append(f"{timing.median * 1e3:8.1f} {spread:>14}{share:7.0%}")
    faster = ratio(seconds["direct"], seconds["ours"])
    sizes = f"{size.batch:4}{size.time:4}{size.slots:3}{size.heads:3}{size.head_size:5}{core.key_size:5}"
    line = f"{sizes}{size.mlp_layers:3} {cells[0]} {cells[1]}"
    return f"{line}  {faster.median:.2f} ({faster.low:.2f} to {faster.high:.2f})"


def direct_forward(core: RelationalMemory, inputs: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run a relational memory as its equations stand: every step projects, attends and gates, for every row.

    Takes and returns what `core(inputs, memory)` does.
    """
    memory = core.initial_state(len(inputs)) if memory is None else memory
    memories = []
    for step_input in inputs.unbind(1):
        embedded = core.embed(step_input)
        rows = torch.cat([memory, embedded.unsqueeze(1)], dim=1)
        for block in core.blocks:
            qkv = block.qkv_norm(block.qkv(rows))
            heads = qkv.unflatten(-1, (core.num_heads, -1)).transpose(1, 2)
            queries, keys, values = heads.split([core.key_size, core.key_size, core.head_size], dim=-1)
            weights = torch.softmax(core.key_size**-0.5 * queries @ keys.transpose(-2, -1), dim=-1)
            rows = block.attention_norm(rows + (weights @ values).transpose(1, 2).flatten(2))
            hidden = rows
            for layer in core.mlp[:-1]:
                hidden = torch.relu(layer(hidden))
            rows = block.mlp_norm(core.mlp[-1](hidden) + rows)
        rows = rows[:, : core.num_slots]
        if core.gate is not None:
            gates = core.input_gates(embedded).unsqueeze(1) + core.memory_gates(torch.tanh(memory))
            input_gate, forget_gate = gates.chunk(2, dim=-1)
            input_gate = torch.sigmoid(input_gate + core.input_bias)
            forget_gate = torch.sigmoid(forget_gate + core.forget_bias)
            rows = input_gate * torch.tanh(rows) + forget_gate * memory
        memory = rows
        memories.append(memory)
    return torch.stack(memories, dim=1).flatten(2), memory
