"""Answers to the assignment as students write them, right and wrong: Python text for a notebook's cells.

The right ones are computed in another way than the library's.
"""

from textwrap import dedent

RIGHT = {
    "parameters": "parameters = sum(p.numel() for p in torch.nn.LSTM({inputs}, {units}).parameters())",
    "attend": """
        def attend(queries, keys, values):
            read = []
            for t, query in enumerate(queries):
                rows = range(max(0, t - {window} + 1), t + 1)
                weights = [math.exp(float(query @ keys[row]) / math.sqrt(len(query))) for row in rows]
                read.append(sum(w * values[row] for w, row in zip(weights, rows)) / sum(weights))
            return torch.stack(read)
    """,
    "gate_step": """
        def gate_step(memory, attended, logits):
            D, first, new = memory.shape[1], {first!r}, torch.zeros_like(memory)
            for s, row in enumerate(logits.tolist()):
                for d in range(D):
                    i, f = (row[d], row[D + d]) if first == "input" else (row[D + d], row[d])
                    written = math.tanh(attended[s, d]) / (1 + math.exp(-i))
                    new[s, d] = written + memory[s, d] / (1 + math.exp(-f - {bias}))
            return new
    """,
    "accuracy": """
        shares = [1.0] * (1 + {solved}) + [1 / ({items} - 1)] * ({items} - 1 - {solved})
        accuracy = sum(shares) / len(shares)
    """,
    "min_gru": """
        def min_gru(logits, candidates, state):
            z = 1 / (1 + (-{sharpness} * logits).exp())
            kept = 1 - z if {writes} else z
            # h_t is a weighted mean of h_0 and all candidates.
            states = []
            for t in range(len(z)):
                h = kept[: t + 1].prod(0) * state
                for s in range(t + 1):
                    h = h + kept[s + 1 : t + 1].prod(0) * (1 - kept[s]) * candidates[s]
                states.append(h)
            return torch.stack(states)
    """,
    "joined": """
        def three(h):
            for a, b in {steps}:
                h = a * h + b
            return h
        joined = (three(1.0) - three(0.0), three(0.0))
    """,
    "cups": """
        place = dict(zip("ABCDE", range(1, 6)))
        for one, two in {swaps}:
            place = {{ball: {{one: two, two: one}}.get(p, p) for ball, p in place.items()}}
        cups = "".join(sorted(place, key=place.get))
    """,
    "numbers_needed": """
        numbers_needed = 0
        while 2 ** ({bits} * numbers_needed) < {choices} ** {pairs}:
            numbers_needed += 1
    """,
    "recall": """
        def recall(keys, values, questions):
            ages = torch.arange(len(keys) - 1, -1, -1)
            return (questions @ keys.T * {decay} ** ages) @ values
    """,
    "cache_bytes": """
        attention_layers = len(range({attention_every}, {layers} + 1, {attention_every}))
        keys = torch.zeros({kept}, {size}, dtype=torch.float16)
        cache_bytes = attention_layers * (keys.nbytes + keys.nbytes) * {time}
    """,
}

# Each with words of the sentence that it is answered with.
WRONG = {
    "parameters": [
        ("parameters = 4 * {units} * ({inputs} + {units} + 1)", "One bias is missing"),
        ("parameters = 4 * ({units} * {inputs} + {units} ** 2)", "The biases are missing"),
        ("parameters = 3 * {units} * ({inputs} + {units} + 2)", "the candidate has weights too"),
        ("parameters = -5", "too small"),
        ("parameters = 'many'", "'many' where a number"),
    ],
    "attend": [
        (
            """
            def attend(queries, keys, values):
                return torch.softmax(queries @ keys.T / keys.shape[1] ** 0.5, -1) @ values
            """,
            "also the later ones",
        ),
        (
            """
            def attend(queries, keys, values):
                scores = queries @ keys.T / keys.shape[1] ** 0.5
                return torch.softmax(scores.masked_fill(torch.ones_like(scores).triu(1) > 0, -1e9), -1) @ values
            """,
            "all earlier ones",
        ),
        (
            """
            def attend(queries, keys, values):
                scores, ones = queries @ keys.T / 2, torch.ones(len(queries), len(keys))
                outside = (ones.triu(1) > 0) | (ones.tril(-{window} - 1) > 0)
                return torch.softmax(scores.masked_fill(outside, -torch.inf), -1) @ values
            """,
            "one row too long",
        ),
        (
            """
            def attend(queries, keys, values):
                scores, ones = queries @ keys.T, torch.ones(len(queries), len(keys))
                outside = (ones.triu(1) > 0) | (ones.tril(-{window}) > 0)
                return torch.softmax(scores.masked_fill(outside, -torch.inf), -1) @ values
            """,
            "root of K",
        ),
        ("def attend(queries, keys, values):\n    return keys", "has shape (9, 4) where (9, 3)"),
        ("def attend(queries, keys):\n    return keys", "raised TypeError"),
        ("attend = 3", "is to be a function"),
    ],
    "gate_step": [
        (
            """
            def gate_step(memory, attended, logits):
                second, one = torch.sigmoid(logits).chunk(2, -1)
                one, second = (second, one) if {first!r} == "input" else (one, second)
                return one * attended.tanh() + second * memory
            """,
            "constant of {bias} is missing",
        ),
        (
            """
            def gate_step(memory, attended, logits):
                i, f = logits.chunk(2, -1) if {first!r} == "forget" else logits.chunk(2, -1)[::-1]
                return i.sigmoid() * attended.tanh() + (f + {bias}).sigmoid() * memory
            """,
            "halves are swapped",
        ),
        (
            """
            def gate_step(memory, attended, logits):
                i, f = logits.chunk(2, -1) if {first!r} == "input" else logits.chunk(2, -1)[::-1]
                return i.sigmoid() * attended + (f + {bias}).sigmoid() * memory
            """,
            "The tanh around",
        ),
        ("def gate_step(memory, attended, logits):\n    memory += 1", "is its `return` missing"),
    ],
    "accuracy": [
        ("accuracy = (1 + {solved}) / {items}", "their share is missing"),
        ("accuracy = 2 / {items}", "That is the plateau"),
        ("accuracy = (1 + {solved}) / {items} + ({items} - 1 - {solved}) / {items} ** 2", "that are not m's"),
        ("accuracy = 1.5", "too large"),
    ],
    "min_gru": [
        (
            """
            def min_gru(logits, candidates, state):
                z, states = torch.sigmoid(logits), []
                for gate, candidate in zip(z if {writes} else 1 - z, candidates):
                    state = torch.lerp(state, candidate, gate)
                    states.append(state)
                return torch.stack(states)
            """,
            "not multiplied by {sharpness}",
        ),
        (
            """
            def min_gru(logits, candidates, state):
                z, states = torch.sigmoid({sharpness} * logits), []
                for gate, candidate in zip(1 - z if {writes} else z, candidates):
                    state = torch.lerp(state, candidate, gate)
                    states.append(state)
                return torch.stack(states)
            """,
            "sense is turned",
        ),
        (
            """
            def min_gru(logits, candidates, state):
                z, state, states = torch.sigmoid({sharpness} * logits), 0 * state, []
                for gate, candidate in zip(z if {writes} else 1 - z, candidates):
                    state = torch.lerp(state, candidate, gate)
                    states.append(state)
                return torch.stack(states)
            """,
            "starts from zeros",
        ),
        ("def min_gru(logits, candidates, state):\n    return candidates", "differ"),
    ],
    "joined": [
        ("(a1, b1), (a2, b2), (a3, b3) = {steps}\njoined = (a1 * a2 * a3, b1 + b2 + b3)", "added as they stand"),
        ("(a1, b1), (a2, b2), (a3, b3) = {steps}\njoined = (a1 * a2 * a3, a1 * (a2 * b3 + b2) + b1)", "other order"),
        ("(a1, b1), (a2, b2), (a3, b3) = {steps}\njoined = (a1 * a2, a2 * b1 + b2)", "the third is missing"),
        ("joined = 3", "a tuple of 2 was expected"),
    ],
    "cups": [
        ("cups = 'ABCDE'", "Nothing has moved"),
        (
            """
            row = list("ABCDE")
            for one, two in reversed({swaps}):
                row[one - 1], row[two - 1] = row[two - 1], row[one - 1]
            cups = "".join(row)
            """,
            "from the last to the first",
        ),
        (
            """
            row = list("ABCDE")
            for one, two in {swaps}:
                row[one - 1], row[two - 1] = row[two - 1], row[one - 1]
            cups = "".join(reversed(row))
            """,
            "from place 5 to place 1",
        ),
        ("cups = 12345", "the number 12345"),
    ],
    "numbers_needed": [
        ("numbers_needed = {pairs} * math.log2({choices}) / {bits}", "round up"),
        ("numbers_needed = math.ceil({pairs} * math.log2({choices}))", "Those are bits"),
        ("numbers_needed = math.ceil({pairs} * math.log({choices}) / {bits})", "base 2"),
        ("numbers_needed = 1e200", "not finite"),
        ("numbers_needed = {pairs}", "count bits"),
    ],
    "recall": [
        ("def recall(keys, values, questions):\n    return questions @ (keys.T @ values)", "Nothing fades"),
        (
            """
            def recall(keys, values, questions):
                return (questions @ keys.T * {decay} ** torch.arange(len(keys))) @ values
            """,
            "from the wrong end",
        ),
        (
            """
            def recall(keys, values, questions):
                return (questions @ keys.T * {decay} ** torch.arange(len(keys), 0, -1)) @ values
            """,
            "fades at once",
        ),
        ("def recall(keys, values, questions):\n    raise KeyError('x')", "raised KeyError"),
    ],
    "cache_bytes": [
        ("cache_bytes = {layers} // {attention_every} * {kept} * {size} * 2 * {time}", "the values are missing"),
        ("cache_bytes = {layers} * 2 * {kept} * {size} * 2 * {time}", "Only the attention layers"),
        ("cache_bytes = {layers} // {attention_every} * 2 * {heads} * {size} * 2 * {time}", "The query heads share"),
        ("cache_bytes = float('nan')", "not finite"),
    ],
}


def written(source: str, numbers: dict) -> str:
    """An answer with a student's numbers in it."""
    return dedent(source.format(**numbers))
