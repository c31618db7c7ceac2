"""Attention's cache, which is never copied as a whole, and its learned positions, which have an end."""

import io

import pytest
import safetensors.torch
import torch
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from relmem_lite import GRU, AttentionState, CausalAttention, SRUPlusPlus
from relmem_lite.models import Block, SequenceModel, Stack


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pointers(state):
    return [part.data_ptr() for part in state if part.ndim == 3]


def caches(core, inputs):
    """Where keys and values lie after each step."""
    places, state = [], None
    for step_input in inputs.unbind(1):
        _, state = core.step(step_input, state)
        places.append(tuple(pointers(state)))
    return places


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("core", [CausalAttention(4, 8), SRUPlusPlus(4, 8)], ids=["attention", "SRU++"])
def test_a_step_without_gradients_copies_the_cache_seldom(core, mode):
    inputs = normal(2, 500, 4)
    with mode():
        places = caches(core, inputs)
        outputs, _ = core(inputs)
        stepwise = torch.stack(list(steps(core, inputs)), dim=1)
    assert len(set(places)) < 20
    assert torch.allclose(stepwise, outputs, rtol=0, atol=1e-5)
    assert len(set(caches(core, inputs[:, :50]))) == 50, "with gradients, each state is a tensor of its own"


def steps(core, inputs):
    state = None
    for step_input in inputs.unbind(1):
        output, state = core.step(step_input, state)
        yield output


def test_steps_in_and_out_of_inference_mode_go_on_from_one_another():
    core, inputs, outputs, state = CausalAttention(4, 8), normal(2, 12, 4), [], None
    for time, mode in enumerate([torch.inference_mode, torch.no_grad, torch.inference_mode, torch.enable_grad] * 3):
        with mode():
            output, state = core.step(inputs[:, time], state)
        outputs.append(output)
    assert torch.allclose(torch.stack(outputs, dim=1), core(inputs)[0], rtol=0, atol=1e-5)


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_saved_state_takes_no_room_for_steps_to_come(batch_size):
    core = Stack(["gru", "attention"], 16)
    _, state = core(normal(batch_size, 90, 16))
    _, state = core.step(normal(batch_size, 16), state)  # makes the room
    numbers = 4 * batch_size * core.state_size(91)
    overhead = 4_000  # names, shapes, and padding to 64 bytes, of four tensors
    kept = core.compact(state)
    written = saved(kept)
    assert numbers < len(written) < numbers + overhead
    assert len(saved(state)) > numbers + overhead, "else there is nothing to save"
    file = {f"state.{place}": part for place, part in enumerate(state)}
    assert numbers < len(safetensors.torch.save({k: v.contiguous() for k, v in file.items()})) < numbers + overhead
    read = torch.load(io.BytesIO(written), weights_only=True)
    assert type(read) is type(state)
    following = normal(batch_size, 16, seed=1)
    assert torch.equal(core.step(following, read)[0], core.step(following, state)[0])


def test_a_compact_state_has_the_form_of_the_state_and_no_gradients():
    core = CausalAttention(4, 8)
    _, state = core(normal(2, 3, 4))
    kept = core.compact(state)
    assert isinstance(kept, AttentionState)
    assert not any(part.requires_grad for part in kept)
    assert set(pointers(kept)).isdisjoint(pointers(state))
    gru = GRU(4, 8)
    assert gru.compact(gru.initial_state(2)).shape == (2, 8)


def test_where_there_is_no_state_yet_there_is_none_to_keep_or_to_go_on_from():
    for core in (CausalAttention(4, 8), GRU(4, 8), Stack(["gru", "attention"], 8)):
        assert core.compact(None) is None
        assert core.carry_over(None) is None


def test_a_state_that_is_no_cache_is_told_what_shape_one_has():
    core = CausalAttention(4, 8)
    with pytest.raises(ValueError, match=r"keys has shape \(2, steps so far, 8\) for .* batch size 2, got \(2, 8\)"):
        core(normal(2, 3, 4), (normal(2, 8), normal(2, 8)))


@torch.no_grad()
def test_two_ways_on_from_one_state_do_not_meet():
    core, inputs = CausalAttention(4, 8), normal(2, 9, 4)
    _, start = core(inputs[:, :3])
    _, start = core.step(inputs[:, 3], start)
    _, one = core.step(inputs[:, 4], start)
    _, other = core.step(inputs[:, 5], start)
    assert pointers(one) == pointers(start), "the first to go on has the room"
    assert set(pointers(other)).isdisjoint(pointers(start))
    _, expected = core(torch.stack([*inputs[:, :4].unbind(1), inputs[:, 4]], dim=1))
    assert all(torch.allclose(part, wanted, atol=1e-6) for part, wanted in zip(one, expected, strict=True))


def test_gradients_of_what_was_made_from_a_state_survive_later_steps():
    """Memory that states share is written behind each one alone, so that what autograd has kept of it still counts."""
    core, inputs = CausalAttention(4, 8), normal(2, 6, 4)
    weight = torch.nn.Parameter(normal(8, seed=1))
    with torch.no_grad():
        _, state = core(inputs[:, :3])
        _, state = core.step(inputs[:, 3], state)
    loss = (state.keys * weight).sum()
    with torch.no_grad():
        core.step(inputs[:, 4], state)
    loss.backward()
    assert torch.allclose(weight.grad, state.keys.sum((0, 1)))


@torch.no_grad()
def test_a_part_of_a_cache_goes_on_in_memory_of_its_own():
    core, inputs = CausalAttention(4, 8), normal(4, 9, 4)
    _, state = core(inputs[:, :3])
    _, state = core.step(inputs[:, 3], state)
    expected = [core.step(inputs[rows, 4], tuple(part[rows].clone() for part in state)) for rows in ([0, 1], [2, 3])]
    for rows, (output, _) in zip((slice(2), slice(2, 4)), expected, strict=True):
        part = AttentionState(*(each[rows] for each in state))
        found, following = core.step(inputs[rows, 4], part)
        assert torch.equal(found, output)
        assert set(pointers(following)).isdisjoint(pointers(state))
    shorter = AttentionState(*(part[:, :3] for part in state))
    assert torch.allclose(core.step(inputs[:, 3], shorter)[1].keys, state.keys, atol=1e-6)


@torch.no_grad()
def test_forward_mode_derivatives_go_through_the_cache_where_there_are_no_gradients():
    core, inputs, direction = CausalAttention(4, 8), normal(2, 5, 4), normal(2, 5, 4, seed=1)

    def steps(inputs):
        state = None
        for each in inputs.unbind(1):
            output, state = core.step(each, state)
        return output

    # The only way to attend that torch differentiates forwards.
    with sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(steps(forward_ad.make_dual(inputs, direction))).tangent
    core, inputs, direction = core.double(), inputs.double(), 1e-4 * direction.double()
    difference = (steps(inputs + direction) - steps(inputs - direction)) / 2e-4
    assert torch.allclose(tangent.double(), difference, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@torch.no_grad()
def test_steps_can_be_mapped_over():
    core, inputs = CausalAttention(4, 8), normal(3, 2, 5, 4)

    def last(inputs):
        _, state = core(inputs[:, :3])
        _, state = core.step(inputs[:, 3], state)
        return core.step(inputs[:, 4], state)[0]

    assert torch.allclose(torch.vmap(last)(inputs), torch.stack([last(each) for each in inputs]), atol=1e-6)


def test_learned_positions_tell_orders_apart_and_count_on_in_a_state():
    torch.manual_seed(0)
    core = CausalAttention(4, 8, positions="learned", max_time=6)
    inputs, order = normal(2, 6, 4), [3, 0, 2, 1, 4, 5]
    outputs, _ = core(inputs)
    assert (outputs[:, -1] - core(inputs[:, order])[0][:, -1]).abs().max() > 1e-3
    _, state = core(inputs[:, :4])
    assert torch.allclose(core(inputs[:, 4:], state)[0], outputs[:, 4:], atol=1e-6)
    # A new piece of a long sequence starts at the first position again, and goes on for ever.
    piece, _ = core(inputs, core.carry_over(state))
    assert torch.equal(piece, outputs)


def test_what_is_carried_over_holds_no_cache_in_memory():
    core = CausalAttention(4, 8)
    _, state = core(normal(2, 6, 4))
    carried = core.carry_over(state)
    assert [part.shape for part in carried] == [(2, 0, 8)] * 2
    assert sum(part.untyped_storage().nbytes() for part in carried) == 0
    assert not any(part.requires_grad for part in carried)


def test_a_sequence_past_the_positions_is_refused_by_both_numbers():
    core = CausalAttention(4, 8, positions="learned", max_time=6)
    assert core.max_time == 6
    _, state = core(normal(2, 6, 4))
    with pytest.raises(ValueError, match=r"has 7 steps; .* learned positions for 6\. Read less"):
        core(normal(2, 7, 4))
    with pytest.raises(ValueError, match=r"has 7 steps, 6 of them in the state; .* learned positions for 6"):
        core.step(normal(2, 4), state)
    with pytest.raises(ValueError, match=r"has 9 steps, 6 of them in the state"):
        core(normal(2, 3, 4), state)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"positions": "learned"}, "Learned positions need max_time"),
        ({"positions": "learned", "max_time": 0}, "max_time must be at least 1"),
        ({"positions": "learned", "max_time": 2.5}, "max_time must be a whole number"),
        ({"max_time": 8}, "max_time, 8, is for learned positions; positions are 'rotary'"),
        ({"positions": "none", "max_time": 8}, "positions are 'none'"),
        ({"positions": "learnt"}, "no kind of positions 'learnt'. Did you mean 'learned'"),
    ],
)
def test_positions_that_make_no_sense_are_refused(options, says):
    with pytest.raises((ValueError, TypeError), match=says):
        CausalAttention(4, 8, **options)


def test_a_stack_has_as_many_positions_as_the_part_with_the_fewest():
    def attention(max_time):
        return CausalAttention.of_width(8, 8, positions="learned", max_time=max_time)

    assert GRU(4, 4).max_time is None
    assert CausalAttention(4, 8).max_time is None
    assert Block(attention(9), 8).max_time == 9
    assert Stack(["gru", "attention"], 8).max_time is None
    stack = Stack(["gru", attention(9), Stack([attention(5)], 8), "attention"], 8)
    assert stack.max_time == 5
    model = SequenceModel(stack, 3)
    assert model(normal(1, 5, 8))[0].shape == (1, 5, 3)
    with pytest.raises(ValueError, match="positions for 5"):
        model(normal(1, 6, 8))
