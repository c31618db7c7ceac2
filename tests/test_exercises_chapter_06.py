"""The right answers to chapter 6's exercises, and the wrong ones that students give, each with its sentence."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import logsigmoid

from relmem_lite import MinGRU, MinLSTM
from relmem_lite.exercises import check
from relmem_lite.models import num_parameters

sigmoid = torch.sigmoid


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message, verdict


@pytest.mark.parametrize("name", ["06.1-count", "06.2-min-gru", "06.4-weights", "06.6-share"])
def test_untouched_functions_are_unanswered(name):
    assert check(name, lambda *inputs: ...).status == "unanswered"


def test_untouched_number_and_class_are_unanswered():
    class Stub(nn.Module):
        def __init__(self, token_size, hidden_state_size):
            raise NotImplementedError

    assert check("06.5-taps", ...).status == "unanswered"
    assert check("06.3-mend", Stub).status == "unanswered"


def test_count_is_right_and_the_library_s():
    def count(input_size, hidden_size):
        return 3 * (input_size + 1) * hidden_size

    check("06.1-count", count, strict=True)
    assert count(5, 7) == num_parameters(MinLSTM(5, 7))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda i, d: 3 * i * d, "biases are left out"),
        (lambda i, d: 2 * (i * d + d), "That is minGRU"),
        (lambda i, d: 4 * (i * d + d), "four maps"),
        (lambda i, d: 3 * (d * (i + d) + d), "the state as well"),
        (lambda i, d: 4 * (d * (i + d) + d), "That is the LSTM"),
        (lambda i, d: 3 * (i * d + 2 * d), "two biases"),
        (lambda i, d: 3 * (i * d + i), "not for each input"),
        (lambda i, d: 3 * i * d + d, "one bias for all three"),
        (lambda i, d: 3 * i * d + 3, "not a single one"),
        (lambda i, d: i * d + d, "That is one map"),
        (lambda i, d: 2 * i * d, "minGRU's weights"),
        (lambda i, d: 4 * i * d, "four maps, and no biases"),
        (lambda i, d: 3 * (i + d), "not I plus D"),
        (lambda i, d: 3 * (d * d + d), "in place of the input"),
        (lambda i, d: 7, "too small"),
        (126, "is a function"),
    ],
)
def test_count_names_the_mistake(answer, words):
    says("06.1-count", answer, words)


def run(keep, write, h):
    states = []
    for t in range(keep.shape[1]):
        h = keep[:, t] * h + write[:, t]
        states.append(h)
    return torch.stack(states, dim=1)


def right_min_gru(inputs, h, gate, candidate):
    z = sigmoid(gate(inputs))
    return run(1 - z, z * candidate(inputs), h)


def test_min_gru_is_right_and_the_library_s():
    check("06.2-min-gru", right_min_gru, strict=True)
    torch.manual_seed(0)
    core, inputs, start = MinGRU(3, 4), torch.randn(2, 7, 3), torch.randn(2, 4)
    torch.testing.assert_close(right_min_gru(inputs, start, core.gate, core.candidate), core(inputs, start)[0])


def turned(inputs, h, gate, candidate):
    z = sigmoid(gate(inputs))
    return run(z, (1 - z) * candidate(inputs), h)


def with_tanh(inputs, h, gate, candidate):
    z = sigmoid(gate(inputs))
    return run(1 - z, z * candidate(inputs).tanh(), h)


def without_sigmoid(inputs, h, gate, candidate):
    z = gate(inputs)
    return run(1 - z, z * candidate(inputs), h)


def from_zeros(inputs, h, gate, candidate):
    return right_min_gru(inputs, 0 * h, gate, candidate)


def in_place(inputs, h, gate, candidate):
    states = []
    for x in inputs.unbind(1):
        h += sigmoid(gate(x)) * (candidate(x) - h)
        states.append(h)
    return torch.stack(states, dim=1)


def written_whole(inputs, h, gate, candidate):
    return run(1 - sigmoid(gate(inputs)), candidate(inputs), h)


def with_start(inputs, h, gate, candidate):
    return torch.cat([h.unsqueeze(1), right_min_gru(inputs, h, gate, candidate)], dim=1)


def both_by_z(inputs, h, gate, candidate):
    z = sigmoid(gate(inputs))
    return run(z, z * candidate(inputs), h)


def of_log_space(inputs, h, gate, candidate):
    z, proposed = sigmoid(gate(inputs)), candidate(inputs)
    return run(1 - z, z * torch.where(proposed >= 0, proposed + 0.5, sigmoid(proposed)), h)


def candidate_gated(inputs, h, gate, candidate):
    z = sigmoid(gate(inputs))
    return run(1 - z, z * sigmoid(candidate(inputs)), h)


def never_carried_on(inputs, h, gate, candidate):
    z = sigmoid(gate(inputs))
    return (1 - z) * h.unsqueeze(1) + z * candidate(inputs)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (turned, "sense is turned"),
        (with_tanh, "no tanh"),
        (without_sigmoid, "sigmoid is missing"),
        (from_zeros, "starts from zeros"),
        (lambda *given: right_min_gru(*given)[:, -1], "the last state alone"),
        (lambda *given: (right_min_gru(*given), given[1]), "return them alone"),
        (lambda *given: list(right_min_gru(*given).unbind(1)), "with torch.stack"),
        (in_place, "changed in place"),
        (lambda *given: right_min_gru(*given).transpose(0, 1), "Time comes first"),
        (written_whole, "written whole"),
        (never_carried_on, "carry h on"),
        (lambda *given: with_start(*given), "in front"),
        (lambda *given: with_start(*given)[:, :-1], "states before each step"),
        (both_by_z, "shares of one"),
        (of_log_space, "the form in logarithms"),
        (candidate_gated, "Only the gate gets a sigmoid"),
        (lambda inputs, h, gate, candidate: sigmoid(gate(inputs)) * candidate(inputs), "Nothing is kept"),
        (lambda inputs, h, gate, candidate: gate(h), "raised"),
        (lambda *given: None, "returned None"),
        (0.5, "is a function"),
    ],
)
def test_min_gru_names_the_mistake(answer, words):
    says("06.2-min-gru", answer, words)


class Right(nn.Module):
    def __init__(self, token_size, hidden_state_size):
        super().__init__()
        self.token_to_proposal = nn.Linear(token_size, hidden_state_size)
        self.token_to_mix_factors = nn.Linear(token_size, hidden_state_size)

    def parts(self, token):
        return self.token_to_proposal(token), sigmoid(self.token_to_mix_factors(token))

    def forward(self, previous, token):
        proposed, mix = self.parts(token)
        return torch.lerp(previous, proposed, mix)


class Posted(nn.Module):
    def __init__(self, token_size, hidden_state_size):
        self.token_to_proposal = nn.Linear(token_size, hidden_size)  # noqa: F821


class NoSuper(nn.Module):
    def __init__(self, token_size, hidden_state_size):
        self.token_to_proposal = nn.Linear(token_size, hidden_state_size)


class StillKeeps(Right):
    def forward(self, previous, token):
        proposed, mix = self.parts(token)
        return torch.lerp(proposed, previous, mix)


class NoSigmoid(Right):
    def forward(self, previous, token):
        return torch.lerp(previous, self.token_to_proposal(token), self.token_to_mix_factors(token))


class WithTanh(Right):
    def forward(self, previous, token):
        proposed, mix = self.parts(token)
        return torch.lerp(previous, proposed.tanh(), mix)


class GatesSeeTheState(Right):
    def __init__(self, token_size, hidden_state_size):
        super().__init__(token_size, hidden_state_size)
        self.token_to_mix_factors = nn.Linear(token_size + hidden_state_size, hidden_state_size)

    def forward(self, previous, token):
        mix = sigmoid(self.token_to_mix_factors(torch.cat([token, previous], dim=-1)))
        return torch.lerp(previous, self.token_to_proposal(token), mix)


class Renamed(nn.Module):
    def __init__(self, token_size, hidden_state_size):
        super().__init__()
        self.proposal = nn.Linear(token_size, hidden_state_size)
        self.mix = nn.Linear(token_size, hidden_state_size)


class NotAModule:
    def __init__(self, token_size, hidden_state_size):
        self.size = hidden_state_size


def test_mended_snippet_is_right_and_the_library_s():
    check("06.3-mend", Right, strict=True)
    mended, core = Right(2, 3), MinGRU(2, 3)
    core.candidate.load_state_dict(mended.token_to_proposal.state_dict())
    core.gate.load_state_dict(mended.token_to_mix_factors.state_dict())
    previous, token = torch.randn(4, 3), torch.randn(4, 2)
    torch.testing.assert_close(mended(previous, token), core.step(token, previous)[0])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Posted, "NameError: name 'hidden_size' is not defined"),
        (NoSuper, "before Module.__init__() call"),
        (StillKeeps, "still says how much is kept"),
        (NoSigmoid, "sigmoid is missing"),
        (WithTanh, "no tanh"),
        (GatesSeeTheState, "they see the token alone"),
        (Renamed, "Leave the names"),
        (NotAModule, "should be an nn.Module"),
        (Right(2, 3), "Give the class itself"),
        (7, "is a class"),
    ],
)
def test_mend_names_the_mistake(answer, words):
    says("06.3-mend", answer, words)


def later(keep):
    return torch.cat([keep.flip(0).cumprod(0).flip(0)[1:], torch.ones_like(keep[:1])])


def right_weights(z):
    return z * later(1 - z)


def test_weights_are_right_and_the_library_s():
    check("06.4-weights", right_weights, strict=True)
    torch.manual_seed(0)
    core, inputs = MinGRU(3, 4), torch.randn(1, 7, 3)
    weights = right_weights(sigmoid(core.gate(inputs[0])))
    torch.testing.assert_close((weights * core.candidate(inputs[0])).sum(0), core(inputs)[1][0])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda z: z * (1 - z).flip(0).cumprod(0).flip(0), "begins at the step after"),
        (lambda z: z * (1 - z).cumprod(0), "over the earlier steps"),
        (lambda z: later(1 - z), "own gate is missing"),
        (lambda z: z * later(z), "leaves 1 - z"),
        (lambda z: right_weights(1 - z), "exchanged"),
        (lambda z: right_weights(z).flip(0), "in reverse"),
        (lambda z: right_weights(z) / right_weights(z).sum(0), "Do not scale"),
        (lambda z: z, "later steps are missing"),
        (lambda z: right_weights(z).mean(1), "weights of its own"),
        (lambda z: z * (1 - z).prod(0), "over all steps"),
        (lambda z: z * (1 - z).prod(0) / (1 - z), "over all other steps"),
        (lambda z: z * later((1 - z).T).T, "over the units"),
        (lambda z: right_weights(z).log(), "the logarithms of the weights"),
        (lambda z: z * torch.cat([1 - z[1:], torch.ones_like(z[:1])]), "Only the next step's"),
        (lambda z: z * (1 - (z.flip(0).cumsum(0).flip(0) - z)), "do not add up"),
        (lambda z: right_weights(z).T, "not its transpose"),
        (lambda z: right_weights(z).sum(0), "summed over the pages"),
        (lambda z: z * 0, "differ"),
        (3, "is a function"),
    ],
)
def test_weights_names_the_mistake(answer, words):
    says("06.4-weights", answer, words)


@pytest.mark.parametrize("answer", [66, 66.0, torch.tensor(66), math.ceil(math.log(1e-3) / math.log(0.9))])
def test_taps_is_right(answer):
    check("06.5-taps", answer, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (math.log(1e-3) / math.log(0.9), "whole numbers"),
        (65, "a little more than"),
        (67, "One too many"),
        (688, "keeps 0.99"),
        (44, "add up"),
        (3, "keeps 0.1"),
        (10, "a third is still missing"),
        (1000, "one over the error"),
        (500, "too large"),
        ("66", "a number was expected"),
    ],
)
def test_taps_names_the_mistake(answer, words):
    says("06.5-taps", answer, words)


def right_share(forget, write):
    return sigmoid(logsigmoid(forget) - logsigmoid(write))


def by_division(forget, write):
    return sigmoid(forget) / (sigmoid(forget) + sigmoid(write))


def test_share_is_right_in_numpy_too():
    check("06.6-share", lambda f, i: right_share(f, i).numpy(), strict=True)


@pytest.mark.parametrize(
    "answer",
    [right_share, lambda f, i: 1 / (1 + (logsigmoid(i) - logsigmoid(f)).exp())],
)
def test_share_is_right(answer):
    check("06.6-share", answer, strict=True)
    torch.manual_seed(0)
    core, inputs, state = MinLSTM(3, 4), torch.randn(2, 3), torch.randn(2, 4)
    keep = answer(core.forget_gate(inputs), core.input_gate(inputs))
    torch.testing.assert_close(keep * state + (1 - keep) * core.candidate(inputs), core.step(inputs, state)[0])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (by_division, "NaN at -200"),
        (lambda f, i: sigmoid(f) / (sigmoid(f) + sigmoid(i) + 1e-6), "hides what the share is"),
        (lambda f, i: by_division(f, i).nan_to_num(0.0), "hides what the share is"),
        (lambda f, i: right_share(i, f), "input gate's share"),
        (lambda f, i: sigmoid(f - i), "softmax of the logits"),
        (lambda f, i: f / (f + i), "sigmoids are missing"),
        (lambda f, i: logsigmoid(f) - logsigmoid(i), "its sigmoid is the share"),
        (lambda f, i: sigmoid(f), "divided by the sum"),
        (0.5, "is a function"),
    ],
)
def test_share_names_the_mistake(answer, words):
    says("06.6-share", answer, words)
