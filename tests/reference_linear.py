"""Plain NumPy transcriptions of the linear family, of sLSTM and of attention, from the papers and not the library.

Everything is float64 and goes one step at a time; nothing is scanned, fused, kept in logarithms or stabilised, so
that each line can be checked against the equation it states. `weights` is a dict of arrays under the names of the
core's `state_dict`. Every function returns a `Run`: the outputs, and the state after the last step in the paper's
own quantities, in the order in which the function takes a carried one.
"""

from typing import NamedTuple

import numpy as np
from reference import layer_norm, sigmoid


class Run(NamedTuple):
    """What a core did: outputs (B, T, D), and the parts of its state after the last step, each (B, ...)."""

    outputs: np.ndarray
    state: tuple[np.ndarray, ...]


def linear(weights, name, x):
    """W x + b, or W x where the layer has no b."""
    product = x @ weights[f"{name}.weight"].T
    return product + weights[f"{name}.bias"] if f"{name}.bias" in weights else product


def softplus(x):
    return np.logaddexp(0, x)


def silu(x):
    return x * sigmoid(x)


def softmax(scores):
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)


def positive(x):
    """g of Feng et al. 2024, appendix B: x + 0.5 from zero on, a sigmoid below."""
    return np.where(x >= 0, x + 0.5, sigmoid(np.minimum(x, 0)))


def min_gru(weights, inputs, state=None, *, log_space=False):
    """MinGRU: Feng et al. 2024, arXiv 2410.01201, section 3.1. The state is the hidden vector (B, D)."""
    width = len(weights["gate.bias"])
    hidden = np.full((len(inputs), width), 0.5 if log_space else 0.0) if state is None else state[0]
    outputs = []
    for t in range(inputs.shape[1]):
        z = sigmoid(linear(weights, "gate", inputs[:, t]))
        candidate = linear(weights, "candidate", inputs[:, t])
        if log_space:
            candidate = positive(candidate)
        hidden = (1 - z) * hidden + z * candidate
        outputs.append(hidden)
    return Run(np.stack(outputs, axis=1), (hidden,))


def min_lstm(weights, inputs, state=None, *, log_space=False):
    """MinLSTM: Feng et al. 2024, section 3.2, length-independent scaling. The state is the hidden vector (B, D)."""
    width = len(weights["forget_gate.bias"])
    hidden = np.full((len(inputs), width), 0.5 if log_space else 0.0) if state is None else state[0]
    outputs = []
    for t in range(inputs.shape[1]):
        f = sigmoid(linear(weights, "forget_gate", inputs[:, t]))
        i = sigmoid(linear(weights, "input_gate", inputs[:, t]))
        candidate = linear(weights, "candidate", inputs[:, t])
        if log_space:
            candidate = positive(candidate)
        hidden = f / (f + i) * hidden + i / (f + i) * candidate
        outputs.append(hidden)
    return Run(np.stack(outputs, axis=1), (hidden,))


def qrnn(weights, inputs, state=None, *, window=2, pooling="f", activation="tanh"):
    """QRNN: Bradbury et al. 2016, arXiv 1611.01576, section 2, equations 1 to 4.

    The convolution is masked: a step sees its own input and the `window - 1` before it, oldest first, and zeros
    before the first. The state is the cell (B, D) and those earlier inputs (B, window - 1, I).
    """
    batch_size, time, input_size = inputs.shape
    cell = np.zeros((batch_size, len(weights["candidate.bias"]))) if state is None else state[0]
    earlier = np.zeros((batch_size, window - 1, input_size)) if state is None or window == 1 else state[1]
    outputs = []
    for t in range(time):
        seen = np.concatenate([earlier, inputs[:, t : t + 1]], axis=1)  # (B, window, I)
        flat = seen.reshape(batch_size, -1)
        z = linear(weights, "candidate", flat)
        if activation == "tanh":
            z = np.tanh(z)
        f = sigmoid(linear(weights, "forget_gate", flat))
        cell = f * cell + (1 - f) * z
        outputs.append(sigmoid(linear(weights, "output_gate", flat)) * cell if pooling == "fo" else cell)
        earlier = seen[:, 1:]
    return Run(np.stack(outputs, axis=1), (cell,) if window == 1 else (cell, earlier))


def _sru_step(transformed, weights, x, cell):
    """One step of SRU from W x, W_f x, W_r x: arXiv 1709.02755 version 1, equations 3 to 7."""
    candidate, forget, reset = transformed
    f = sigmoid(forget)
    r = sigmoid(reset)
    cell = f * cell + (1 - f) * candidate
    highway = linear(weights, "highway", x) if "highway.weight" in weights else x
    return r * cell + (1 - r) * highway, cell


def sru(weights, inputs, state=None):
    """SRU: Lei et al. 2017, arXiv 1709.02755 version 1, section 2, with identity as g. The state is the cell (B, D)."""
    cell = np.zeros((len(inputs), len(weights["forget_gate.bias"]))) if state is None else state[0]
    outputs = []
    for t in range(inputs.shape[1]):
        x = inputs[:, t]
        transformed = [linear(weights, name, x) for name in ("candidate", "forget_gate", "reset_gate")]
        output, cell = _sru_step(transformed, weights, x, cell)
        outputs.append(output)
    return Run(np.stack(outputs, axis=1), (cell,))


def sru_plus_plus(weights, inputs, state=None, *, num_heads=1):
    """SRU++: Lei 2021, arXiv 2102.12459, section 3: SRU whose W x comes from attention over all inputs so far.

    Q = W_q X, K = W_k Q, V = W_v Q, U = W_o LayerNorm(Q + alpha softmax(Q K^T / sqrt(d)) V).
    The state is the cell (B, D), and every key and value so far, each (B, T, A).
    """
    batch_size, time, _ = inputs.shape
    width, size = len(weights["bias"]) // 2, len(weights["query.weight"])
    if state is None:
        state = (np.zeros((batch_size, width)), *(np.zeros((batch_size, 0, size)),) * 2)
    cell, keys, values = state

    def heads(x):
        return x.reshape(*x.shape[:-1], num_heads, -1)

    outputs = []
    for t in range(time):
        x = inputs[:, t]
        query = linear(weights, "query", x)
        keys = np.concatenate([keys, linear(weights, "key", query)[:, None]], axis=1)
        values = np.concatenate([values, linear(weights, "value", query)[:, None]], axis=1)
        scores = np.einsum("bha,bsha->bhs", heads(query), heads(keys)) / np.sqrt(size // num_heads)
        read = np.einsum("bhs,bsha->bha", softmax(scores), heads(values)).reshape(batch_size, -1)
        attended = layer_norm(weights, "norm", query + weights["attention_scale"] * read)
        candidate, forget, reset = np.split(linear(weights, "output", attended), 3, axis=1)
        forget_bias, reset_bias = np.split(weights["bias"], 2)
        output, cell = _sru_step((candidate, forget + forget_bias, reset + reset_bias), weights, x, cell)
        outputs.append(output)
    return Run(np.stack(outputs, axis=1), (cell, keys, values))


def s4d(weights, inputs, state=None):
    """S4D: Gu et al. 2022, arXiv 2206.11893, sections 2 and 4: N complex states for each channel, zero-order hold.

    h' = A h + x becomes h_t = exp(dt A) h_{t-1} + (exp(dt A) - 1) / A x_t, and y_t = 2 Re(C h_t) + D x_t.
    The state is h's real and imaginary part, (B, D, N, 2).
    """
    pole = -np.exp(weights["log_decay"]) + 1j * weights["frequency"]  # (D, N)
    step = np.exp(weights["log_step"])[:, None]
    read = weights["read"][..., 0] + 1j * weights["read"][..., 1]
    keep = np.exp(step * pole)
    write = (keep - 1) / pole
    hidden = (
        np.zeros((len(inputs), *pole.shape), complex) if state is None else state[0][..., 0] + 1j * state[0][..., 1]
    )
    outputs = []
    for t in range(inputs.shape[1]):
        x = linear(weights, "embed", inputs[:, t]) if "embed.weight" in weights else inputs[:, t]
        hidden = keep * hidden + write * x[:, :, None]
        outputs.append(2 * (read * hidden).sum(axis=-1).real + weights["skip"] * x)
    return Run(np.stack(outputs, axis=1), (np.stack([hidden.real, hidden.imag], axis=-1),))


def mamba(weights, inputs, state=None):
    """Mamba's selective state space: Gu & Dao 2023, arXiv 2312.00752, section 3 and algorithm 2.

    u = SiLU(W x); dt = softplus(W_dt u + b), B = W_B u, C = W_C u;
    h_t = exp(dt A) h_{t-1} + dt B_t u_t; y_t = (C_t h_t + D u_t) SiLU(W_z x). The state is h (B, D, N).
    """
    pole = -np.exp(weights["log_decay"])  # (D, N)
    hidden = np.zeros((len(inputs), *pole.shape)) if state is None else state[0]
    outputs = []
    for t in range(inputs.shape[1]):
        u = silu(linear(weights, "embed", inputs[:, t]))
        step = softplus(linear(weights, "step_out", linear(weights, "step_in", u)))  # (B, D)
        write = linear(weights, "write", u)  # (B, N)
        read = linear(weights, "read", u)  # (B, N)
        hidden = np.exp(step[:, :, None] * pole) * hidden + (step * u)[:, :, None] * write[:, None, :]
        y = (hidden * read[:, None, :]).sum(axis=-1) + weights["skip"] * u
        outputs.append(y * silu(linear(weights, "gate", inputs[:, t])))
    return Run(np.stack(outputs, axis=1), (hidden,))


def rwkv(weights, inputs, state=None):
    """RWKV-4's time mixing: Peng et al. 2023, arXiv 2305.13048, equations 11 to 13, 16 and 18.

    The state is the sums of equation 16, numerator and denominator, each (B, D), and the last input (B, I).
    """
    decay = np.exp(weights["decay"])  # w of the paper, positive: a step keeps e^-w
    bonus = weights["bonus"]
    if state is None:
        nothing = np.zeros((len(inputs), len(decay)))
        state = (nothing, nothing, np.zeros_like(inputs[:, 0]))
    numerator, denominator, last = state
    outputs = []
    for t in range(inputs.shape[1]):
        x = inputs[:, t]

        def mixed(name, x=x, last=last):
            share = weights[f"mix_{name}"]
            return linear(weights, name, share * x + (1 - share) * last)

        r, k, v = mixed("receptance"), mixed("key"), mixed("value")
        average = (numerator + np.exp(bonus + k) * v) / (denominator + np.exp(bonus + k))
        outputs.append(linear(weights, "output", sigmoid(r) * average))
        numerator = np.exp(-decay) * numerator + np.exp(k) * v
        denominator = np.exp(-decay) * denominator + np.exp(k)
        last = x
    return Run(np.stack(outputs, axis=1), (numerator, denominator, last))


def linear_attention(weights, inputs, state=None, *, num_heads, decay="none", normalise=False):
    """Linear attention: Katharopoulos et al. 2020, arXiv 2006.16236, section 3.3; decay as in RetNet, 2307.08621.

    S_t = alpha_t S_{t-1} + k_t v_t^T, o_t = q_t S_t. The state is S (B, H, K, V), and z (B, H, K) when normalised.
    """
    batch_size, time, _ = inputs.shape

    def heads(name, x):
        return linear(weights, name, x).reshape(batch_size, num_heads, -1)

    matrix, normaliser = 0.0, 0.0
    if state is not None:
        matrix, normaliser = (*state, 0.0)[:2]
    outputs = []
    for t in range(time):
        x = inputs[:, t]
        q, k, v = heads("query", x), heads("key", x), heads("value", x)
        if normalise:
            q, k = (np.where(part > 0, part + 1, np.exp(np.minimum(part, 0))) for part in (q, k))  # elu + 1
        alpha = np.ones((batch_size, num_heads))
        if decay == "fixed":
            alpha = alpha * (1 - 2.0 ** (-5 - np.arange(num_heads)))
        if decay == "gated":
            alpha = sigmoid(linear(weights, "forget_gate", x))
        matrix = alpha[:, :, None, None] * matrix + np.einsum("bhk,bhv->bhkv", k, v)
        read = np.einsum("bhk,bhkv->bhv", q, matrix)
        if normalise:
            normaliser = alpha[:, :, None] * normaliser + k
            read = read / np.einsum("bhk,bhk->bh", q, normaliser)[:, :, None]
        outputs.append(read.reshape(batch_size, -1))
    return Run(np.stack(outputs, axis=1), (matrix, normaliser) if normalise else (matrix,))


GATES = ("candidate", "input", "forget", "output")


def slstm(weights, inputs, state=None, *, num_heads=1, forget="exp"):
    """sLSTM: Beck et al. 2024, arXiv 2405.04517, section 2.2, equations 8 to 14, without the stabiliser.

    The state is hidden, cell and normaliser, each (B, D), the latter two as the equations have them.
    """
    width = len(weights["input.bias"]) // 4
    if state is None:
        state = (np.zeros((len(inputs), width)),) * 3
    hidden, cell, normaliser = state
    outputs = []
    for t in range(inputs.shape[1]):
        logits = dict(zip(GATES, np.split(linear(weights, "input", inputs[:, t]), 4, axis=1), strict=True))
        for number, gate in enumerate(GATES):
            for head in range(num_heads):
                part = slice(head * width // num_heads, (head + 1) * width // num_heads)
                logits[gate][:, part] += hidden[:, part] @ weights["recurrent"][number, head].T
        f = np.exp(logits["forget"]) if forget == "exp" else sigmoid(logits["forget"])
        i = np.exp(logits["input"])
        cell = f * cell + i * np.tanh(logits["candidate"])
        normaliser = f * normaliser + i
        hidden = sigmoid(logits["output"]) * cell / normaliser
        outputs.append(hidden)
    return Run(np.stack(outputs, axis=1), (hidden, cell, normaliser))


def rotated(x, position):
    """Rotary positions: Su et al. 2021, arXiv 2104.09864, equation 15. x (..., K) at one position; K is even.

    Features 2i and 2i + 1 turn together, by position * 10000^(-2i / K).
    """
    size = x.shape[-1]
    turned = np.empty_like(x)
    for i in range(size // 2):
        angle = position * 10000.0 ** (-2 * i / size)
        even, odd = x[..., 2 * i], x[..., 2 * i + 1]
        turned[..., 2 * i] = even * np.cos(angle) - odd * np.sin(angle)
        turned[..., 2 * i + 1] = even * np.sin(angle) + odd * np.cos(angle)
    return turned


def causal_attention(weights, inputs, state=None, *, num_heads, positions="rotary", max_time=None):
    """Multi-head causal attention: Vaswani et al. 2017, arXiv 1706.03762, section 3.2.

    Learned positions are rows of a table of `max_time`, added to what queries and keys are made from.
    The state is every key (turned to its position) and every value so far, each (B, T, D).
    """
    batch_size, time, _ = inputs.shape
    width = len(weights["output.bias"])
    if state is None:
        state = (np.zeros((batch_size, 0, width)),) * 2
    keys, values = state

    def heads(x):
        return x.reshape(*x.shape[:-1], num_heads, -1)

    outputs = []
    for t in range(time):
        placed = inputs[:, t]
        if positions == "learned":
            placed = placed + weights["position.weight"][keys.shape[1]]
        query, key = linear(weights, "query", placed), linear(weights, "key", placed)
        value = linear(weights, "value", inputs[:, t])
        if positions == "rotary":
            position = keys.shape[1]
            query, key = (rotated(heads(x), position).reshape(batch_size, -1) for x in (query, key))
        keys = np.concatenate([keys, key[:, None]], axis=1)
        values = np.concatenate([values, value[:, None]], axis=1)
        scores = np.einsum("bhk,bshk->bhs", heads(query), heads(keys)) / np.sqrt(width // num_heads)
        read = np.einsum("bhs,bshv->bhv", softmax(scores), heads(values))
        outputs.append(linear(weights, "output", read.reshape(batch_size, -1)))
    return Run(np.stack(outputs, axis=1), (keys, values))
