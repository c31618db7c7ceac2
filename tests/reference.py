"""Plain NumPy transcriptions of the cores, written from the papers and not from the library.

Everything is float64 and goes one sequence, one step, one head at a time, so that each line can be checked
against the equation it states. `weights` is a dict of arrays under the names of the core's `state_dict`.

`relational_memory(..., departure=NAME)` makes one of the mistakes that other implementations make; the tests
assert that the library differs from each of them.
"""

from typing import NamedTuple

import numpy as np

LAYER_NORM_EPSILON = 1e-5

# Departures that show in the numbers of a gated memory with several slots, heads, blocks and MLP layers.
DEPARTURES = {
    "query_not_scaled": "q enters the dot product as it is",
    "query_scaled_by_qkv_size": "q is scaled by (2k + v)^-1/2, as the reference did until November 2018",
    "one_mlp_layer_reused": "the first MLP layer is applied mlp_layers times",
    "relu_after_last_mlp_layer": "every MLP layer is followed by a ReLU, the last one too",
    "mlp_dropped": "the block ends after attention",
    "qkv_normalised_jointly": "qkv's LayerNorm takes its statistics over [slots, features]",
    "attention_normalised_jointly": "the LayerNorm after attention takes its statistics over [slots, features]",
    "mlp_normalised_jointly": "the LayerNorm after the MLP takes its statistics over [slots, features]",
    "qkv_norm_discarded": "qkv's LayerNorm is computed and not used",
    "attention_norm_discarded": "the LayerNorm after attention is computed and not used",
    "mlp_norm_discarded": "the LayerNorm after the MLP is computed and not used",
    "qkv_normalised_after_head_split": "each head's q, k, v is normalised by itself",
    "queries_before_keys_before_values": "qkv is split as [q of all heads | k of all | v of all]",
    "softmax_over_queries": "attention weights sum to 1 over the rows that ask, not over those that answer",
    "attention_residual_missing": "X = LayerNorm(A)",
    "mlp_residual_missing": "X = LayerNorm(MLP(X))",
    "input_on_feature_axis": "the input is tiled beside each memory row instead of being a row",
    "first_row_dropped": "the input row is kept and the first memory row is dropped",
    "only_memory_queried": "the input row is not updated between blocks",
    "projections_shared_by_blocks": "the first block's projection and norms serve every block",
    "forget_before_input": "the gates are split forget first",
    "gates_from_raw_memory": "the memory gates see M, not tanh(M)",
    "gates_without_input": "the gates see the memory only",
    "gate_biases_missing": "forget_bias and input_bias are not added",
    "tanh_memory_carried": "f * tanh(M) instead of f * M",
    "candidate_not_squashed": "i * X instead of i * tanh(X)",
    "output_gate": "a third gate is put on the output",
}


class RelationalMemoryRun(NamedTuple):
    """What a relational memory did: T steps, S slots, H heads, G = D or 1."""

    outputs: np.ndarray  # (B, T, S * D)
    memory: np.ndarray  # (B, S, D), after the last step
    memories: np.ndarray  # (B, T, S, D), after each step
    attention: np.ndarray  # (B, T, blocks, H, S, S + 1), memory rows as queries
    input_gate: np.ndarray | None  # (B, T, S, G)
    forget_gate: np.ndarray | None  # (B, T, S, G)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def normalise(x, axis=-1):
    mean = x.mean(axis=axis, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=axis, keepdims=True)
    return (x - mean) / np.sqrt(variance + LAYER_NORM_EPSILON)


def layer_norm(weights, name, rows, jointly=False):
    """Rows (R, D): each row by itself, or, departed, all rows together."""
    return normalise(rows, (0, 1) if jointly else -1) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def initial_memory(batch_size, num_slots, width):
    """Step 1: the identity, padded with zeros or truncated."""
    memory = np.zeros((batch_size, num_slots, width))
    for slot in range(min(num_slots, width)):
        memory[:, slot, slot] = 1
    return memory


def _attend(weights, block, rows, *, num_heads, head_size, key_size, departure):
    """Step 3, attention: rows (R, D) -> what each row read (R, D), attention weights (H, R, R)."""
    head_width = 2 * key_size + head_size
    qkv = linear(weights, f"{block}.qkv", rows)  # (R, H (2k + v))
    if departure == "qkv_normalised_after_head_split":
        gain, bias = weights[f"{block}.qkv_norm.weight"], weights[f"{block}.qkv_norm.bias"]
        for head in range(num_heads):
            part = slice(head * head_width, (head + 1) * head_width)
            qkv[:, part] = normalise(qkv[:, part]) * gain[part] + bias[part]
    elif departure != "qkv_norm_discarded":
        qkv = layer_norm(weights, f"{block}.qkv_norm", qkv, jointly=departure == "qkv_normalised_jointly")

    scale = key_size**-0.5
    if departure == "query_not_scaled":
        scale = 1.0
    if departure == "query_scaled_by_qkv_size":
        scale = head_width**-0.5

    read, attention = [], []
    for head in range(num_heads):
        start = head * head_width
        queries = qkv[:, start : start + key_size]
        keys = qkv[:, start + key_size : start + 2 * key_size]
        values = qkv[:, start + 2 * key_size : start + head_width]
        if departure == "queries_before_keys_before_values":
            all_keys = num_heads * key_size
            queries = qkv[:, head * key_size : (head + 1) * key_size]
            keys = qkv[:, all_keys + head * key_size : all_keys + (head + 1) * key_size]
            values = qkv[:, 2 * all_keys + head * head_size : 2 * all_keys + (head + 1) * head_size]
        scores = (queries * scale) @ keys.T  # (R queries, R keys)
        axis = 0 if departure == "softmax_over_queries" else 1
        scores = np.exp(scores - scores.max(axis=axis, keepdims=True))
        share = scores / scores.sum(axis=axis, keepdims=True)
        attention.append(share)
        read.append(share @ values)
    return np.concatenate(read, axis=1), np.stack(attention)


def _mlp(weights, rows, departure):
    num_layers = sum(name.startswith("mlp.") and name.endswith(".weight") for name in weights)
    for layer in range(num_layers):
        name = "mlp.0" if departure == "one_mlp_layer_reused" else f"mlp.{layer}"
        rows = linear(weights, name, rows)
        if layer < num_layers - 1 or departure == "relu_after_last_mlp_layer":
            rows = np.maximum(rows, 0)
    return rows


def _relational_memory_step(
    weights,
    x,
    memory,
    *,
    num_heads,
    head_size,
    key_size,
    num_blocks,
    gate,
    forget_bias,
    input_bias,
    departure,
):
    """One step of one sequence: x (I,), memory (S, D)."""
    num_slots, width = memory.shape

    # 2. X = [M; e]
    embedded = linear(weights, "embed", x)
    rows = np.concatenate([memory, embedded[None]])  # (S + 1, D)
    if departure == "input_on_feature_axis":
        rows = memory + embedded  # [M | e] through one projection whose two halves are the same

    # 3. X = LayerNorm(X + A), X = LayerNorm(MLP(X) + X)
    attention = []
    for index in range(num_blocks):
        block = "blocks.0" if departure == "projections_shared_by_blocks" else f"blocks.{index}"
        before = rows
        read, share = _attend(
            weights,
            block,
            rows,
            num_heads=num_heads,
            head_size=head_size,
            key_size=key_size,
            departure=departure,
        )
        attention.append(share[:, :num_slots])
        rows = read if departure == "attention_residual_missing" else rows + read
        if departure != "attention_norm_discarded":
            jointly = departure == "attention_normalised_jointly"
            rows = layer_norm(weights, f"{block}.attention_norm", rows, jointly)
        if departure != "mlp_dropped":
            processed = _mlp(weights, rows, departure)
            rows = processed if departure == "mlp_residual_missing" else processed + rows
            if departure != "mlp_norm_discarded":
                rows = layer_norm(weights, f"{block}.mlp_norm", rows, jointly=departure == "mlp_normalised_jointly")
        if departure == "only_memory_queried":
            rows = np.concatenate([rows[:num_slots], before[num_slots:]])

    # 4. the input row is dropped
    attended = rows[1:] if departure == "first_row_dropped" else rows[:num_slots]
    if gate is None:
        return attended, attended, np.stack(attention), None, None

    # 5. i, f = split(Linear(e) + Linear(tanh(M)))
    seen = memory if departure == "gates_from_raw_memory" else np.tanh(memory)
    logits = linear(weights, "memory_gates", seen)  # (S, 2G)
    if departure != "gates_without_input":
        logits = logits + linear(weights, "input_gates", embedded)
    size = logits.shape[1] // 2
    assert size == {"unit": width, "memory": 1}[gate]
    input_logits, forget_logits = logits[:, :size], logits[:, size:]
    if departure == "forget_before_input":
        input_logits, forget_logits = forget_logits, input_logits
    if departure == "gate_biases_missing":
        input_bias = forget_bias = 0.0
    input_gate = sigmoid(input_logits + input_bias)
    forget_gate = sigmoid(forget_logits + forget_bias)

    # 6. M' = i tanh(X) + f M
    candidate = attended if departure == "candidate_not_squashed" else np.tanh(attended)
    carried = np.tanh(memory) if departure == "tanh_memory_carried" else memory
    memory = input_gate * candidate + forget_gate * carried
    output = sigmoid(forget_logits) * memory if departure == "output_gate" else memory
    return output, memory, np.stack(attention), input_gate, forget_gate


def relational_memory(
    weights,
    inputs,
    memory=None,
    *,
    num_slots,
    num_heads,
    head_size,
    key_size=None,
    num_blocks=1,
    gate="unit",
    forget_bias=1.0,
    input_bias=0.0,
    departure=None,
    **ignored,
):
    """The Relational Memory Core of Santoro et al. 2018, arXiv 1806.01822: inputs (B, T, I), memory (B, S, D)."""
    assert departure is None or departure in DEPARTURES, departure
    batch_size, time, _ = inputs.shape
    width = num_heads * head_size
    if memory is None:
        memory = initial_memory(batch_size, num_slots, width)
    assert memory.shape == (batch_size, num_slots, width)

    sequences = []
    for b in range(batch_size):
        steps, current = [], memory[b]
        for t in range(time):
            output, current, attention, input_gate, forget_gate = _relational_memory_step(
                weights,
                inputs[b, t],
                current,
                num_heads=num_heads,
                head_size=head_size,
                key_size=head_size if key_size is None else key_size,
                num_blocks=num_blocks,
                gate=gate,
                forget_bias=forget_bias,
                input_bias=input_bias,
                departure=departure,
            )
            steps.append((output.reshape(-1), current, attention, input_gate, forget_gate))
        sequences.append(steps)

    def gathered(part):
        if sequences[0][0][part] is None:
            return None
        return np.stack([np.stack([step[part] for step in steps]) for steps in sequences])

    memories = gathered(1)
    return RelationalMemoryRun(gathered(0), memories[:, -1], memories, gathered(2), gathered(3), gathered(4))


class LSTMRun(NamedTuple):
    """What an LSTM did; every array is (B, T, D), except the last hidden state and cell, (B, D)."""

    outputs: np.ndarray
    hidden: np.ndarray
    cell: np.ndarray
    input_gate: np.ndarray
    forget_gate: np.ndarray
    candidate: np.ndarray
    output_gate: np.ndarray
    cells: np.ndarray


def lstm(weights, inputs, hidden=None, cell=None):
    """An LSTM in torch's layout: rows of the weights are [input | forget | candidate | output]."""
    batch_size, time, _ = inputs.shape
    width = weights["lstm.weight_hh_l0"].shape[1]
    hidden = np.zeros((batch_size, width)) if hidden is None else hidden
    cell = np.zeros((batch_size, width)) if cell is None else cell
    steps = []
    for t in range(time):
        logits = inputs[:, t] @ weights["lstm.weight_ih_l0"].T + weights["lstm.bias_ih_l0"]
        logits = logits + hidden @ weights["lstm.weight_hh_l0"].T + weights["lstm.bias_hh_l0"]
        input_gate = sigmoid(logits[:, :width])
        forget_gate = sigmoid(logits[:, width : 2 * width])
        candidate = np.tanh(logits[:, 2 * width : 3 * width])
        output_gate = sigmoid(logits[:, 3 * width :])
        cell = forget_gate * cell + input_gate * candidate
        hidden = output_gate * np.tanh(cell)
        steps.append((hidden, input_gate, forget_gate, candidate, output_gate, cell))
    outputs, *gates, cells = (np.stack(part, axis=1) for part in zip(*steps, strict=True))
    return LSTMRun(outputs, hidden, cell, *gates, cells)


class GRURun(NamedTuple):
    """What a GRU did; every array is (B, T, D), except the last hidden state, (B, D)."""

    outputs: np.ndarray
    hidden: np.ndarray
    reset_gate: np.ndarray
    update_gate: np.ndarray
    candidate: np.ndarray


def gru(weights, inputs, hidden=None):
    """A GRU in torch's layout: rows are [reset | update | candidate]; the reset gate acts after the product."""
    batch_size, time, _ = inputs.shape
    width = weights["gru.weight_hh_l0"].shape[1]
    hidden = np.zeros((batch_size, width)) if hidden is None else hidden
    steps = []
    for t in range(time):
        from_input = inputs[:, t] @ weights["gru.weight_ih_l0"].T + weights["gru.bias_ih_l0"]
        from_hidden = hidden @ weights["gru.weight_hh_l0"].T + weights["gru.bias_hh_l0"]
        reset_gate = sigmoid(from_input[:, :width] + from_hidden[:, :width])
        update_gate = sigmoid(from_input[:, width : 2 * width] + from_hidden[:, width : 2 * width])
        candidate = np.tanh(from_input[:, 2 * width :] + reset_gate * from_hidden[:, 2 * width :])
        hidden = (1 - update_gate) * candidate + update_gate * hidden
        steps.append((hidden, reset_gate, update_gate, candidate))
    outputs, *gates = (np.stack(part, axis=1) for part in zip(*steps, strict=True))
    return GRURun(outputs, hidden, *gates)


def arrays(module):
    """A module's parameters as float64 arrays under their names."""
    return {name: tensor.detach().double().numpy().copy() for name, tensor in module.state_dict().items()}
