"""The cores that must keep the Core contract. A new core needs one line in CORES."""

import torch

from relmem_lite import (
    GRU,
    LSTM,
    QRNN,
    RWKV,
    S4D,
    SLSTM,
    SRU,
    CausalAttention,
    Core,
    LinearAttention,
    Mamba,
    MinGRU,
    MinLSTM,
    RelationalMemory,
    SRUPlusPlus,
)
from relmem_lite.experiments.state_tracking import Reflections, SignedMinGRU
from relmem_lite.models import Block, CausalConvolution, Stack

INPUT_SIZE = 4


class PlainStep(Core):
    """A core that defines `step` alone, as a reader's own would: the contract's `forward` must serve it."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size, {"hidden": (hidden_size,)})
        self.update = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def step(self, input, state=None):
        state = self.initial_state(len(input)) if state is None else state
        state = torch.tanh(self.update(torch.cat([input, state], dim=-1)))
        return state, state


def attending(core):
    """SRU++ that attends: a fresh one starts with a share of zero."""
    torch.nn.init.constant_(core.attention_scale, 0.5)
    return core


CORES = {
    "lstm": lambda: LSTM(INPUT_SIZE, 6),
    "lstm with forget bias": lambda: LSTM(INPUT_SIZE, 5, forget_bias=1.0),
    "gru": lambda: GRU(INPUT_SIZE, 6),
    "relational memory": lambda: RelationalMemory(INPUT_SIZE, num_slots=3, num_heads=2, head_size=3),
    "relational memory, one gate a row": lambda: RelationalMemory(
        INPUT_SIZE, num_slots=2, num_heads=2, head_size=2, key_size=3, gate="memory", mlp_layers=3
    ),
    "relational memory, ungated, three blocks": lambda: RelationalMemory(
        INPUT_SIZE, num_slots=2, num_heads=2, head_size=4, gate=None, num_blocks=3
    ),
    "relational memory, one slot": lambda: RelationalMemory(INPUT_SIZE, num_slots=1, num_heads=2, head_size=3),
    "a step of one's own": lambda: PlainStep(INPUT_SIZE, 5),
    "minGRU": lambda: MinGRU(INPUT_SIZE, 6),
    "minGRU in log-space": lambda: MinGRU(INPUT_SIZE, 6, log_space=True),
    "minLSTM": lambda: MinLSTM(INPUT_SIZE, 6),
    "minLSTM in log-space": lambda: MinLSTM(INPUT_SIZE, 6, log_space=True),
    "QRNN": lambda: QRNN(INPUT_SIZE, 6),
    "QRNN, window 1": lambda: QRNN(INPUT_SIZE, 6, window=1, activation=None),
    "QRNN, window 3, output gate": lambda: QRNN(INPUT_SIZE, 6, window=3, pooling="fo"),
    "SRU": lambda: SRU(INPUT_SIZE, 6),
    "SRU as wide as its input": lambda: SRU(INPUT_SIZE, INPUT_SIZE),
    "SRU++": lambda: attending(SRUPlusPlus(INPUT_SIZE, 6)),
    "SRU++ with two heads": lambda: attending(SRUPlusPlus(INPUT_SIZE, INPUT_SIZE, attention_size=6, num_heads=2)),
    "S4D": lambda: S4D(INPUT_SIZE, 6),
    "S4D as wide as its input": lambda: S4D(INPUT_SIZE, INPUT_SIZE, state_per_channel=3),
    "Mamba": lambda: Mamba(INPUT_SIZE, 6),
    "Mamba with few states": lambda: Mamba(INPUT_SIZE, 6, state_per_channel=2, step_rank=3),
    "RWKV": lambda: RWKV(INPUT_SIZE, 6),
    "linear attention": lambda: LinearAttention(INPUT_SIZE, 8),
    "linear attention, normalised": lambda: LinearAttention(INPUT_SIZE, 6, num_heads=2, key_size=2, normalise=True),
    "linear attention, fixed decay": lambda: LinearAttention(INPUT_SIZE, 6, num_heads=2, decay="fixed"),
    "linear attention, gated": lambda: LinearAttention(INPUT_SIZE, 6, num_heads=3, decay="gated", normalise=True),
    "sLSTM": lambda: SLSTM(INPUT_SIZE, 6),
    "sLSTM with two heads": lambda: SLSTM(INPUT_SIZE, 6, num_heads=2, forget="sigmoid"),
    "attention": lambda: CausalAttention(INPUT_SIZE, 8),
    "attention without positions": lambda: CausalAttention(INPUT_SIZE, 6, num_heads=2, positions="none"),
    "attention with learned positions": lambda: CausalAttention(
        INPUT_SIZE, 6, num_heads=2, positions="learned", max_time=40
    ),
    "signed minGRU": lambda: SignedMinGRU(INPUT_SIZE, 6),
    "reflections": lambda: Reflections(INPUT_SIZE, 6, num_reflections=2, block_size=3),
    "convolution": lambda: CausalConvolution(INPUT_SIZE, window=3),
    "block, wider than its stream": lambda: Block(GRU(INPUT_SIZE, 6), INPUT_SIZE),
    "block, bare": lambda: Block(MinGRU(INPUT_SIZE, INPUT_SIZE), INPUT_SIZE, convolution=0, expansion=0),
    "block in a block": lambda: Block(Block(SRU(INPUT_SIZE, 3), INPUT_SIZE), INPUT_SIZE, convolution=2, expansion=1),
    "stack of minGRU and attention": lambda: Stack(["min_gru", "attention"], INPUT_SIZE),
    "stack of LSTM and relational memory": lambda: Stack(
        ["lstm", RelationalMemory(INPUT_SIZE, num_slots=2, num_heads=2, head_size=2)],
        INPUT_SIZE,
        convolution=0,
        expansion=0,
    ),
    "stack of a stack and two attentions": lambda: Stack(
        [
            Stack(["qrnn"], INPUT_SIZE),
            CausalAttention(INPUT_SIZE, 8, num_heads=2),
            CausalAttention(INPUT_SIZE, 4, num_heads=1),
        ],
        INPUT_SIZE,
        convolution=2,
        expansion=0,
    ),
}

# These show nothing to a recording; the cores of a stack are recorded one by one.
_SILENT = (PlainStep, Reflections, CausalConvolution, Block, Stack)
RECORDED = [name for name, make in CORES.items() if not isinstance(make(), _SILENT)]


def make_core(name, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return CORES[name]().to(dtype)


def make_inputs(*shape, dtype=torch.float32, seed=1):
    """Drawn in float64, so that both dtypes see the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, INPUT_SIZE, generator=generator, dtype=torch.float64).to(dtype)


def make_state(core, batch_size, seed=2):
    """Where five large random inputs lead: far from the initial state, and a state that the core can be in."""
    parameter = next(core.parameters())
    with torch.no_grad():
        _, state = core(3 * make_inputs(batch_size, 5, dtype=parameter.dtype, seed=seed).to(parameter.device))
    return state


def parts_of(state):
    """The tensors of a state, as a list."""
    return [state] if isinstance(state, torch.Tensor) else list(state)


def map_state(function, state):
    if isinstance(state, torch.Tensor):
        return function(state)
    parts = [function(part) for part in state]
    return tuple(parts) if type(state) is tuple else type(state)(*parts)
