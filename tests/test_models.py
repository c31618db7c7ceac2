import pytest
import torch

from relmem_lite import GRU, LSTM, MinGRU, RelationalMemory, record
from relmem_lite.cores import CORES
from relmem_lite.language_model import LanguageModel
from relmem_lite.models import (
    Block,
    CausalConvolution,
    SequenceModel,
    Stack,
    match_parameters,
    num_parameters,
    stacked_model,
)
from relmem_lite.tasks import Comparison, SelectiveCopying, StateTracking


def test_a_mask_gives_the_marked_rows_of_the_whole_answer():
    torch.manual_seed(0)
    model = SequenceModel(LSTM(3, 4), 5, (6, 7)).double()
    inputs = torch.randn(2, 4, 3, dtype=torch.float64)
    mask = torch.tensor([[True, False, True, False], [False, False, False, True]])
    whole, state = model(inputs)
    marked, same_state = model(inputs, mask=mask)
    assert whole.shape == (2, 4, 5)
    torch.testing.assert_close(marked, whole[mask], rtol=1e-12, atol=1e-12)
    assert torch.equal(state.cell, same_state.cell)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (torch.ones(2, 4, dtype=torch.int64), r"torch.bool of shape \(2, 4\).* got torch.int64 of shape \(2, 4\)"),
        (torch.ones(2, dtype=torch.bool), r"torch.bool of shape \(2, 4\).* got torch.bool of shape \(2,\)"),
        (torch.ones(2, 5, dtype=torch.bool), r"torch.bool of shape \(2, 4\).* got torch.bool of shape \(2, 5\)"),
    ],
)
def test_a_mask_of_another_kind_is_refused(mask, says):
    """torch takes whole numbers for rows, and a mask of whole sequences for one of steps."""
    with pytest.raises(ValueError, match=says):
        SequenceModel(LSTM(3, 4), 5)(torch.zeros(2, 4, 3), mask=mask)
    with pytest.raises(ValueError, match=says):
        LanguageModel("lstm", 5, 4)(torch.zeros(2, 4, dtype=torch.int64), mask=mask)


@pytest.mark.parametrize("core", ["lstm", torch.nn.LSTM(3, 4), None])
def test_a_model_around_no_core_is_refused(core):
    with pytest.raises(TypeError, match="SequenceModel expected a core, got"):
        SequenceModel(core, 5)


def test_a_batch_that_marks_no_step_has_no_loss():
    model, drawn = SequenceModel(LSTM(Comparison(2).input_size, 4), 2), Comparison(2).sample(3, torch.Generator())
    with pytest.raises(ValueError, match=r"marks none of its steps: its mask, \(3, \d+\), is false everywhere"):
        model.loss(drawn._replace(mask=torch.zeros_like(drawn.mask)))


def test_a_model_carries_its_cores_state():
    torch.manual_seed(0)
    model = SequenceModel(GRU(3, 4), 5)
    inputs = torch.randn(2, 6, 3)
    whole, _ = model(inputs)
    first, state = model(inputs[:, :2])
    second, _ = model(inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_the_head_is_the_network_it_says():
    model = SequenceModel(LSTM(3, 4), 5, ())
    assert num_parameters(model.head) == 4 * 5 + 5
    assert num_parameters(SequenceModel(LSTM(3, 4), 5, (6, 7)).head) == (4 * 6 + 6) + (6 * 7 + 7) + (7 * 5 + 5)


@pytest.mark.parametrize("core", [LSTM, GRU])
@pytest.mark.parametrize("wanted", [1, 2, 3, 10, 77])
def test_match_parameters_finds_the_width_it_is_asked_to_match(core, wanted):
    task = Comparison(3)

    def build(width):
        return SequenceModel(core(task.input_size, width), 2, (8,))

    assert match_parameters(build, build(wanted)).core.output_size == wanted


def test_match_parameters_takes_the_nearer_of_two_widths():
    target = torch.nn.Linear(10, 10, bias=False)  # 100
    assert match_parameters(lambda width: torch.nn.Linear(30, width, bias=False), target).out_features == 3
    assert match_parameters(lambda width: torch.nn.Linear(22, width, bias=False), target).out_features == 5


def test_a_target_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match=r"smallest model has 300 parameters, the one to match has 100"):
        match_parameters(lambda width: torch.nn.Linear(300, width, bias=False), torch.nn.Linear(10, 10, bias=False))


def test_a_target_that_no_width_reaches_is_refused():
    with pytest.raises(ValueError, match=r"width 128 has 15 parameters, and 100 are asked for"):
        match_parameters(lambda width: torch.nn.Linear(2, 5), 100)
    with pytest.raises(TypeError, match="target must be a whole number"):
        match_parameters(lambda width: torch.nn.Linear(2, width), 1e3)


@pytest.mark.parametrize(("sizes", "message"), [((5, (0,)), "head_sizes must be at least 1"), ((0, ()), "output_size")])
def test_sizes_that_make_no_model_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        SequenceModel(LSTM(3, 4), *sizes)


def normed(norm, stream):
    centred = stream - stream.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def convolved(core, inputs):
    """Each channel's window as a plain sum: weight k stands at the input that is window - 1 - k steps old."""
    time, weights = inputs.shape[1], core.convolution.weight[:, 0]
    outputs = core.convolution.bias.expand_as(inputs)
    for k in range(core.window):
        age = core.window - 1 - k
        shifted = torch.cat([torch.zeros_like(inputs[:, :age]), inputs[:, : time - age]], dim=1)
        outputs = outputs + weights[:, k] * shifted[:, :time]
    return outputs


def block_by_hand(block, stream):
    inside = normed(block.norm, stream)
    if block.convolution is not None:
        inside = convolved(block.convolution, inside)
    inside, _ = block.core(inside)
    stream = stream + block.project(inside)
    if block.mlp is not None:
        norm, widen, _, narrow = block.mlp
        hidden = widen(normed(norm, stream))
        stream = stream + narrow(hidden * (1 + torch.erf(hidden / 2**0.5)) / 2)
    return stream


def shaken(module):
    """The module in float64, with parameters that no layer starts with."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def random_inputs(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("time", [1, 2, 3, 9])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_a_convolution_is_a_weighted_sum_of_each_channels_last_inputs(window, time):
    core, inputs = shaken(CausalConvolution(3, window)), random_inputs(2, time, 3)
    outputs, state = core(inputs)
    torch.testing.assert_close(outputs, convolved(core, inputs))
    padded = torch.cat([torch.zeros(2, window - 1, 3, dtype=torch.float64), inputs], dim=1)
    assert torch.equal(state, padded[:, time:])
    assert core.state_size(time) == (window - 1) * 3


@pytest.mark.parametrize("options", [{}, {"convolution": 0}, {"convolution": 2, "expansion": 0}, {"expansion": 3}])
@pytest.mark.parametrize("cores", [["min_gru", "attention"], ["lstm", "relational_memory", "lstm"]], ids=", ".join)
def test_a_stack_is_its_blocks_one_after_the_other(cores, options):
    stack, inputs = shaken(Stack(cores, 8, **options)), random_inputs(2, 5, 8)
    stream = inputs
    for block in stack.blocks:
        stream = block_by_hand(block, stream)
    torch.testing.assert_close(stack(inputs)[0], normed(stack.norm, stream))


def test_a_stacks_state_is_that_of_its_blocks_in_their_order():
    stack, inputs = shaken(Stack(["min_gru", "lstm", "attention"], 8, convolution=2)), random_inputs(2, 5, 8)
    _, state = stack(inputs)
    stream, parts = inputs, []
    for block in stack.blocks:
        past = convolved(block.convolution, normed(block.norm, stream))
        _, core_state = block.core(past)
        parts += [normed(block.norm, stream)[:, -1:], *([core_state] if torch.is_tensor(core_state) else core_state)]
        stream = block_by_hand(block, stream)
    assert type(state) is tuple
    for part, expected in zip(state, parts, strict=True):
        torch.testing.assert_close(part, expected)


def test_a_stacks_state_size_adds_up_and_grows_with_attention():
    stack = Stack(["min_gru", "lstm", "attention"], 8, convolution=4)
    windows, cells, a_step = 3 * 3 * 8, 8 + 2 * 8, 2 * 8
    for time in (0, 1, 7, 1000):
        assert stack.state_size(time) == windows + cells + a_step * time
        assert stack.state_size(time) == sum(block.state_size(time) for block in stack.blocks)
    assert Stack(["min_gru", "lstm"], 8, convolution=0).state_size(1000) == cells


def test_caches_of_different_lengths_are_refused():
    stack = Stack(["attention", "attention"], 8, convolution=0)
    _, state = stack(torch.randn(2, 3, 8))
    shorter = (*state[:2], *(part[:, 1:] for part in state[2:]))
    with pytest.raises(ValueError, match=r"1\.core\.keys has shape \(2, 3, 8\).*got \(2, 2, 8\)"):
        stack(torch.randn(2, 1, 8), shorter)


def test_a_state_of_other_cores_is_refused():
    stack = Stack(["lstm", "min_gru"], 8, convolution=0)
    _, other = Stack(["min_gru", "lstm", "gru"], 8, convolution=0)(torch.randn(2, 3, 8))
    message = r"a tuple \(0\.core\.hidden, 0\.core\.cell, 1\.core\.hidden\), got a tuple of 4"
    with pytest.raises(TypeError, match=message):
        stack(torch.randn(2, 3, 8), other)


@pytest.mark.parametrize("name", CORES)
def test_every_core_has_its_place_in_a_stack(name):
    torch.manual_seed(0)
    stack = Stack([name, name], 8)
    outputs, state = stack(torch.randn(2, 5, 8))
    assert outputs.shape == (2, 5, 8)
    assert stack.cores == ", ".join([CORES[name].__name__] * 2)
    assert stack.state_size(5) == sum(part[0].numel() for part in state)
    assert stack.blocks[0].core is not stack.blocks[1].core


@pytest.mark.parametrize("width", [1, 3, 8, 13])
@pytest.mark.parametrize("name", CORES)
def test_any_width_makes_a_core(name, width):
    core = CORES[name].of_width(3, width)
    assert core(torch.randn(2, 2, 3))[0].shape == (2, 2, core.output_size)
    row_size = core.row_size if name == "relational_memory" else core.output_size
    assert width <= row_size < width + 8


@pytest.mark.parametrize(("width", "error"), [(0, ValueError), (-4, ValueError), (2.5, TypeError)])
@pytest.mark.parametrize("name", CORES)
def test_a_width_that_is_none_is_refused(name, width, error):
    with pytest.raises(error, match=f"got {width}"):
        CORES[name].of_width(3, width)


def test_a_memory_takes_its_proportions_from_its_width():
    core = RelationalMemory.of_width(3, 8)
    assert (core.num_slots, core.num_heads, core.head_size) == (4, 4, 2)
    core = RelationalMemory.of_width(3, 7, num_heads=2, num_slots=3)
    assert (core.num_slots, core.num_heads, core.head_size) == (3, 2, 4)


def test_a_core_wider_than_the_stream_is_projected_and_one_of_its_width_is_not():
    wide = Stack([GRU(8, 12), GRU(8, 8)], 8)
    assert (wide.blocks[0].project.in_features, wide.blocks[0].project.out_features) == (12, 8)
    assert not list(wide.blocks[1].project.parameters())
    assert wide(torch.randn(2, 3, 8))[0].shape == (2, 3, 8)


def test_blocks_within_blocks_keep_their_states_apart():
    inner = Block(MinGRU(4, 4), 4, convolution=3)
    outer = Block(inner, 4, convolution=3)
    assert outer.state_size(0) == inner.state_size(0) + 2 * 4 == 4 + 2 * (2 * 4)


def test_the_cores_of_a_stack_are_recorded_one_by_one():
    stack, inputs = shaken(Stack(["min_gru", "lstm"], 4)), random_inputs(2, 5, 4)
    with record(stack.blocks[0].core) as lower, record(stack.blocks[1].core) as upper, record(stack) as nothing:
        _, state = stack(inputs[:, :4])
        _, state = stack.step(inputs[:, 4], state)
    assert lower["hidden"].shape == upper["forget_gate"].shape == (2, 5, 4)
    assert torch.equal(lower["hidden"][:, -1], state[1])
    with pytest.raises(KeyError, match="is a stack, which records nothing itself"):
        nothing["hidden"]


def test_dropout_is_for_training_alone():
    stack, inputs = shaken(Stack(["min_gru", "gru"], 8, dropout=0.5)), random_inputs(2, 5, 8)
    plain = Stack(["min_gru", "gru"], 8).double()
    plain.load_state_dict(stack.state_dict())
    torch.manual_seed(0)
    assert not torch.equal(stack(inputs)[0], stack(inputs)[0])
    assert torch.equal(stack.eval()(inputs)[0], plain(inputs)[0])


def test_all_is_dropped_but_the_stream():
    stack, inputs = shaken(Stack(["min_gru", "gru"], 8, dropout=1.0)), random_inputs(2, 5, 8)
    torch.testing.assert_close(stack(inputs)[0], normed(stack.norm, inputs))


def test_an_encoder_turns_tokens_into_the_cores_inputs():
    torch.manual_seed(0)
    encoder = torch.nn.Embedding(5, 8)
    model = SequenceModel(Stack(["min_gru", "attention"], 8), 3, (), encoder).double()
    tokens = torch.randint(5, (2, 6))
    answers, _ = model(tokens)
    assert answers.shape == (2, 6, 3)
    outputs, _ = model.core(encoder.weight[tokens])
    torch.testing.assert_close(answers, outputs @ model.head[0].weight.T + model.head[0].bias)
    first, state = model(tokens[:, :4])
    second, _ = model(tokens[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), answers)
    mask = torch.tensor([[False] * 4 + [True] * 2] * 2)
    torch.testing.assert_close(model(tokens, mask=mask)[0], answers[mask])


@pytest.mark.parametrize("cores", [["min_gru"], ["gru"] * 3, ["min_gru", "attention"], [lambda width: LSTM(width, 5)]])
@pytest.mark.parametrize("parameters", [3_000, 50_000])
@pytest.mark.parametrize("task", [SelectiveCopying(2, 6, 10), StateTracking("s3"), Comparison(2)], ids=type)
def test_a_stacked_model_is_the_nearest_in_size(task, parameters, cores):
    model = stacked_model(cores, task, parameters)
    width = model.core.output_size
    assert width % 8 == 0

    def size(width):
        encoder = task.num_tokens * width if task.num_tokens else (task.input_size + 1) * width
        made = [core if isinstance(core, str) else core(width) for core in cores]
        return encoder + num_parameters(Stack(made, width)) + (width + 1) * task.output_size

    assert num_parameters(model) == size(width)
    others = [size(other) for other in (width - 8, width + 8) if other]
    assert all(abs(size(width) - parameters) <= abs(other - parameters) for other in others)
    inputs, _, mask = task.sample(3, torch.Generator())
    assert model(inputs, mask=mask)[0].shape == (int(mask.sum()), task.output_size)


def test_a_stacked_model_hands_its_options_to_the_stack():
    task = StateTracking("parity")
    model = stacked_model(["gru", "gru"], task, 5000, convolution=0, expansion=0, dropout=0.25)
    assert [(block.convolution, block.mlp, block.dropout.p) for block in model.core.blocks] == [(None, None, 0.25)] * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stack(["min_gru", "attntion"], 8), "no core 'attntion'. Did you mean 'attention'"),
        (lambda: Stack("min_gru", 8), r"a list of cores, such as \['min_gru', 'attention'\], got 'min_gru'"),
        (lambda: Stack([], 8), r"a list of cores.*got \[\]"),
        (lambda: Stack([MinGRU], 8), "no core <class.*MinGRU"),
        (
            lambda: Stack([MinGRU(4, 8)], 8),
            r"input_size 8, got a MinGRU with input_size 4. Try MinGRU.of_width\(8, 8\)",
        ),
        (lambda: Stack([Stack(["gru"], 4)], 8), "input_size 8, got a Stack with input_size 4"),
        (lambda: Block("min_gru", 8), r"expected a core, got 'min_gru'.*Stack\(\['min_gru'\], 8\)"),
        (lambda: Block(torch.nn.Linear(8, 8), 8), "expected a core, got Linear"),
        (lambda: Stack(["gru"], 0), "width must be at least 1, got 0"),
        (lambda: Stack(["gru"], 8.0), "width must be a whole number, got 8.0"),
        (lambda: Stack(["gru"], 8, convolution=-1), "convolution must be at least 1, got -1"),
        (lambda: Stack(["gru"], 8, convolution=2.5), "convolution must be a whole number, got 2.5"),
        (lambda: Stack(["gru"], 8, expansion=-2), "expansion must be at least 1, got -2"),
        (lambda: Stack(["gru"], 8, expansion=1.5), "expansion must be a whole number, got 1.5"),
        (lambda: Stack(["gru"], 8, dropout=1.5), "dropout probability.*got 1.5"),
        (lambda: stacked_model("min_gru", Comparison(2), 3000), "a list of cores.*got 'min_gru'"),
        (lambda: stacked_model([], Comparison(2), 3000), r"a list of cores.*got \[\]"),
        (lambda: stacked_model(["min_gur"], Comparison(2), 3000), "Did you mean 'min_gru'"),
        (lambda: stacked_model(["gru"], Comparison(2), 100), "smallest model has .* asked for were 100"),
        (lambda: stacked_model(["gru"], Comparison(2), 0), "parameters must be at least 1, got 0"),
        (lambda: stacked_model(["gru"], Comparison(2), 3e3), "parameters must be a whole number, got 3000.0"),
        (lambda: stacked_model([lambda width: GRU(4, width)], Comparison(2), 3000), "got a GRU with input_size 4"),
    ],
)
def test_what_makes_no_stack_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
