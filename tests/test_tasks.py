from collections import Counter
from itertools import permutations

import pytest
import torch

from relmem_lite.tasks import (
    Comparison,
    Copying,
    IndexLookup,
    NgramLookup,
    NthFarthest,
    Recall,
    SelectiveCopying,
    StateTracking,
    StringCopying,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


TASKS = [NthFarthest(3, 1), NthFarthest(8, 16), Comparison(2), Comparison(7), Copying(3, 5, 4), Copying(1, 2, 0)]
TASKS += [Recall(3, 9, 4, 2), IndexLookup(5, 3, 2), NgramLookup(9, 2, 2, 5), StringCopying(6, 2, 3)]
TASKS += [SelectiveCopying(2, 3, 7), SelectiveCopying(4, 2, 4), StateTracking("parity", 9), StateTracking("s5", 9, 9)]


def name(task):
    return f"{type(task).__name__}-{task.input_size}"


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_a_batch_has_the_shapes_and_types_of_the_contract(task):
    inputs, targets, mask = task.sample(10, generator())
    if task.num_tokens is None:
        assert inputs.shape == (10, mask.shape[1], task.input_size)
        assert inputs.dtype == torch.float32
    else:
        assert inputs.shape == mask.shape
        assert inputs.dtype == torch.int64
        assert inputs.min() >= 0
        assert inputs.max() < task.num_tokens
    assert targets.shape == mask.shape == inputs.shape[:2]
    assert mask.any(dim=1).all()
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


@pytest.mark.parametrize(("num_items", "vocab_size", "time"), [(1, 2, 1), (3, 5, 3), (4, 8, 32), (16, 16, 40)])
def test_selective_copying_asks_for_the_data_among_the_noise_in_order(num_items, vocab_size, time):
    task = SelectiveCopying(num_items, vocab_size, time)
    noise, recall = vocab_size, vocab_size + 1
    assert (task.num_tokens, task.output_size) == (vocab_size + 2, vocab_size)
    for tokens, targets, mask in zip(*task.sample(200, generator()), strict=True):
        shown, asked = tokens.tolist()[:time], tokens.tolist()[time:]
        assert asked == [recall] * num_items
        assert recall not in shown
        assert mask.tolist() == [False] * time + [True] * num_items
        assert targets[mask].tolist() == [token for token in shown if token != noise]


def test_the_places_of_selective_copying_and_its_tokens_are_drawn_all_alike():
    tokens, _, _ = SelectiveCopying(2, 3, 5).sample(20_000, generator())
    places = Counter(tuple(row.nonzero().flatten().tolist()) for row in (tokens[:, :5] < 3))
    # Each of 10 pairs of places, 2,000 times: standard deviation 42.
    assert len(places) == 10
    assert max(abs(count - 2000) for count in places.values()) < 210
    # Each of 3 x 3 pairs of tokens, 2,222 times: standard deviation 44.
    data = Counter(map(tuple, tokens[:, :5][tokens[:, :5] < 3].view(-1, 2).tolist()))
    assert len(data) == 9
    assert max(abs(count - 20_000 / 9) for count in data.values()) < 220


def test_an_exact_match_has_every_token_right():
    task = SelectiveCopying(2, 3, 4)
    batch = task.sample(4, generator())
    answers = batch.targets[batch.mask].view(4, 2)
    answers[0, 1] += 1
    answers[2] += 1
    logits = torch.nn.functional.one_hot(answers.flatten() % 3, 3).float()
    assert task.scores(logits, batch) == {"accuracy": 5 / 8, "exact_match": 2 / 4}


MOVES = {
    "parity": [0, 1],
    "cycle": [0, 1, 4],
    "s3": [(1, 0, 2), (1, 2, 0)],
    "s5": [(1, 0, 2, 3, 4), (1, 2, 3, 4, 0)],
}
ELEMENTS = {
    "parity": [0, 1],
    "cycle": [0, 1, 2, 3, 4],
    "s3": list(permutations(range(3))),
    "s5": list(permutations(range(5))),
}
every_group = pytest.mark.parametrize("group", MOVES)


def followed(group, state, move):
    """What an element of a group and a move after it make: a sum, or one permutation after the other."""
    if isinstance(move, int):
        return (state + move) % len(ELEMENTS[group])
    return tuple(move[place] for place in state)


@every_group
def test_state_tracking_answers_as_plain_python_does(group):
    tokens, targets, mask = StateTracking(group, 30).sample(300, generator())
    assert mask.all()
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        state = ELEMENTS[group][0]
        for token, answer in zip(row, answers, strict=True):
            state = followed(group, state, MOVES[group][token])
            assert ELEMENTS[group][answer] == state


@every_group
def test_every_move_is_drawn_as_often_as_the_others(group):
    tokens = StateTracking(group, 40).sample(500, generator()).inputs
    counts = tokens.flatten().bincount()
    assert len(counts) == len(MOVES[group])
    # 20,000 draws: standard deviation at most 71.
    assert (counts - 20_000 / len(counts)).abs().max() < 350


@every_group
def test_the_moves_lead_to_every_state_and_in_the_end_to_all_alike(group):
    time, samples = 150, 6000
    task = StateTracking(group, time, min_time=time)
    _, targets, mask = task.sample(samples, generator())
    counts = targets[mask].bincount(minlength=task.output_size)
    assert len(counts) == len(ELEMENTS[group])
    share = 1 / len(counts)
    # Guessing at random, or always the same: five standard deviations.
    assert (counts / samples - share).abs().max() < 5 * (share / samples) ** 0.5
    assert task.chance == share


def test_answers_are_asked_for_from_min_time_on():
    mask = StateTracking("s3", 6, min_time=4).sample(2, generator()).mask
    assert mask.tolist() == [[False] * 3 + [True] * 3] * 2
    early = StateTracking("s3", 6).sample(2, generator())
    late = StateTracking("s3", 6, min_time=6).sample(2, generator())
    assert torch.equal(early.inputs, late.inputs)
    assert torch.equal(early.targets, late.targets)
    assert late.mask.sum() == 2


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
        (lambda: SelectiveCopying(0, 4, 8), "num_items must be at least 1, got 0"),
        (lambda: SelectiveCopying(2, 1, 8), "vocab_size must be at least 2, got 1"),
        (lambda: SelectiveCopying(9, 4, 8), "time must be at least num_items, got 8 steps for 9 items"),
        (lambda: SelectiveCopying(2, 4, 8.0), "time must be a whole number, got 8.0"),
        (lambda: SelectiveCopying(2, 4, 8).sample(0, generator()), "batch_size must be at least 1, got 0"),
        (lambda: StateTracking("s4"), "no group 's4'. Did you mean 's.'.*parity, cycle, s3, s5"),
        (lambda: StateTracking("S5"), "no group 'S5'.*Known: parity, cycle, s3, s5"),
        (lambda: StateTracking("s3", 0), "time must be at least 1, got 0"),
        (lambda: StateTracking("s3", 5, 0), "min_time must be at least 1, got 0"),
        (lambda: StateTracking("s3", 5, 6), "min_time must be at most time, got 6 and 5"),
        (lambda: StateTracking("s3", 5.0), "time must be a whole number, got 5.0"),
        (lambda: StateTracking("s3").sample(-1, generator()), "batch_size must be at least 1, got -1"),
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
