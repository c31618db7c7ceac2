"""Checks for the exercises of chapter 8, one recurrence under many names."""

import torch

from relmem_lite.exercises import compare, describe, exercise, matches


@exercise("08.1-who-looks")
def who_looks(answer):
    """Members whose a depends on the input: QRNN, Mamba, mLSTM, minGRU."""
    if isinstance(answer, str):
        answer = [letter for letter in answer.lower() if letter.isalpha()]
    if not isinstance(answer, set | frozenset | list | tuple) or not all(isinstance(each, str) for each in answer):
        return f'Give the letters as a string, such as "bd"; this is {describe(answer)}.'
    chosen = {each.strip().lower() for each in answer}
    if not chosen <= set("abcdefgh"):
        return "The list has the letters a to h: name those whose a looks at the input."
    right = set("afgh")
    if chosen == set("bcde"):
        return "Turned round: these are the four whose a does not depend on the input."
    wrong = {
        "b": "b: linear attention keeps everything; its a is 1, whatever comes in.",
        "c": "c: S4D's step is learned for each channel, but no input changes it; only Mamba's does.",
        "d": "d: RWKV's keys depend on the input, and are written; the factor exp(-w) is learned and fixed.",
        "e": "e: RetNet's decay is a constant of each head, not even learned.",
    }
    missing = {
        "a": "a: a QRNN's forget gate is computed from its window, and the window holds this input.",
        "f": "f: Mamba's a is exp(step times A), and the input sets the step.",
        "g": "g: mLSTM has a forget gate, one number a head, computed from the input.",
        "h": "h: minGRU keeps 1 - z, and z is computed from the input.",
    }
    for letter in sorted(chosen - right):
        return wrong[letter]
    for letter in sorted(right - chosen):
        return missing[letter]
    return None


@exercise("08.2-step")
def step(answer):
    """The pair a = exp(delta A), b = (exp(delta A) - 1) / A times u, for small steps too (S4D's, with B = 1)."""
    if not callable(answer):
        return f"The answer is a function of A, delta and u; this is {describe(answer)}."
    generator = torch.Generator().manual_seed(0)
    A, delta = -torch.tensor([0.5, 2.0, 3.0]), 0.1 + torch.rand(2, 5, 3, generator=generator)
    u = torch.randn(2, 5, 3, generator=generator)
    message = _step_mistake(answer(A, delta, u), A, delta, u)
    if message is not None:
        return message
    A, delta = 1e-3 * A, torch.full_like(u, 1e-3)
    if not matches(answer(A, delta, u), (torch.exp(delta * A), torch.expm1(delta * A) / A * u)):
        return "Right for steps of usual size, but not where Delta A is a millionth: e^x - 1 is `torch.expm1(x)` there."
    return None


def _step_mistake(given, A, delta, u):
    if not isinstance(given, tuple | list) or len(given) != 2:
        return f"It should return a and b, two tensors; it returns {describe(given)}."
    a, written = torch.exp(delta * A), torch.expm1(delta * A)
    b = written / A * u
    known = [
        ((a, delta * u), "a is right; b = Delta u is Mamba's, for small steps alone: u acts while the state fades."),
        ((a, written * u), "a is right; in b the division by A is missing."),
        ((a, -written * u), "1 - a is a gate's share: here the input adds up over the step, to (a - 1) / A times u."),
        ((a, -b), "b has the wrong sign: a - 1 and A are both negative, their quotient is not."),
        ((a, written * A * u), "a is right; in b, a - 1 is divided by A, not multiplied."),
        ((a, b / delta), "a is right; b is divided by A alone, not by Delta A."),
        ((a, b * delta), "a is right; Delta stands in b already, inside a: do not multiply by it again."),
        ((a, u), "a is right; u is written as if it took no time: it acts for a time Delta, while the state fades."),
        ((a, written / A), "b is what is written: (a - 1) / A times the input u."),
        ((1 + delta * A, delta * u), "That is Euler's step, for small steps alone: the exact one has an exponential."),
        (
            (torch.exp(A).expand_as(u), torch.expm1(A) / A * u),
            "The length of the step is missing: it is Delta A that stands in the exponent.",
        ),
        (
            (torch.exp(-delta * A), torch.expm1(-delta * A) / -A * u),
            "A is below 0 already: with a minus before it the state grows.",
        ),
        ((delta * A, b), "b is right; a is the exponential of Delta A."),
        ((b, a), "a and b are in the other order: return a, b."),
    ]
    for wrong, sentence in known:
        if matches(given, wrong):
            return sentence
    return compare(given[0], a, "a") or compare(given[1], b, "b")


@exercise("08.3-decay-table")
def decay_table(answer):
    """The powers gamma ** (t - s) below and on the diagonal, 0 above."""
    if not callable(answer):
        return f"The answer is a function of gamma and T; this is {describe(answer)}."
    gamma, time = torch.tensor([0.5, 0.9]), 5
    given = answer(gamma, time)
    distance = torch.arange(time)[:, None] - torch.arange(time)
    base = gamma[:, None, None]
    right = (base ** distance.clamp(min=0)).tril()
    known = [
        (right.transpose(1, 2), "Rows and columns are exchanged: row t, column s, and nothing above the diagonal."),
        (base ** distance.abs(), "Above the diagonal stands the future, which nothing is left of yet: set it to 0."),
        (base**distance, "Above the diagonal stands the future, which nothing is left of yet: set it to 0."),
        (base ** distance.clamp(min=0), "Above the diagonal stands the future, which is not 1 but 0: cut it off."),
        ((base ** (distance.clamp(min=0) + 1)).tril(), "On the diagonal nothing has faded yet: gamma to the power 0."),
        (right.tril(-1), "What is written at a step is whole at that step: the diagonal is 1."),
        (
            (base * torch.ones(time, time)).tril(),
            "The factor is applied once for each step that passed: gamma ** (t - s).",
        ),
        (
            base * torch.ones(time, time),
            "The factor is applied once for each step that passed, and never to the future.",
        ),
        (base**-distance, "The power has the wrong sign: t, the row, minus s, the column."),
        ((base**-distance).tril(), "The power has the wrong sign: t, the row, minus s, the column."),
        (
            ((1 - base) ** distance.clamp(min=0)).tril(),
            "gamma is what a step keeps: its powers are asked for, not those of 1 - gamma.",
        ),
        (
            (base ** torch.arange(time)[:, None]).expand_as(right).tril(),
            "The power is the distance t - s, not the step t: what was written later has faded less.",
        ),
        (
            torch.exp(-base * distance.clamp(min=0)).tril(),
            "gamma itself is what a step keeps: its powers are asked for, gamma ** (t - s), without exp.",
        ),
        ((base * distance).tril(), "The decays multiply, they do not add up: gamma to the power t - s."),
        (right[0], "One table for each head is missing: gamma has H entries, the answer is (H, T, T)."),
        (right.permute(1, 2, 0), "The heads come first: (H, T, T)."),
    ]
    for wrong, sentence in known:
        if matches(given, wrong):
            return sentence
    return compare(given, right, "the table")


@exercise("08.4-overtake")
def overtake(answer):
    """The first t with 2 D t > H K V = D D / H, at D = 64 and H = 4: 9."""
    known = [
        (8, "After 8 steps both keep 1,024 numbers: it keeps more one step later."),
        (17, "Each step leaves a key and a value, 2 D numbers: you counted one of them."),
        (16, "Each step leaves a key and a value, 2 D numbers: you counted one of them."),
        (3, "That is one head's matrix; there are 4 of them."),
        (2, "That is one head's matrix; there are 4 of them."),
        (33, "The heads share the width: a head's matrix is 16 x 16, not 64 x 64."),
        (32, "The heads share the width: a head's matrix is 16 x 16, not 64 x 64."),
        (10, "One too many: compare 128 numbers a step with linear attention's 1,024."),
        (64, "Linear attention keeps 4 matrices of 16 x 16, and attention a key and a value a step, 128 numbers."),
        (65, "Linear attention keeps 4 matrices of 16 x 16, and attention a key and a value a step, 128 numbers."),
        (8.5, "Steps are whole: from which on does attention keep more?"),
        (129, "A head's keys and values have 64 / 4 = 16 numbers: its matrix is 16 x 16."),
        (1, "After one step attention keeps a key and a value, 128 numbers; linear attention keeps 4 matrices."),
        (1024, "That is the size of linear attention's state: after how many steps of 128 numbers is it exceeded?"),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong):
            return sentence
    return compare(answer, 9)


@exercise("08.5-stop-the-clock")
def stop_the_clock(answer):
    """The pair: a is keep at data and 1 elsewhere; b is 1 for the token's own symbol and 0 elsewhere."""
    if not callable(answer):
        return f"The answer is a function of tokens, keep and vocab_size; this is {describe(answer)}."
    tokens = torch.tensor([[3, 0, 3, 2, 4, 1], [1, 1, 3, 4, 0, 3]])
    keep, size = torch.tensor([0.25, 0.75]), 3
    given = answer(tokens, keep, size)
    if not isinstance(given, tuple | list) or len(given) != 2:
        return f"It should return a and b, two tensors; it returns {describe(given)}."
    own = (tokens[..., None] == torch.arange(size)).float()[..., None].expand(*tokens.shape, size, len(keep))
    is_data = (tokens < size)[..., None, None].expand_as(own)
    ones = torch.ones_like(own)
    a = torch.where(is_data, keep * ones, ones)
    at_own = torch.where(own > 0, keep * ones, ones)
    known = [
        ((keep * ones, own), "Time passes at noise, too: a must be 1 where no data token stands."),
        (
            (torch.where(is_data, keep * ones, 0 * ones), own),
            "At noise you forget everything: standing still is a = 1, not a = 0.",
        ),
        (
            (at_own, own),
            "Only the token's own symbol fades; a new data token pushes the older ones down for every symbol.",
        ),
        (
            (torch.where(is_data, ones, keep * ones), own),
            "Turned round: time passes at data and stands still at noise.",
        ),
        ((ones, own), "a is 1 everywhere: then the state counts the tokens and forgets their order."),
        ((a, is_data.float()), "You add 1 for every symbol: only the token's own symbol is written."),
        ((a, ones), "Something is written at noise: b is 0 there."),
        ((a, own * (1 - keep)), "Exactly 1 is added here, not 1 - keep."),
        ((a, own * keep), "Exactly 1 is added here, not keep: a state is multiplied before something is added."),
        (
            (torch.where(own > 0, ones, a), own),
            "The token's own symbol must fade, too: every state is multiplied at a data token.",
        ),
        ((a, 0 * ones), "Nothing is ever written: at a data token the n states of its own symbol get 1 added."),
        ((own, a), "a and b are in the other order: return a, b."),
        (
            (torch.where((tokens == size)[..., None, None], ones, a * 0 + keep), own),
            "Only one token is slept through; every token from vocab_size on is to be, the recall token too.",
        ),
    ]
    for wrong, sentence in known:
        if matches(given, wrong):
            return sentence
    for name, part, right in (("a", given[0], a), ("b", given[1], own)):
        if torch.is_tensor(part) and part.shape != right.shape:
            has = f"{name} has shape {tuple(part.shape)}, (B, T, vocab_size, n) = {tuple(right.shape)} is asked for."
            return f"{has} Expand it." if part.ndim == right.ndim else has
    return compare(given[0], a, "a") or compare(given[1], own, "b")
