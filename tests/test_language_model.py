import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from relmem_lite import LSTM, MinGRU, RelationalMemory
from relmem_lite.cores import CORES
from relmem_lite.language_model import AdaptiveSoftmax, LanguageModel, WordVectors
from relmem_lite.models import Stack, num_parameters
from relmem_lite.tasks import Batch

WORDS = 50
CUTOFFS = (10, 20, 45)
WAYS = [{}, {"cutoffs": CUTOFFS}, {"tied": False}, {"tied": False, "cutoffs": CUTOFFS}]


def named(options):
    return f"{'untied' if options.get('tied') is False else 'tied'}-{'adaptive' if options.get('cutoffs') else 'full'}"


def language_model(core=None, embedding_size=16, **options):
    torch.manual_seed(0)
    model = LanguageModel(core or LSTM(embedding_size, 24), WORDS, embedding_size, **options)
    with torch.no_grad():  # a bias of zero would hide one that is not read
        model.softmax.bias.normal_()
    return model


def batch(batch_size=3, time=12, seed=1):
    tokens = torch.randint(WORDS, (batch_size, time + 1), generator=torch.Generator().manual_seed(seed))
    return Batch(tokens[:, :-1], tokens[:, 1:], torch.ones(batch_size, time, dtype=torch.bool))


@pytest.mark.parametrize("options", WAYS, ids=named)
def test_probabilities_sum_to_one_and_the_loss_is_the_targets_share_of_them(options):
    model, drawn = language_model(**options), batch()
    scores, _ = model(drawn.inputs)
    assert scores.shape == (3, 12, WORDS)
    assert torch.allclose(scores.exp().sum(-1), torch.ones(3, 12))
    loss, _ = model.loss(drawn)
    assert loss.item() == pytest.approx(-scores.gather(2, drawn.targets[..., None]).mean().item(), rel=1e-5)


@pytest.mark.parametrize("cutoffs", [(10,), CUTOFFS])
def test_the_adaptive_softmax_is_torchs_given_its_weights(cutoffs):
    torch.manual_seed(0)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(64, WORDS, list(cutoffs), div_value=4)
    words = WordVectors(WORDS, 64, cutoffs)
    ours = AdaptiveSoftmax(words)
    with torch.no_grad():
        words.tables[0].copy_(theirs.head.weight[:10])
        ours.clusters.weight.copy_(theirs.head.weight[10:])
        for cluster, tail in enumerate(theirs.tail):
            words.maps[cluster].copy_(tail[0].weight)
            words.tables[cluster + 1].copy_(tail[1].weight)
    hidden, targets = torch.randn(200, 64), torch.randint(WORDS, (200,))
    assert torch.allclose(ours(hidden, words), theirs.log_prob(hidden), atol=1e-5)
    assert torch.allclose(ours.losses(hidden, targets, words), -theirs(hidden, targets).output, atol=1e-5)


def test_the_full_softmax_is_cross_entropy():
    model, drawn = language_model(output_dropout=0.0), batch()
    outputs, _ = model.core(model.encoder.tables[0][drawn.inputs])
    logits = model.project(outputs) @ model.encoder.tables[0].T + model.softmax.bias
    expected = cross_entropy(logits.flatten(0, 1), drawn.targets.flatten())
    assert model.loss(drawn)[0].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("options", WAYS, ids=named)
def test_gradients_of_the_loss_are_those_of_all_probabilities(options):
    """The loss computes a part of the words only; the plain path computes every word's probability."""
    model, drawn = language_model(**options).double(), batch()
    twin = copy.deepcopy(model)
    model.loss(drawn)[0].backward()
    (-twin(drawn.inputs)[0].gather(2, drawn.targets[..., None]).mean()).backward()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-10), name


class LargestTensor(TorchDispatchMode):
    """Watches how large the largest tensor is that any operation makes, in numbers."""

    largest = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **options or {})
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return made


def test_an_adaptive_step_makes_nothing_as_large_as_all_words_of_all_tokens():
    """What lets a vocabulary of 267,735 words fit: only a rare word's own cluster is computed."""
    words, tokens = 20_000, 2_000
    likely = 1 / torch.arange(1, words + 1)
    drawn = torch.multinomial(likely, tokens + 1, replacement=True, generator=torch.Generator().manual_seed(0))
    whole = Batch(drawn[None, :-1], drawn[None, 1:], torch.ones(1, tokens, dtype=torch.bool))
    largest = []
    for cutoffs in ((), (400, 2000)):
        model = LanguageModel(MinGRU(16, 16), words, 16, cutoffs=cutoffs)
        with LargestTensor() as watched:
            model.loss(whole)[0].backward()
        largest.append(watched.largest)
    assert largest[0] == words * tokens
    assert largest[1] < words * tokens / 4


def test_rare_words_have_short_vectors_mapped_to_full_size():
    words = WordVectors(WORDS, 16, CUTOFFS)
    assert [tuple(table.shape) for table in words.tables] == [(10, 16), (10, 4), (25, 1), (5, 1)]
    tokens = torch.tensor([[0, 9, 10], [44, 45, 49]])
    vectors = words(tokens)
    assert vectors.shape == (2, 3, 16)
    assert torch.equal(vectors[0, 1], words.tables[0][9])
    assert torch.allclose(vectors[0, 2], words.tables[1][0] @ words.maps[0])
    assert torch.allclose(vectors[1, 0], words.tables[2][24] @ words.maps[1])
    assert torch.allclose(vectors[1, 2], words.tables[3][4] @ words.maps[2])


def test_tied_vectors_are_learned_and_saved_once():
    tied, untied = language_model(), language_model(tied=False)
    # An embedding of 16 and a linear layer from 24 to 16, against a second table of 24.
    assert num_parameters(untied) - num_parameters(tied) == WORDS * 24 - (24 * 16 + 16)
    tensors = list(tied.state_dict().values())
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)
    same_size = language_model(LSTM(16, 16))
    assert isinstance(same_size.project, torch.nn.Identity)


@pytest.mark.parametrize("options", [{}, {"cutoffs": CUTOFFS}], ids=named)
def test_no_parameter_is_left_without_a_gradient_even_if_no_rare_word_came_up(options):
    """Processes that train together wait for the gradient of every parameter."""
    model = language_model(**options)
    frequent = Batch(*(part.clamp(max=5) for part in batch()[:2]), torch.ones(3, 12, dtype=torch.bool))
    model.loss(frequent)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize("name", ["lstm", "relational_memory", "min_gru", "attention"])
@pytest.mark.parametrize("options", [{}, {"cutoffs": CUTOFFS}], ids=named)
def test_steps_pieces_and_the_whole_give_the_same_probabilities(name, options):
    model = language_model(CORES[name].of_width(16, 16), **options).eval()
    inputs = batch().inputs
    whole, _ = model(inputs)
    first, state = model(inputs[:, :5])
    second, _ = model(inputs[:, 5:], state)
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-5)
    steps, state = [], None
    for tokens in inputs.unbind(1):
        scores, state = model.step(tokens, state)
        steps.append(scores)
    assert torch.allclose(torch.stack(steps, dim=1), whole, atol=1e-5)


def test_a_mask_asks_for_some_steps_only():
    model, drawn = language_model(), batch()
    mask = torch.rand(3, 12, generator=torch.Generator().manual_seed(2)) < 0.5
    scores, _ = model(drawn.inputs, mask=mask)
    assert torch.allclose(scores, model(drawn.inputs)[0][mask], atol=1e-6)
    loss, _ = model.loss(drawn._replace(mask=mask))
    assert loss.item() == pytest.approx(-scores.gather(1, drawn.targets[mask][:, None]).mean().item(), rel=1e-5)
    # What is not asked for has no target, and the place of one may hold any number.
    elsewhere = drawn.targets.masked_fill(~mask, -1)
    assert torch.equal(model.loss(drawn._replace(targets=elsewhere, mask=mask))[0], loss)
    with pytest.raises(ValueError, match="marks none of its steps"):
        model.loss(drawn._replace(mask=torch.zeros_like(mask)))


def test_dropout_is_on_the_embedding_and_on_what_is_compared_with_words():
    torch.manual_seed(0)
    inside = language_model(dropout=0.5)
    seen = []
    inside.core.register_forward_pre_hook(lambda core, inputs: seen.append(inputs[0]))
    inside(batch().inputs)
    assert 0.3 < (seen[0] == 0).float().mean() < 0.7
    outside = language_model(output_dropout=0.5)
    assert not torch.equal(outside(batch().inputs)[0], outside(batch().inputs)[0])
    assert torch.equal(outside.eval()(batch().inputs)[0], outside(batch().inputs)[0])


def test_a_name_is_one_core_and_a_list_is_a_stack():
    assert isinstance(language_model("relational_memory").core, RelationalMemory)
    stack = language_model(["min_gru", "attention"], dropout=0.1).core
    assert isinstance(stack, Stack)
    assert stack.blocks[0].dropout.p == 0.1
    with pytest.raises(ValueError, match="Did you mean 'lstm'"):
        language_model("lsmt")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cutoffs": (10, 50)}, "cutoffs must increase and stay below the number of words, 50, got 10, 50"),
        ({"cutoffs": (10, 60)}, "stay below the number of words, 50"),
        ({"cutoffs": (20, 10)}, "cutoffs must increase"),
        ({"cutoffs": (10, 10)}, "cutoffs must increase"),
        ({"cutoffs": (0, 10)}, "cutoffs must be at least 1, got 0"),
        ({"cutoffs": (2.5,)}, "cutoffs must be a whole number"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"output_dropout": -0.1}, "output_dropout must be at least 0"),
        ({"dropout": "much"}, "dropout must be a number, got 'much'"),
        ({"embedding_size": 0, "core": LSTM(16, 16)}, "embedding_size must be at least 1"),
        ({"core": LSTM(8, 8)}, r"needs a core with input_size 16, got a LSTM with input_size 8\. Try LSTM\.of_width"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, says):
    with pytest.raises((ValueError, TypeError), match=says):
        language_model(**options)


@pytest.mark.parametrize("token", [-1, WORDS])
@pytest.mark.parametrize("options", [{}, {"cutoffs": CUTOFFS}], ids=named)
def test_another_vocabularys_tokens_are_refused(token, options):
    with pytest.raises(ValueError, match=f"between 0 and 49, got .*{token}.*another vocabulary"):
        language_model(**options)(torch.tensor([[3, token]]))
    drawn = batch()
    drawn.targets[1, 2] = token
    with pytest.raises(ValueError, match=f"between 0 and 49, got .*{token}.*another vocabulary"):
        language_model(**options).loss(drawn)


def test_learning_in_16_bits():
    model, drawn = language_model(cutoffs=CUTOFFS), batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model.loss(drawn)
    loss.backward()
    assert loss.item() == pytest.approx(model.loss(drawn)[0].item(), rel=0.02)
