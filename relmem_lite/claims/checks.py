"""Exact checks: what equations and counts settle within a second, without training anything."""

import math
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from relmem_lite.cores import find_core
from relmem_lite.scans import scan
from relmem_lite.tasks import NthFarthest


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _made(core: str, *sizes: int, **options) -> nn.Module:
    """Return a core with the same weights each time, without touching torch's own generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return find_core(core)(*sizes, **options)


def gates_of_the_relational_memory() -> tuple[list[str], float]:
    """Return the names of the gates that the memory records, and how far its output is from its bare state."""
    from relmem_lite.recorder import record

    core = _made("relational_memory", 3, num_slots=2, num_heads=2, head_size=4)
    with record(core) as recording, torch.no_grad():
        outputs, state = core(torch.randn(2, 5, 3, generator=_generator()))
    gates = sorted(name.removesuffix("_gate") for name in recording if name.endswith("_gate"))
    return gates, (outputs[:, -1] - state.flatten(1)).abs().max().item()


def answers_of_nth_farthest(num_items: int = 8) -> int:
    """Return how many answers one sample of Nth farthest asks for."""
    return int(NthFarthest(num_items, 16).sample(1, _generator()).mask.sum())


def growth_of_the_state(core: str, early: int = 1000, late: int = 1_000_000) -> float:
    """Return how many times as many floats a core keeps after `late` steps as after `early`."""
    options = {"num_slots": 4, "num_heads": 2, "head_size": 8}
    made = _made(core, 8, **options) if core == "relational_memory" else _made(core, 8, 8)
    return made.state_size(late) / made.state_size(early)


def errors_of_closed_forms(time: int = 512) -> dict[str, float]:
    """Run h_t = a_t h_{t-1} + b_t in float32, gates of N(0, 1) logits, three ways against a float64 loop.

    Returns:
        "finite", the share of finite states of the closed form with cumulative products, and the largest errors of
        "log_space" and of the plain "loop".
    """
    logits = torch.randn(2, time, 64, generator=_generator())
    a, b = torch.sigmoid(logits), torch.rand(2, time, 64, generator=_generator(1))
    exact = scan(a.double(), b.double(), method="loop")
    products = a.cumprod(dim=1)
    closed = products * (b / products).cumsum(dim=1)
    log_space, loop = (scan(a, b, method=method) for method in ("log_space", "loop"))
    return {
        "finite": closed.isfinite().float().mean().item(),
        "log_space": (log_space - exact).abs().max().item(),
        "loop": (loop - exact).abs().max().item(),
    }


def parameters_of_minimal_cores(input_size: int = 64, hidden_sizes: tuple[int, ...] = (64, 128, 256)) -> dict:
    """Return, for minGRU and minLSTM, their shares of the parameters of GRU and LSTM, by hidden size."""

    def parameters(core: str, size: int) -> int:
        return sum(p.numel() for p in _made(core, input_size, size).parameters())

    return {
        small: {size: parameters(small, size) / parameters(full, size) for size in hidden_sizes}
        for small, full in (("min_gru", "gru"), ("min_lstm", "lstm"))
    }


class PostedMinGRU(nn.Module):
    """The module as it was posted in the discussion: `hidden_size` is no name, and nn.Module is never set up."""

    def __init__(self, token_size, hidden_state_size):
        self.token_to_proposal = nn.Linear(token_size, hidden_size)  # noqa: F821
        self.token_to_mix_factors = nn.Linear(token_size, hidden_size)  # noqa: F821


def posted_module_raises() -> str | None:
    """Return the name of the error with which the posted module fails to be made; None if it can be made."""
    try:
        PostedMinGRU(2, 3)
    except Exception as error:
        return type(error).__name__
    return None


def gap_of_the_mended_module() -> tuple[float, float]:
    """Return how far the posted module's step, made to run, is from minGRU's: as it stands, and with its gate negated.

    The step is lerp(proposed, previous, mix), by which mix says how much is kept.
    """
    core, generator = _made("min_gru", 3, 4), _generator()
    token, previous = torch.randn(2, 3, generator=generator), torch.randn(2, 4, generator=generator)
    with torch.no_grad():
        expected, proposed, logits = core.step(token, previous)[1], core.candidate(token), core.gate(token)
        gaps = [(torch.lerp(proposed, previous, torch.sigmoid(k)) - expected).abs().max() for k in (logits, -logits)]
    return gaps[0].item(), gaps[1].item()


def reach_of_min_gru(gate_bias: float, time: int = 20) -> tuple[float, float]:
    """Return how strongly minGRU's last output hangs on its first input, and how far it is from a per-token layer.

    The gate's bias is `gate_bias`, so large that z is 1 to the last bit, or not; the per-token layer is the candidate.
    """
    core = _made("min_gru", 3, 4)
    with torch.no_grad():
        core.gate.bias.fill_(gate_bias)
    inputs = torch.randn(1, time, 3, generator=_generator(), requires_grad=True)
    outputs, _ = core(inputs)
    outputs[:, -1].sum().backward()
    return inputs.grad[:, 0].norm().item(), (outputs - core.candidate(inputs)).abs().max().item()


def gaps_of_permuted_tokens(time: int = 16) -> tuple[float, float]:
    """Return what permuting the tokens changes in minGRU: in its gates and candidates, put back in order, and at last.

    The first is the largest difference of a_t and b_t for the same token, the second that of the final states.
    """
    core, generator = _made("min_gru", 3, 8), _generator()
    inputs, order = torch.randn(1, time, 3, generator=generator), torch.randperm(time, generator=generator)
    with torch.no_grad():
        straight, mixed = core.coefficients(inputs), core.coefficients(inputs[:, order])
        same = max((x[:, order] - y).abs().max().item() for x, y in zip(straight[:2], mixed[:2], strict=True))
        return same, (core(inputs)[1] - core(inputs[:, order])[1]).abs().max().item()


def gap_of_qrnn() -> float:
    """Return the largest difference between minGRU and a QRNN of window 1, no tanh, no output gate, gate negated."""
    core, qrnn = _made("min_gru", 3, 8), _made("qrnn", 3, 8, window=1, activation=None)
    with torch.no_grad():
        qrnn.candidate.load_state_dict(core.candidate.state_dict())
        qrnn.forget_gate.weight.copy_(-core.gate.weight)
        qrnn.forget_gate.bias.copy_(-core.gate.bias)
        inputs = torch.randn(2, 50, 3, generator=_generator())
        return (core(inputs)[0] - qrnn(inputs)[0]).abs().max().item()


def gap_of_sru(reset_bias: float = 200.0) -> float:
    """Return the largest difference between minGRU, its candidate without a bias, and an SRU with its gate negated.

    The SRU's reset gate has `reset_bias` and sees nothing: so large that the output is the state to the last bit, and
    nothing of the highway, or not.
    """
    core, sru = _made("min_gru", 3, 8), _made("sru", 3, 8)
    with torch.no_grad():
        core.candidate.bias.zero_()
        sru.candidate.weight.copy_(core.candidate.weight)
        sru.forget_gate.weight.copy_(-core.gate.weight)
        sru.forget_gate.bias.copy_(-core.gate.bias)
        sru.reset_gate.weight.zero_()
        sru.reset_gate.bias.fill_(reset_bias)
        inputs = torch.randn(2, 50, 3, generator=_generator())
        return (core(inputs)[0] - sru(inputs)[0]).abs().max().item()


def gap_of_one_recurrence(core: str) -> float:
    """Return how far a core's hidden states are from h_t = a_t h_{t-1} + b_t with the a and b that it records."""
    from relmem_lite.recorder import record

    made = _made(core, 4, 8)
    with record(made) as recording, torch.no_grad():
        made(torch.randn(2, 20, 4, generator=_generator()))
    hidden, gap = torch.zeros(()), 0.0
    for a, b, state in zip(*(recording[name].unbind(1) for name in ("keep", "write", "hidden")), strict=True):
        hidden = a * hidden + b
        gap = max(gap, (hidden - state).abs().max().item())
    return gap


def taps_of_a_pole(keep: float = 0.99, rest: float = 1e-3) -> tuple[int, float]:
    """Return how many taps of a convolution leave so small a rest of one pole, and the largest error they then make.

    The pole is h_t = keep h_{t-1} + (1 - keep) x_t, and the error that of its answer to a constant 1.
    """
    taps = math.ceil(math.log(rest) / math.log(keep))
    time = 4 * taps
    pole = scan(torch.full((1, time, 1), keep).double(), torch.full((1, time, 1), 1 - keep).double(), method="loop")
    window = (1 - keep) * keep ** torch.arange(taps).double()
    answer = torch.cat([window.cumsum(0), window.sum().expand(time - taps)])
    return taps, (pole.flatten() - answer).abs().max().item()


def superposition_gap(gate_sees_input: bool) -> float:
    """Return how far minGRU's answer to a sum is from the sum of its answers: 0 for a filter that is linear."""
    core = _made("min_gru", 3, 8).double()
    with torch.no_grad():
        core.candidate.bias.zero_()
        if not gate_sees_input:
            core.gate.weight.zero_()
        one, other = torch.randn(2, 1, 30, 3, generator=_generator(), dtype=torch.float64)
        return (core(one + other)[0] - core(one)[0] - core(other)[0]).abs().max().item()


def gradient_through_time(gate_bias: float, time: int = 100) -> tuple[float, float]:
    """Return the median over channels of dh_T/dh_0 in minGRU, and its largest relative distance from prod(1 - z)."""
    core = _made("min_gru", 3, 16).double()
    with torch.no_grad():
        core.gate.bias.fill_(gate_bias)
    inputs = torch.randn(1, time, 3, generator=_generator(), dtype=torch.float64)
    start = torch.zeros(1, 16, dtype=torch.float64, requires_grad=True)
    core(inputs, start)[1].sum().backward()  # channels do not mix: each has its own derivative
    with torch.no_grad():
        product = (1 - torch.sigmoid(core.gate(inputs))).prod(dim=1)
    return start.grad.median().item(), ((start.grad - product) / product).abs().max().item()


def bits_in_one_number(kind: type, most: int = 200) -> int:
    """Return how many bits can be pushed on a stack that is one number, and popped again without a mistake.

    A push is s / 4 + (2 bit + 1) / 4, a pop reads whether s is at least 1/2 (Siegelmann and Sontag 1995, section 4).
    `kind` makes the numbers: torch.float32 or torch.float64, or Fraction for as many digits as it takes.
    """
    bits = torch.randint(2, (most,), generator=_generator()).tolist()
    made = Fraction if kind is Fraction else lambda value: torch.tensor(float(value), dtype=kind)
    for count in range(1, most + 1):
        stack = made(0)
        for bit in bits[:count]:
            stack = stack / 4 + made(Fraction(2 * bit + 1, 4))
        popped = []
        for _ in range(count):
            popped.append(int(stack >= made(Fraction(1, 2))))
            stack = 4 * stack - (2 * popped[-1] + 1)
        if popped[::-1] != bits[:count]:
            return count - 1
    return most


def gap_of_hopfield(patterns: Tensor | None = None, state: Tensor | None = None) -> float:
    """Return the largest difference between one Hopfield update and attention from the states to the patterns.

    The update is softmax(beta state patterns^T) patterns with beta = 1 / sqrt(D) (Ramsauer et al. 2020, equation 3);
    patterns (N, D) and states (M, D) are drawn if not given.
    """
    if patterns is None or state is None:
        patterns, state = torch.randn(12, 8, generator=_generator()), torch.randn(3, 8, generator=_generator(1))
    updated = torch.softmax(state @ patterns.T / patterns.shape[-1] ** 0.5, dim=-1) @ patterns
    attended = scaled_dot_product_attention(state[None], patterns[None], patterns[None])[0]
    return (updated - attended).abs().max().item()
