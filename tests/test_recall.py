import math
from collections import Counter

import pytest
import torch

from relmem_lite.tasks import (
    IndexLookup,
    NgramLookup,
    Recall,
    StringCopying,
    accuracy_within,
    bits_needed,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def asked(tokens, targets, mask):
    return [(token, target) for token, target, marked in zip(tokens, targets, mask, strict=True) if marked]


@pytest.mark.parametrize(
    ("pairs", "keys", "values", "gap"), [(1, 1, 2, 0), (4, 4, 2, 3), (8, 64, 64, 0), (5, 30, 7, 9)]
)
def test_recall_answers_as_a_dictionary_does(pairs, keys, values, gap):
    batch = Recall(pairs, keys, values, gap).sample(100, generator())
    for tokens, targets, mask in zip(*(part.tolist() for part in batch), strict=True):
        shown, noise, questions = tokens[: 2 * pairs], tokens[2 * pairs : -pairs], asked(tokens, targets, mask)
        memory = dict(zip(shown[::2], (token - keys for token in shown[1::2]), strict=True))
        assert len(memory) == pairs, "every key is shown once"
        assert all(0 <= key < keys and 0 <= value < values for key, value in memory.items())
        assert noise == [keys + values] * gap
        assert dict(questions) == memory
        assert len(questions) == pairs


def test_every_key_and_order_of_questions_is_drawn_as_often_as_the_others():
    tokens = Recall(2, 3, 2).sample(12_000, generator()).inputs
    drawn = Counter(zip(*tokens[:, [0, 2, 4]].T.tolist(), strict=True))
    assert len(drawn) == 12
    # 12,000 samples over 12 outcomes: a standard deviation is 30.
    assert all(abs(count - 1000) < 150 for count in drawn.values())


@pytest.mark.parametrize(("pairs", "values"), [(2, 4), (8, 64), (16, 3)])
def test_the_shortcut_of_recall_scores_what_it_says(pairs, values):
    task = Recall(pairs, 64, values)
    tokens, targets, mask = task.sample(20_000, generator())
    shown = tokens[:, 1 : 2 * pairs : 2] - 64
    guesses = shown.gather(1, torch.randint(pairs, (20_000, pairs), generator=generator(1)))
    right = (guesses == targets[mask].view(-1, pairs)).double().mean().item()
    assert right == pytest.approx(task.shortcut, abs=0.01)


def test_a_growing_curriculum_ends_with_all_sizes_mixed():
    task = Recall(24, 64, 8, curriculum="growing")
    sizes = [task.training_batch(2, generator(step), step, 100).inputs.shape[1] // 3 for step in range(100)]
    assert sizes[:50] == sorted(sizes[:50])
    assert set(sizes[:50]) == set(sizes[50:]) == {2, 4, 8, 16, 24}
    assert task.sample(2, generator()).inputs.shape == (2, 72), "evaluation is at full size"


def test_index_lookup_answers_as_a_list_does():
    batch = IndexLookup(9, 5, 4).sample(100, generator())
    for tokens, targets, mask in zip(*(part.tolist() for part in batch), strict=True):
        questions = asked(tokens, targets, mask)
        assert len({place for place, _ in questions}) == 4
        assert all(tokens[place - 5] == answer for place, answer in questions)


@pytest.mark.parametrize(("length", "ngram", "answer", "letters"), [(32, 2, 4, 26), (12, 3, 1, 3), (8, 4, 4, 2)])
def test_ngram_lookup_asks_for_what_followed_the_only_place_where_the_ngram_stands(length, ngram, answer, letters):
    batch = NgramLookup(length, ngram, answer, letters).sample(200, generator())
    places = set()
    for tokens, targets, mask in zip(*(part.tolist() for part in batch), strict=True):
        string, question = tokens[:length], tokens[length + 1 : length + 1 + ngram]
        assert tokens[length] == letters
        found = [start for start in range(length - ngram + 1) if string[start : start + ngram] == question]
        assert len(found) == 1
        right = string[found[0] + ngram :][:answer]
        assert [target for _, target in asked(tokens, targets, mask)] == right
        assert tokens[length + 1 + ngram :] == right[:-1], "from the second letter on, the answer is read"
        places.add(found[0])
    assert places == set(range(length - ngram - answer + 1))


@pytest.mark.parametrize(("length", "shortest", "letters"), [(5, None, 2), (6, 1, 4), (1, 1, 26)])
def test_strings_are_copied_to_their_end(length, shortest, letters):
    batch = StringCopying(length, shortest, letters).sample(300, generator())
    assert batch.inputs.shape == (300, 2 * length + 1)
    lengths = Counter()
    for tokens, targets, mask in zip(*(part.tolist() for part in batch), strict=True):
        size = tokens.index(letters + 1)
        string = tokens[:size]
        assert mask == [size <= step <= 2 * size for step in range(2 * length + 1)]
        assert tokens[size + 1 : 2 * size + 1] == string
        assert [target for _, target in asked(tokens, targets, mask)] == [*string, letters]
        assert all(token == letters for token in tokens[2 * size + 1 :])
        lengths[size] += 1
    assert set(lengths) == set(range(shortest or length, length + 1))


def test_one_wrong_letter_makes_a_string_wrong():
    task = StringCopying(4, 4, 3)
    batch = task.sample(10, generator())
    logits = torch.nn.functional.one_hot(batch.targets[batch.mask], task.output_size).float()
    assert task.scores(logits, batch) == {"accuracy": 1.0, "exact_match": 1.0}
    logits[7] = logits[7].roll(1)
    assert task.scores(logits, batch) == {"accuracy": 49 / 50, "exact_match": 0.9}
    look_up = NgramLookup(12, 2, 3, 9)
    batch = look_up.sample(10, generator())
    logits = torch.nn.functional.one_hot(batch.targets[batch.mask], 10).float()
    logits[7] = logits[7].roll(1)
    assert look_up.scores(logits, batch) == {"accuracy": 29 / 30, "exact_match": 0.9}


def test_to_answer_without_a_mistake_every_history_must_be_told_from_every_other():
    assert bits_needed(8, 64) == 48
    assert Recall(8, 64, 64).bits() == 48
    assert IndexLookup(10, 2).bits() == 10
    assert bits_needed(3, 10) == pytest.approx(math.log2(10**3))


def test_bits_below_what_is_needed_agree_with_the_best_code_found_by_trying_all():
    # Two fair coins, one bit kept: over all 2^4 ways to write the bit and the best reading of it, 3/4 are right, which
    # is below what the bound allows, and more than one short of it is not possible.
    best = 0
    histories = [(a, b) for a in (0, 1) for b in (0, 1)]
    for code in range(16):
        right = 0
        for bit in (0, 1):
            same = [history for number, history in enumerate(histories) if code >> number & 1 == bit]
            right += sum(max(Counter(h[i] for h in same).values(), default=0) for i in (0, 1))
        best = max(best, right / 8)
    assert best == 0.75
    assert best <= accuracy_within(1, 2, 2) < 0.95
    assert bits_needed(2, 2, best) <= 1


def test_the_bound_is_the_capacity_that_blahut_and_arimoto_s_iteration_finds():
    # Rate-distortion by iteration (Blahut 1972) for a uniform source of 5 symbols and Hamming distortion.
    slope = 2.0
    distortion = 1 - torch.eye(5, dtype=torch.float64)
    output = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1], dtype=torch.float64)
    for _ in range(2000):
        joint = output * torch.exp(-slope * distortion)
        channel = joint / joint.sum(1, keepdim=True)
        output = channel.mean(0)
    wrong = (channel * distortion).sum(1).mean().item()
    rate = (channel * (channel / output).log2()).sum(1).mean().item()
    assert bits_needed(1, 5, 1 - wrong) == pytest.approx(rate, abs=1e-9)


def test_more_bits_never_hurt_and_turning_the_bound_round_leads_back():
    accuracies = [accuracy_within(bits, 16, 64) for bits in range(0, 120, 4)]
    assert accuracies == sorted(accuracies)
    assert accuracies[0] == pytest.approx(1 / 64)
    assert accuracies[-1] == 1
    for bits in (1, 10, 50, 95):
        assert bits_needed(16, 64, accuracy_within(bits, 16, 64)) == pytest.approx(bits, abs=1e-6)
    assert bits_needed(16, 64, 1 / 64) == bits_needed(16, 64, 0) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recall(9, 8), "num_pairs must be at most num_keys, got 9 pairs for 8 keys"),
        (lambda: Recall(0), "num_pairs must be at least 1, got 0"),
        (lambda: Recall(2, 8, 1), "num_values must be at least 2, got 1"),
        (lambda: Recall(gap=-1), "gap must be a whole number of at least 0, got -1"),
        (lambda: Recall(curriculum="grow"), "Did you mean 'growing'"),
        (lambda: IndexLookup(3, 5, 4), "num_questions must be at most length, got 4 for 3 places"),
        (lambda: NgramLookup(5, 3, 3), "length must be at least ngram \\+ answer, got 5 letters"),
        (lambda: NgramLookup(100, 1, 1, 26), "26 letters make 26 different 1-grams, too few"),
        (lambda: StringCopying(4, 5), "min_length must be at most length, got 5 and 4"),
        (lambda: StringCopying(4, num_letters=1), "num_letters must be at least 2, got 1"),
        (lambda: bits_needed(4, 1), "choices must be at least 2, got 1"),
        (lambda: bits_needed(4, 2, 1.5), "accuracy must lie between 0 and 1, got 1.5"),
        (lambda: accuracy_within(-1, 4, 2), "bits must be a number of at least 0, got -1"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
