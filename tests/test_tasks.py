import pytest
import torch

from relmem_lite.tasks import Comparison, Copying, NthFarthest


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


TASKS = [NthFarthest(3, 1), NthFarthest(8, 16), Comparison(2), Comparison(7), Copying(3, 5, 4), Copying(1, 2, 0)]


def name(task):
    return f"{type(task).__name__}-{task.input_size}"


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_a_batch_has_the_shapes_and_types_of_the_contract(task):
    inputs, targets, mask = task.sample(10, generator())
    assert inputs.shape == (10, mask.shape[1], task.input_size)
    assert inputs.dtype == torch.float32
    assert targets.shape == mask.shape == inputs.shape[:2]
    assert targets.dtype == torch.int64
    assert mask.dtype == torch.bool
    assert targets[mask].min() >= 0
    assert targets[mask].max() < task.output_size


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_a_batch_is_a_function_of_its_generator(task):
    first, again, other = task.sample(10, generator(1)), task.sample(10, generator(1)), task.sample(10, generator(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.inputs, other.inputs)


@pytest.mark.parametrize(("size", "width"), [(3, 1), (8, 16)])
def test_nth_farthest_answers_as_a_plain_loop_does(size, width):
    batch = NthFarthest(size, width).sample(200, generator())
    for steps, targets, mask in zip(*batch, strict=True):
        assert mask.tolist() == [False] * (size - 1) + [True]
        vectors, labels, n, m = steps.split([width, size, size, size], dim=-1)
        assert torch.equal(n, n[:1].expand_as(n)), "the question stands beside every vector"
        assert torch.equal(m, m[:1].expand_as(m))
        items = {label.tolist().index(1): vector.tolist() for vector, label in zip(vectors, labels, strict=True)}
        assert sorted(items) == list(range(size)), "every label is used once"
        reference = items[m[0].tolist().index(1)]
        farthest_first = sorted(
            items, key=lambda label: -sum((a - b) ** 2 for a, b in zip(items[label], reference, strict=True))
        )
        assert targets[-1].item() == farthest_first[n[0].tolist().index(1)]


def test_nth_farthest_vectors_are_uniform_between_minus_1_and_1():
    vectors = NthFarthest(3, 4).sample(20_000, generator()).inputs[..., :4]
    assert vectors.abs().max() <= 1
    # 240,000 draws: the mean of a uniform on [-1, 1] has a standard error of 0.0012, its variance is 1/3.
    assert abs(vectors.mean()) < 0.006
    assert abs(vectors.var() - 1 / 3) < 0.006


@pytest.mark.parametrize("size", [3, 8])
def test_the_shortcut_of_nth_farthest_scores_what_it_says(size):
    task = NthFarthest(size, 2)
    batch = task.sample(50_000, generator())
    answers = batch.inputs[:, -1, 2 + 2 * size :].argmax(-1)  # m
    elsewhere = (answers + torch.randint(1, size, answers.shape, generator=generator(1))) % size
    guesses = torch.where(task.answers_itself(batch), answers, elsewhere)
    scores = task.scores(torch.nn.functional.one_hot(guesses, size).float(), batch)
    # 50,000 answers: standard error at most 0.0022.
    assert scores["accuracy"] == pytest.approx(2 / size, abs=0.01)
    assert task.shortcut == 2 / size
    assert scores["accuracy_without_self"] == pytest.approx(1 / (size - 1), abs=0.01)


def test_a_query_at_distance_zero_is_the_only_kind_that_answers_itself():
    task = NthFarthest(4, 3)
    batch = task.sample(2000, generator())
    asked = batch.inputs[:, -1, 3 + 8 :].argmax(-1)
    assert torch.equal(task.answers_itself(batch), batch.targets[:, -1] == asked)


@pytest.mark.parametrize("size", [2, 7])
def test_comparison_answers_as_plain_python_does(size):
    batch = Comparison(size).sample(200, generator())
    both = set()
    for steps, targets, mask in zip(*batch, strict=True):
        assert mask.tolist() == [False] * size + [True]
        numbers, labels, first, second = steps.split([1, size, size, size], dim=-1)
        assert not steps[:size, 1 + size :].any(), "the question comes last"
        assert not steps[size, : 1 + size].any()
        items = {label.tolist().index(1): number.item() for number, label in zip(numbers[:-1], labels, strict=False)}
        assert sorted(items) == list(range(size))
        i, j = first[size].tolist().index(1), second[size].tolist().index(1)
        assert i != j
        assert targets[-1].item() == int(items[i] > items[j])
        both.add(targets[-1].item())
    assert both == {0, 1}


def test_the_shortcut_of_comparison_scores_what_it_says():
    size = 4
    task = Comparison(size)
    inputs, targets, _ = task.sample(50_000, generator())
    last_label = inputs[:, size - 1, 1 : 1 + size].argmax(-1)  # keep the last number only
    last = inputs[:, size - 1, 0]
    i = inputs[:, size, 1 + size : 1 + 2 * size].argmax(-1)
    j = inputs[:, size, 1 + 2 * size :].argmax(-1)
    coin = torch.rand(len(inputs), generator=generator(1)) < 0.5
    answer = torch.where(i == last_label, last > 0, torch.where(j == last_label, last < 0, coin))
    accuracy = (answer == targets[:, -1]).double().mean().item()
    assert accuracy == pytest.approx(task.shortcut, abs=0.01)  # standard error 0.0022


def test_copying_asks_for_the_stored_symbols_in_order_and_not_for_the_noise():
    inputs, targets, mask = Copying(3, 5, 4).sample(50, generator())
    symbols, store, noise, recall = inputs.split([5, 1, 1, 1], dim=-1)
    assert store[0, :, 0].tolist() == [1] * 3 + [0] * 7
    assert noise[0, :, 0].tolist() == [0] * 3 + [1] * 4 + [0] * 3
    assert recall[0, :, 0].tolist() == [0] * 7 + [1] * 3
    assert not symbols[:, 7:].any()
    assert (symbols[:, :7].sum(-1) == 1).all()
    assert torch.equal(targets[mask].view(50, 3), symbols[:, :3].argmax(-1))
    assert mask[0].tolist() == [False] * 7 + [True] * 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NthFarthest(1, 4), "num_items must be at least 2, got 1"),
        (lambda: NthFarthest(3, 0), "item_size must be at least 1, got 0"),
        (lambda: NthFarthest(3.0, 1), "num_items must be a whole number, got 3.0"),
        (lambda: Comparison(1), "num_items must be at least 2, got 1"),
        (lambda: Copying(0, 4, 1), "num_items must be at least 1, got 0"),
        (lambda: Copying(2, 1, 1), "vocab_size must be at least 2, got 1"),
        (lambda: Copying(2, 4, -1), "num_distractors must be .* at least 0, got -1"),
        (lambda: Comparison(3).sample(0, generator()), "batch_size must be at least 1, got 0"),
        (lambda: Copying(2, 4, 1).sample(-5, generator()), "batch_size must be at least 1, got -5"),
        (lambda: NthFarthest(3, 1).sample(2.5, generator()), "batch_size must be a whole number, got 2.5"),
    ],
)
def test_sizes_that_make_no_task_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_scores_refuse_logits_of_another_batch():
    task = Comparison(3)
    batch = task.sample(4, generator())
    with pytest.raises(ValueError, match=r"\(4, 2\).*got \(5, 2\)"):
        task.scores(torch.zeros(5, 2), batch)
