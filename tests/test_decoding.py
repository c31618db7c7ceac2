"""A model goes on with sequences: as the loop does that reads everything again for every token."""

import pytest
import torch
from every_core import CORES, INPUT_SIZE, make_core
from torch import nn

from relmem_lite import GRU, LSTM, Core
from relmem_lite.decoding import generate
from relmem_lite.language_model import LanguageModel
from relmem_lite.models import SequenceModel, Stack

NUM_TOKENS = 7


def model_around(core, seed=0, num_tokens=NUM_TOKENS):
    torch.manual_seed(seed)
    encoder = nn.Embedding(num_tokens, core.input_size)
    return SequenceModel(core, num_tokens, (), encoder).double()


def gru_model():
    """Large weights, and a seed with which what it writes is varied."""
    torch.manual_seed(6)
    model = model_around(GRU(8, 32), seed=6)
    with torch.no_grad():
        for parameter in model.core.parameters():
            parameter.mul_(5)
    return model


def hybrid_model():
    torch.manual_seed(0)
    return model_around(Stack(["min_gru", "attention"], 8))


def prompts_of(batch_size, time, seed=1):
    return torch.randint(NUM_TOKENS, (batch_size, time), generator=torch.Generator().manual_seed(seed))


def reread(model, prompt, max_tokens, stop=(), writer=None):
    """The plain way: the whole sequence through the model again for every token, on its own."""
    tokens = prompt.tolist()
    for _ in range(max_tokens):
        written = -1 if writer is None else int(writer(torch.tensor([tokens]))[0])
        with torch.no_grad():
            logits, _ = model(torch.tensor([tokens]))
        tokens.append(written if written >= 0 else int(logits[0, -1].argmax()))
        if tokens[-1] in stop:
            break
    return tokens[len(prompt) :]


def lists(tensors):
    return [tensor.tolist() for tensor in tensors]


@pytest.mark.parametrize("name", CORES)
def test_greedy_equals_rereading_everything_with_every_core(name):
    model = model_around(make_core(name))
    prompts = prompts_of(3, 5)
    written = generate(model, prompts, max_tokens=8)
    assert lists(written) == [reread(model, prompt, 8) for prompt in prompts]


@pytest.mark.parametrize("make", [gru_model, hybrid_model])
def test_greedy_equals_rereading_everything_over_a_longer_way(make):
    model, prompts = make(), prompts_of(4, 6)
    written = generate(model, prompts, max_tokens=40)
    assert lists(written) == [reread(model, prompt, 40) for prompt in prompts]
    assert len({tuple(tokens) for tokens in lists(written)}) > 1


def test_a_language_model_generates_too():
    torch.manual_seed(0)
    model = LanguageModel(LSTM(6, 8), 9, 6, dropout=0.5, output_dropout=0.5, cutoffs=(4,)).double()
    prompts = torch.randint(9, (3, 4), generator=torch.Generator().manual_seed(0))
    assert lists(generate(model, prompts, max_tokens=12)) == [reread(model.eval(), prompt, 12) for prompt in prompts]


@pytest.mark.parametrize("make", [gru_model, hybrid_model])
def test_prompts_of_unequal_lengths_are_continued_as_each_alone(make):
    model = make()
    prompts = [prompts_of(1, time, seed=time)[0] for time in (5, 1, 9, 5, 2)]
    together = lists(generate(model, prompts, max_tokens=7))
    assert together == [generate(model, [prompt], max_tokens=7)[0].tolist() for prompt in prompts]
    assert together == [reread(model, prompt, 7) for prompt in prompts]


def test_each_sequence_stops_after_its_own_stop_token():
    model = gru_model()
    prompts = [prompts_of(1, time, seed=time)[0] for time in (4, 4, 1, 6, 3, 2)]
    stop = (2, 5)
    written = lists(generate(model, prompts, max_tokens=20, stop=stop))
    assert written == [reread(model, prompt, 20, stop) for prompt in prompts]
    assert len({len(tokens) for tokens in written}) > 2, "they should end at different times"
    assert any(tokens[-1] in stop for tokens in written)
    assert lists(generate(model, prompts, max_tokens=20, stop=2)) == [reread(model, p, 20, (2,)) for p in prompts]


def test_a_stop_token_in_the_prompt_ends_nothing():
    model = gru_model()
    prompts = [torch.tensor([1]), torch.tensor([1, 2, 2, 2, 3])]
    assert len(generate(model, prompts, max_tokens=4, stop=2)[1]) >= 1
    assert lists(generate(model, prompts, max_tokens=4, stop=2)) == [reread(model, p, 4, (2,)) for p in prompts]


def test_sequences_that_ended_cost_nothing(monkeypatch):
    model, rows, read = gru_model(), [], []
    step, forward = SequenceModel.step, SequenceModel.forward
    monkeypatch.setattr(SequenceModel, "step", lambda self, *given: rows.append(len(given[0])) or step(self, *given))
    monkeypatch.setattr(
        SequenceModel,
        "forward",
        lambda self, inputs, **given: read.append(inputs.shape) or forward(self, inputs, **given),
    )
    prompts = [prompts_of(1, time, seed=time)[0] for time in (4, 4, 3, 6, 3, 5)]
    written = generate(model, prompts, max_tokens=20, stop=2)
    assert read == [(6, 3)], "one parallel pass, to the end of the shortest prompt"
    # Each sequence is stepped through the rest of its prompt and through all that it writes but the last token.
    assert sum(rows) == sum(len(p) - 3 + len(w) - 1 for p, w in zip(prompts, written, strict=True))
    assert max(len(p) - 3 + len(w) - 1 for p, w in zip(prompts, written, strict=True)) == len(rows)


def test_draws_follow_the_models_probabilities():
    """2,000 draws: a frequency strays from its probability p by more than 4 deviations, 4 sqrt(p (1 - p) / 2000), once
    in 16,000; the seed is fixed, and is not one of those."""
    model, prompt = gru_model(), prompts_of(1, 4)
    scores = model(prompt)[0][0, -1]
    for temperature, top_k in ((1.0, None), (0.5, None), (2.0, 3)):
        probabilities = (scores / temperature).softmax(0)
        if top_k:
            kept = probabilities >= probabilities.topk(top_k).values[-1]
            probabilities = torch.where(kept, probabilities, 0.0)
            probabilities = probabilities / probabilities.sum()
        drawn = generate(
            model,
            prompt.expand(2000, -1),
            max_tokens=1,
            temperature=temperature,
            top_k=top_k,
            generator=torch.Generator().manual_seed(0),
        )
        frequencies = torch.cat(drawn).bincount(minlength=NUM_TOKENS) / 2000
        allowed = 4 * (probabilities * (1 - probabilities) / 2000).sqrt()
        assert (frequencies - probabilities).abs().le(allowed).all(), (temperature, top_k)


def test_the_same_generator_draws_the_same_and_none_is_torchs_own():
    model, prompts = gru_model(), prompts_of(3, 4)
    options = {"max_tokens": 15, "temperature": 1.0}

    def seeded(seed):
        return lists(generate(model, prompts, **options, generator=torch.Generator().manual_seed(seed)))

    assert seeded(3) == seeded(3) != seeded(4)
    torch.manual_seed(3)
    expected = lists(generate(model, prompts, **options))
    torch.manual_seed(3)
    assert lists(generate(model, prompts, **options)) == expected


def test_a_temperature_near_zero_and_the_first_alone_are_greedy():
    model, prompts = gru_model(), prompts_of(3, 4)
    greedy = lists(generate(model, prompts, max_tokens=15))
    assert lists(generate(model, prompts, max_tokens=15, temperature=1e-9)) == greedy
    assert lists(generate(model, prompts, max_tokens=15, temperature=3.0, top_k=1)) == greedy


def test_what_a_writer_writes_is_read_by_the_model_as_its_own():
    model = gru_model()
    prompts = [prompts_of(1, time, seed=time)[0] for time in (2, 5, 3)]

    def copies_every_third(tokens):
        if tokens.shape[1] % 3:
            return torch.full((len(tokens),), -1)
        return torch.where(tokens[:, 0] > 1, tokens[:, 1], -1)

    written = lists(generate(model, prompts, max_tokens=12, writer=copies_every_third))
    assert written == [reread(model, prompt, 12, writer=copies_every_third) for prompt in prompts]
    own = lists(generate(model, prompts, max_tokens=12))
    assert [ours == theirs for ours, theirs in zip(own, written, strict=True)] == [False, True, False]
    # More than the tokens that were written for it has changed: here those at 0, 3, 6 and 9.
    assert [own[2][place] for place in range(12) if place % 3] != [
        written[2][place] for place in range(12) if place % 3
    ]


def test_a_writer_sees_whole_prompts_alone_and_can_end_a_sequence():
    model, seen = gru_model(), []
    prompts = [torch.tensor([1, 1]), torch.tensor([0, 0, 0, 0])]

    def ends(tokens):
        seen.append(tokens.tolist())
        full = (tokens == 6).sum(1) == 2
        tokens[:] = 0  # its own to write into
        return torch.where(full, 5, 6)

    assert lists(generate(model, prompts, max_tokens=9, stop=5, writer=ends)) == [[6, 6, 5], [6, 6, 5]]
    assert seen == [
        [[1, 1]],
        [[1, 1, 6]],
        [[1, 1, 6, 6], [0, 0, 0, 0]],
        [[0, 0, 0, 0, 6]],
        [[0, 0, 0, 0, 6, 6]],
    ]


def test_a_recurrent_core_keeps_no_more_at_the_end_than_at_the_start(monkeypatch):
    model, kept, step = gru_model(), [], GRU.step
    monkeypatch.setattr(GRU, "step", lambda self, input, state: kept.append(state.numel()) or step(self, input, state))
    generate(model, prompts_of(2, 3), max_tokens=200)
    assert len(kept) == 199
    assert set(kept) == {2 * 32}


def test_no_gradients_are_followed_and_modes_are_given_back(monkeypatch):
    model, modes, step = gru_model(), [], SequenceModel.step
    monkeypatch.setattr(
        SequenceModel,
        "step",
        lambda self, *given: modes.append((torch.is_grad_enabled(), self.training)) or step(self, *given),
    )
    model.head.eval()
    assert not generate(model, prompts_of(2, 3), max_tokens=3)[0].requires_grad
    assert set(modes) == {(False, False)}
    assert (model.training, model.core.training, model.head.training) == (True, True, False)
    assert torch.is_grad_enabled()

    def stumbles(tokens):
        raise RuntimeError("no idea")

    with pytest.raises(RuntimeError, match="no idea"):
        generate(model, prompts_of(2, 3), max_tokens=3, writer=stumbles)
    assert (model.training, model.core.training, model.head.training) == (True, True, False)
    assert not generate(model.eval(), prompts_of(2, 3), max_tokens=3)[0].requires_grad
    assert not model.training


def test_dropout_is_off():
    torch.manual_seed(0)
    model = model_around(Stack(["gru"], 8, dropout=0.5))
    assert lists(generate(model, prompts_of(2, 3), max_tokens=20)) == lists(
        generate(model, prompts_of(2, 3), max_tokens=20)
    )


def never_asked(*given, **options):
    raise AssertionError("the model was asked before the mistake was found")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompts": []}, "There are no prompts"),
        ({"prompts": torch.zeros(2, 0, dtype=torch.int64)}, "Prompt 0 is empty"),
        ({"prompts": [torch.tensor([1]), torch.tensor([], dtype=torch.int64)]}, "Prompt 1 is empty"),
        ({"prompts": torch.tensor([1, 2])}, r"prompts must be tokens \(B, T\).*prompts\[None\]"),
        ({"prompts": [torch.tensor([[1, 2]])]}, r"Prompt 0 must have shape \(T,\), got \(1, 2\)"),
        ({"prompts": [[1, 2]]}, "Prompt 0 must be a tensor, got list"),
        ({"prompts": torch.ones(2, 3)}, "Prompt 0 must be tokens, torch.int64, got torch.float32"),
        ({"prompts": torch.tensor([[1, 7]])}, "Prompt 0 has the token 7; the model has 0 to 6"),
        ({"prompts": [torch.tensor([1]), torch.tensor([-1])]}, "Prompt 1 has the token -1"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
        ({"max_tokens": 2.0}, "max_tokens must be a whole number"),
        ({"stop": 7}, "stop has the token 7; the model has 0 to 6"),
        ({"prompts": None}, r"prompts must be tokens \(B, T\), or a list of tensors \(T,\), got NoneType"),
        ({"stop": None}, "stop must be a token or several, got None"),
        ({"stop": torch.tensor(2)}, r"stop must be a token or several, got tensor\(2\)"),
        ({"stop": (1, "2")}, "stop must be a token or several, got '2'"),
        ({"temperature": -0.1}, "temperature must be a finite number of at least 0, got -0.1"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"temperature": "hot"}, "temperature must be a number, got 'hot'"),
        ({"top_k": 0}, "top_k must be at least 1"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_computed(change, says, monkeypatch):
    model = gru_model()
    monkeypatch.setattr(SequenceModel, "forward", never_asked)
    monkeypatch.setattr(SequenceModel, "step", never_asked)
    with pytest.raises((ValueError, TypeError), match=says):
        generate(**{"model": model, "prompts": prompts_of(2, 3), "max_tokens": 4} | change)


class TokensAndKinds(nn.Module):
    """A token's vector and, declared first, that of the kind it is of."""

    def __init__(self, num_tokens, size):
        super().__init__()
        self.kind, self.token = nn.Embedding(2, size), nn.Embedding(num_tokens, size)

    def forward(self, tokens):
        return self.token(tokens) + self.kind(tokens % 2)


def test_of_two_embeddings_none_is_taken_for_that_of_the_tokens_unsaid():
    encoder = TokensAndKinds(NUM_TOKENS, 3)
    model, prompt = SequenceModel(GRU(3, 4), NUM_TOKENS, (), encoder), torch.tensor([[5, 6]])
    with pytest.raises(ValueError, match=r"TokensAndKinds, has embeddings of 2 and 7 rows.*encoder.num_tokens = "):
        generate(model, prompt, max_tokens=2)
    encoder.num_tokens = NUM_TOKENS
    assert model.num_tokens == NUM_TOKENS
    assert lists(generate(model, prompt, max_tokens=9)) == [reread(model, prompt[0], 9)]
    encoder.num_tokens = 7.5
    with pytest.raises(TypeError, match="the encoder's num_tokens must be a whole number"):
        generate(model, prompt, max_tokens=2)


def test_an_encoder_without_an_embedding_may_say_how_many_tokens_it_reads():
    class OneHot(nn.Module):
        num_tokens = NUM_TOKENS

        def forward(self, tokens):
            return nn.functional.one_hot(tokens, NUM_TOKENS).float()

    torch.manual_seed(0)
    model, prompt = SequenceModel(GRU(NUM_TOKENS, 4), NUM_TOKENS, (), OneHot()), torch.tensor([[5, 6]])
    assert lists(generate(model, prompt, max_tokens=9)) == [reread(model, prompt[0], 9)]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: SequenceModel(GRU(3, 4), 5), "expected a model that reads tokens.*nn.Embedding"),
        (lambda: SequenceModel(GRU(3, 4), 5, (), nn.Linear(2, 3)), "expected a model that reads tokens"),
        (lambda: SequenceModel(GRU(3, 4), 5, (), nn.Embedding(6, 3)), "reads 6 and has 5 answers.*output_size=6"),
        (lambda: GRU(3, 4), "expected a SequenceModel or a LanguageModel, got GRU"),
        (lambda: nn.Linear(3, 4), "expected a SequenceModel or a LanguageModel, got Linear"),
    ],
)
def test_a_model_whose_answers_are_not_its_tokens_is_refused(model, says):
    with pytest.raises((ValueError, TypeError), match=says):
        generate(model(), torch.tensor([[1, 2]]), max_tokens=2)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda tokens: torch.zeros(3, dtype=torch.int64), r"must return a tensor of shape \(2,\), int64, got.*\(3,\)"),
        (lambda tokens: torch.zeros(2), r"must return a tensor of shape \(2,\), int64, got torch.float32"),
        (lambda tokens: None, "got None: one token for each sequence, -1 where the model is to choose"),
        (lambda tokens: torch.tensor([1, 7]), "writer returned the token 7; the model has 0 to 6"),
        (lambda tokens: torch.tensor([-2, 1]), "writer returned the token -2"),
    ],
)
def test_a_writer_that_writes_no_tokens_is_refused(answer, says):
    with pytest.raises((ValueError, TypeError), match=says):
        generate(gru_model(), prompts_of(2, 3), max_tokens=4, writer=answer)


class ShortSighted(GRU):
    """A core with positions for six steps."""

    max_time = 6


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "fits"),
    [((6, 2), 1, True), ((4,), 3, True), ((4, 5), 3, False), ((7,), 1, False), ((1,), 7, False)],
)
def test_a_sequence_past_the_cores_positions_is_refused_by_both_numbers(lengths, max_tokens, fits, monkeypatch):
    model = model_around(ShortSighted(INPUT_SIZE, 5))
    prompts = [prompts_of(1, time)[0] for time in lengths]
    if fits:
        assert [len(tokens) for tokens in generate(model, prompts, max_tokens=max_tokens)] == [max_tokens] * len(
            lengths
        )
        return
    monkeypatch.setattr(SequenceModel, "forward", never_asked)
    with pytest.raises(ValueError, match=f"take {max(lengths) + max_tokens - 1} positions.*has 6"):
        generate(model, prompts, max_tokens=max_tokens)


@pytest.mark.parametrize("name", CORES)
def test_a_step_of_a_model_answers_as_the_whole_pass_does(name):
    model, tokens = model_around(make_core(name)), prompts_of(2, 6)
    logits, _ = model(tokens)
    state = None
    for time in range(6):
        answers, state = model.step(tokens[:, time], state)
        assert torch.allclose(answers, logits[:, time], rtol=0, atol=1e-10)


def test_a_step_reads_features_where_the_model_does():
    torch.manual_seed(0)
    model = SequenceModel(GRU(3, 4), 5, (6,), nn.Linear(2, 3))
    inputs = torch.randn(2, 4, 2)
    logits, state = model(inputs[:, :1])
    assert torch.allclose(model.step(inputs[:, 0])[0], logits[:, 0], atol=1e-6)
    assert isinstance(model.core, Core)
    assert model.step(inputs[:, 1], state)[0].shape == (2, 5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("score", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_nan_or_infinite_are_not_taken_for_the_first_token(score, temperature):
    model = gru_model()
    with torch.no_grad():
        model.head[-1].bias.fill_(score)
    with pytest.raises(ValueError, match="scores for the next token are NaN or infinite"):
        generate(model, prompts_of(2, 3), max_tokens=2, temperature=temperature)


def test_a_token_that_is_ruled_out_is_never_written():
    model = gru_model()
    with torch.no_grad():
        model.head[-1].bias[1:].fill_(-torch.inf)
    (written,) = generate(model, prompts_of(1, 3), max_tokens=4, temperature=1.0)
    assert written.tolist() == [0] * 4
