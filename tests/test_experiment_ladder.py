from dataclasses import replace

import pytest
import torch

from relmem_lite.cores import CORES
from relmem_lite.experiments import NthFarthestExperiment, NthFarthestLadderExperiment, run_experiment
from relmem_lite.models import num_parameters
from relmem_lite.tasks import NthFarthest
from relmem_lite.tasks.nth_farthest import CURRICULA
from relmem_lite.training.loop import TEST, TRAINING, VALIDATION, draw

SMOKE = NthFarthestLadderExperiment.from_preset("smoke")


def items_trained_on(task, steps=600):
    """How many vectors the batch of each training step has."""
    return [draw(task, 2, "cpu", TRAINING, 0, step, steps).inputs.shape[1] for step in range(steps)]


def test_without_a_curriculum_every_batch_has_all_vectors():
    task = NthFarthest(4, 2)
    assert set(items_trained_on(task, 10)) == {4}
    drawn, plain = draw(task, 9, "cpu", TRAINING, 5, 3, 10), draw(task, 9, "cpu", TRAINING, 5, 3)
    assert all(torch.equal(a, b) for a, b in zip(drawn, plain, strict=True))


def test_a_growing_curriculum_adds_a_vector_at_a_time_and_has_all_from_halfway_on():
    # 3 and 4 for a quarter of the steps each, then 5.
    assert items_trained_on(NthFarthest(5, 1, "growing")) == [3] * 150 + [4] * 150 + [5] * 300
    assert items_trained_on(NthFarthest(2, 1, "growing"), 10) == [2] * 10
    assert items_trained_on(NthFarthest(8, 1, "growing"), 1) == [3]
    sizes = items_trained_on(NthFarthest(8, 1, "growing"), 41)
    assert sizes == sorted(sizes)
    assert sizes[21:] == [8] * 20


def test_a_mixed_curriculum_draws_every_number_of_vectors_alike():
    sizes = items_trained_on(NthFarthest(5, 1, "mixed"))
    # 200 each of 600: standard deviation 11.5.
    assert [sizes.count(items) for items in (3, 4, 5)] == pytest.approx([200] * 3, abs=50)
    assert sizes == items_trained_on(NthFarthest(5, 1, "mixed")), "a function of the seed and the step"
    assert items_trained_on(NthFarthest(2, 1, "mixed"), 10) == [2] * 10


@pytest.mark.parametrize("curriculum", CURRICULA)
def test_held_out_and_test_samples_are_those_of_the_task_without_a_curriculum(curriculum):
    plain, task = NthFarthest(4, 2), NthFarthest(4, 2, curriculum)
    for purpose in (VALIDATION, TEST):
        ours, theirs = draw(task, 50, "cpu", purpose), draw(plain, 50, "cpu", purpose)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert ours.inputs.shape[1] == 4
    assert (task.chance, task.shortcut) == (plain.chance, plain.shortcut)


def test_fewer_vectors_ask_the_same_kind_of_question_in_the_same_features():
    size, width, items = 5, 3, 3
    batch = NthFarthest(size, width, "growing").training_batch(500, torch.Generator().manual_seed(0), 0, 100)
    assert batch.inputs.shape == (500, items, width + 3 * size)
    orders_seen, ranks_seen = set(), set()
    for steps, targets, mask in zip(*batch, strict=True):
        assert mask.tolist() == [False, False, True]
        vectors, labels, n, m = steps.split([width, size, size, size], dim=-1)
        assert torch.equal(n, n[:1].expand_as(n))
        assert torch.equal(m, m[:1].expand_as(m))
        of_label = {label.tolist().index(1): vector.tolist() for vector, label in zip(vectors, labels, strict=True)}
        assert len(of_label) == items, "no label twice"
        reference = of_label[m[0].tolist().index(1)]
        farthest_first = sorted(
            of_label, key=lambda label: -sum((a - b) ** 2 for a, b in zip(of_label[label], reference, strict=True))
        )
        rank = n[0].tolist().index(1)
        assert targets[-1].item() == farthest_first[rank]
        orders_seen.add(tuple(of_label))
        ranks_seen.add(rank)
    assert len(orders_seen) == 5 * 4 * 3, "every label comes at every place"
    assert ranks_seen == set(range(items))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NthFarthest(3, 1, "grow"), "no curriculum 'grow'. Did you mean 'growing'"),
        (lambda: NthFarthest(3, 1, None), "no curriculum None.*Known: none, growing, mixed"),
        (
            lambda: NthFarthest(3, 1, "mixed").training_batch(0, torch.Generator(), 0, 1),
            "batch_size must be at least 1, got 0",
        ),
        (lambda: replace(SMOKE, rungs=()), "rungs is empty"),
        (lambda: replace(SMOKE, rungs=("3x1", "3x1")), "rungs holds a value twice: 3x1, 3x1"),
        (lambda: replace(SMOKE, rungs=("3",)), "rungs expected KxD .* such as 4x1-growing, got '3'"),
        (lambda: replace(SMOKE, rungs=("0x1",)), "rungs expected KxD .* got '0x1'"),
        (lambda: replace(SMOKE, rungs=("3x1-none",)), "rungs expected KxD .* got '3x1-none'"),
        (lambda: replace(SMOKE, rungs=(3,)), "rungs expected KxD .* got 3"),
        (lambda: replace(SMOKE, cores=("lst",)), "no core 'lst'. Did you mean 'lstm'"),
        (lambda: replace(SMOKE, rungs=("1x4",)).rehearse(), "num_items must be at least 2, got 1"),
    ],
)
def test_what_makes_no_ladder_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_every_core_climbs_every_rung(tmp_path):
    record = run_experiment(replace(SMOKE, workers=1), tmp_path, report=lambda line: None)
    points = [
        (best["core"], best["num_items"], best["item_size"], best["curriculum"]) for best in record["best"].values()
    ]
    assert points == [
        (core, 3, *rung) for rung in ((1, "none"), (2, "growing")) for core in ("relational_memory", "lstm", "gru")
    ]
    assert all(len(best["scores"]) == 1 for best in record["best"].values())
    for run in record["runs"]:
        task, labels = run["run"]["task"], run["run"]["labels"]
        assert {name: labels[name] for name in ("num_items", "item_size", "curriculum")}.items() <= task.items()
        assert (task["chance"], task["shortcut"]) == (1 / 3, 2 / 3), "every rung's run says its own lines"


@pytest.mark.parametrize("preset", ["cpu", "gpu", "paper"])
def test_on_each_rung_all_have_equally_many_parameters(preset):
    experiment = NthFarthestLadderExperiment.from_preset(preset)
    sizes = {}
    with torch.device("meta"):
        for point in experiment.contestants().values():
            rung = (point["num_items"], point["item_size"], point["curriculum"])
            sizes.setdefault(rung, []).append(num_parameters(experiment.model(**point)))
    for rung in sizes.values():
        assert len(rung) == len(experiment.cores)
        assert max(rung) < 1.01 * min(rung)


def test_a_rung_is_the_experiment_of_that_size():
    single, ladder = NthFarthestExperiment.from_preset("cpu"), NthFarthestLadderExperiment.from_preset("cpu")
    point = {"num_items": 3, "item_size": 1, "curriculum": "none"}
    with torch.device("meta"):
        for core in single.cores:
            assert str(single.model(core)) == str(ladder.model(core, **point))


@pytest.mark.parametrize("core", [core for core in CORES if core != "relational_memory"])
def test_every_core_can_be_compared_at_equal_parameters(core):
    experiment = replace(SMOKE, rungs=("3x1",), cores=("relational_memory", core))
    sizes = [num_parameters(experiment.model(**point)) for point in experiment.contestants().values()]
    # Heads divide widths, so that some cores come in coarse steps.
    assert max(sizes) < 1.05 * min(sizes)
