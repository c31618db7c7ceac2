import json
import random
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
import torch
from safetensors.torch import save

from relmem_lite import LSTM, CausalAttention
from relmem_lite.cli import main
from relmem_lite.corpora import Vocabulary
from relmem_lite.experiments import LanguageModelExperiment, NthFarthestExperiment, load_language_model
from relmem_lite.experiments.experiment import Run
from relmem_lite.language_model import LanguageModel
from relmem_lite.models import num_parameters
from relmem_lite.text_generation import _Writer, generate_text
from relmem_lite.training import CheckpointError, checkpoint

TOKENS = ["the", ".", "<eos>", '"', "key", "(", ")", "@-@", ",", "box"]
WORDS = Vocabulary(TOKENS, "word")


def language_model(seed=0, vocabulary=WORDS):
    torch.manual_seed(seed)
    model = LanguageModel(LSTM(8, 8), len(vocabulary), 8, dropout=0.5, output_dropout=0.5)
    with torch.no_grad():
        model.softmax.bias.normal_(std=2.0)
    return model


def text(model=None, vocabulary=WORDS, prompt="the key", **options):
    return "".join(generate_text(model or language_model(), vocabulary, prompt, **options))


def test_each_token_is_drawn_as_the_whole_text_before_it_says():
    """The plain way: the whole text through the model again for every token."""
    model, prompt = language_model().eval(), WORDS.encode("the key")
    drawn = Counter()
    for seed in range(400):
        drawn[text(model, tokens=1, seed=seed)] += 1
    probabilities = model(torch.tensor([prompt]))[0][0, -1].exp()
    for number, probability in enumerate(probabilities.tolist()):
        piece = WORDS.decode([*prompt, number])[len(WORDS.decode(prompt)) :]
        assert abs(drawn[piece] / 400 - probability) < 4 * (probability * (1 - probability) / 400) ** 0.5 + 0.01


def test_temperature_0_takes_the_likeliest_of_the_whole_text_before():
    model, numbers = language_model().eval(), WORDS.encode("the key")
    start = len(WORDS.decode(numbers))
    for _ in range(30):
        numbers.append(int(model(torch.tensor([numbers]))[0][0, -1].argmax()))
    assert text(model, tokens=30, temperature=0) == WORDS.decode(numbers)[start:]
    assert text(model, tokens=30, top_k=1) == text(model, tokens=30, temperature=0)
    assert text(model, tokens=30, temperature=1e-9) == text(model, tokens=30, temperature=0)


def test_top_k_draws_among_the_likeliest_alone():
    model = language_model().eval()
    scores, _ = model(torch.tensor([WORDS.encode("the key")]))
    likeliest = set(scores[0, -1].topk(3).indices.tolist())
    prompt = WORDS.decode(WORDS.encode("the key"))
    allowed = {WORDS.decode([*WORDS.encode("the key"), number])[len(prompt) :] for number in likeliest}
    drawn = {text(model, tokens=1, top_k=3, temperature=3.0, seed=seed) for seed in range(60)}
    assert drawn == allowed
    assert text(model, tokens=20, top_k=1000) == text(model, tokens=20)


def test_the_same_seed_writes_the_same_text_without_touching_other_randomness():
    model = language_model()
    torch.manual_seed(1)
    first = text(model, tokens=40, seed=3)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    assert text(model, tokens=40, seed=3) == first
    assert torch.rand(1) == expected
    assert text(model, tokens=40, seed=4) != first


def test_pieces_are_put_together_as_the_vocabulary_puts_whole_texts():
    drawn = random.Random(0)
    for _ in range(200):
        numbers = [drawn.randrange(len(TOKENS)) for _ in range(30)]
        writer = _Writer(WORDS)
        assert "".join(map(writer.write, numbers)) == WORDS.decode(numbers)


def test_characters_are_written_as_they_are():
    letters = Vocabulary("ab \n.", "character")
    model = language_model(vocabulary=letters)
    written = text(model, letters, "a b", tokens=50)
    assert len(written) == 50
    assert set(written) <= set("ab \n.")


def test_a_token_takes_the_same_steps_and_memory_however_long_the_text(monkeypatch):
    model = language_model()
    steps = []
    monkeypatch.setattr(
        model, "step", lambda tokens, state: steps.append(len(tokens)) or LanguageModel.step(model, tokens, state)
    )
    pieces = generate_text(model, WORDS, "the key", tokens=5000)
    list(islice(pieces, 500))
    assert len(steps) < 2 + 500 + 1
    tracemalloc.start()
    for _ in islice(pieces, 500):
        pass
    early = tracemalloc.get_traced_memory()[0]
    for _ in islice(pieces, 3000):
        pass
    late = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert set(steps) == {1}
    # The list of steps above grows by 8 bytes a token; a text that was kept would grow by far more.
    assert late - early < 3000 * 16
    assert torch.is_grad_enabled(), "gradients are off for the model's steps alone"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prompt": ""}, "The prompt is empty: give at least one word"),
        ({"prompt": "  "}, "The prompt is empty"),
        ({"prompt": "the kye"}, r"lacks the word 'kye'\. Near to it are 'key'"),
        ({"temperature": -1.0}, "temperature must be a finite number of at least 0, got -1.0"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"temperature": "hot"}, "temperature must be a number, got 'hot'"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"tokens": 0}, "tokens must be at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"vocabulary": Vocabulary(["the", "key"], "word")}, "model has 10 tokens, the vocabulary 2"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(options, says):
    with pytest.raises((ValueError, TypeError), match=says):
        generate_text(**{"model": language_model(), "vocabulary": WORDS, "prompt": "the"} | options)


def test_an_unknown_word_is_refused_also_where_the_corpus_has_a_token_for_unknown_ones():
    wikitext = Vocabulary([*TOKENS, "<unk>"], "word")
    model = language_model(vocabulary=wikitext)
    with pytest.raises(ValueError, match=r"lacks the word 'lock'.*write <unk> in its place"):
        generate_text(model, wikitext, "the lock")
    assert text(model, wikitext, "the <unk>", tokens=3)


def test_more_text_than_a_core_has_positions_for_is_refused():
    model = LanguageModel(CausalAttention(8, 8, positions="learned", max_time=6), len(WORDS), 8)
    assert len(list(generate_text(model, WORDS, "the key", tokens=5))) == 5
    with pytest.raises(ValueError, match=r"prompt of 2 tokens and up to 6 more take 7 positions.* has 6"):
        generate_text(model, WORDS, "the key", tokens=6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few steps on text of its own, as `relmem run` leaves it, and its experiment."""
    folder = tmp_path_factory.mktemp("generate")
    (folder / "texts").mkdir()
    for split, times in {"train": 60, "valid": 5, "test": 4}.items():
        (folder / "texts" / f"{split}.txt").write_text("the key is in the box .\nwhere is the key ?\n" * times)
    smoke = LanguageModelExperiment.from_preset("smoke")
    experiment = replace(
        smoke, corpus=str(folder / "texts"), cores=("lstm", "min_gru+min_gru"), steps=60, eval_every=30, cutoffs=(4,)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELMEM_CACHE", str(folder / "cache"))
        for core in experiment.cores:
            experiment.train(Run(core, 1e-2, 0), folder / "runs", progress=False)
    shutil.rmtree(folder / "texts")
    shutil.rmtree(folder / "cache")
    return folder / "runs"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained / "lstm-lr0.01-seed0", tmp_path / "run")


def printed(capsys, *arguments):
    try:
        status = main(["generate", *map(str, arguments)])
    except SystemExit as exit:
        status = exit.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_runs_folder_is_enough_to_write_what_it_learned(trained, capsys):
    for core in ("lstm", "min_gru+min_gru"):
        model, vocabulary = load_language_model(trained / f"{core}-lr0.01-seed0")
        assert not model.training
        prompt = "the key is in the box.\nwhere"
        status, out, err = printed(
            capsys, trained / f"{core}-lr0.01-seed0", "--prompt", prompt, "--tokens", 4, "--temperature", 0
        )
        assert (status, err) == (0, "")
        assert out.split("\n")[1] == "where is the key?"
        again = "".join(generate_text(model, vocabulary, prompt, tokens=4, temperature=0))
        assert out == vocabulary.decode(vocabulary.encode(prompt)) + again + "\n"


def test_the_same_command_writes_the_same_text(run, capsys):
    typed = (run, "--prompt", "the", "--tokens", 30, "--temperature", "1.5", "--top-k", 5)
    first = printed(capsys, *typed, "--seed", 1)
    assert printed(capsys, *typed, "--seed", 1) == first
    assert printed(capsys, *typed, "--seed", 2) != first


@pytest.mark.parametrize(
    ("typed", "status", "says"),
    [
        (("--prompt", ""), 2, "The prompt is empty"),
        (("--prompt", "the kye"), 2, "Near to it are 'key'"),
        (("--prompt", "the", "--temperature", "-0.5"), 2, "temperature must be a finite number of at least 0"),
        (("--prompt", "the", "--top-k", "0"), 2, "top_k must be at least 1"),
        (("--prompt", "the", "--tokens", "many"), 2, "--tokens"),
        ((), 2, "--prompt"),
    ],
)
def test_a_slip_of_the_pen_is_answered_in_words(typed, status, says, run, capsys):
    got, out, err = printed(capsys, run, *typed)
    assert got == status
    assert says in out + err
    assert "Traceback" not in out + err


def refused(capsys, folder):
    status, out, err = printed(capsys, folder, "--prompt", "the")
    assert (status, out) == (1, "")
    assert "Traceback" not in err
    return err


def test_a_folder_that_is_no_run_says_where_runs_are(trained, tmp_path, capsys):
    nowhere = tmp_path / "nowhere"
    hint = "Name the folder of a language model's run: runs/EXPERIMENT-PRESET/RUN."
    assert refused(capsys, nowhere) == f"relmem: There is no folder {nowhere}. {hint}\n"
    assert "It holds 2 runs; name one of them:" in refused(capsys, trained)
    assert "it has no model.json" in refused(capsys, tmp_path)


def test_a_missing_checkpoint_says_how_to_get_one(run, capsys):
    shutil.rmtree(run / "checkpoints")
    assert "holds no checkpoint" in refused(capsys, run)


def test_a_run_that_was_killed_before_its_first_checkpoint_may_be_another_one_next_time(tmp_path, monkeypatch):
    monkeypatch.setenv("RELMEM_CACHE", str(tmp_path / "cache"))
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("the key is in the box .\n" * 40)
    smoke = replace(LanguageModelExperiment.from_preset("smoke"), corpus=str(tmp_path), cores=("lstm",))
    first, run = Run("lstm", 1e-2, 0), tmp_path / "lstm-lr0.01-seed0"
    smoke.train(first, tmp_path, progress=False)
    shutil.rmtree(run / "checkpoints")
    (run / "record.json").unlink()
    replace(smoke, parameters=10_000).train(first, tmp_path, progress=False)
    model, _ = load_language_model(run)
    assert 9_000 < num_parameters(model) < 11_000


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(run, capsys):
    older, newer = sorted((run / "checkpoints").iterdir())
    newer.write_bytes(newer.read_bytes()[:-10])
    with pytest.warns(UserWarning, match="step-000000060.*Trying the one before"):
        load_language_model(run)
    status, out, err = printed(capsys, run, "--prompt", "the", "--tokens", 3)
    assert status == 0
    assert out.startswith("the")
    assert err.startswith(f"relmem: {newer} is torn or no checkpoint")
    assert err.endswith(" Trying the one before it.\n")
    assert err.count("\n") == 1
    older.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="Trying the one before"),
        pytest.raises(CheckpointError, match=r"step-000000060.*step-000000030"),
    ):
        load_language_model(run)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_no_numbers_are_not_taken_for_the_first_token(temperature, run, capsys, monkeypatch):
    step = LanguageModel.step

    def diverged(self, tokens, state):
        scores, state = step(self, tokens, state)
        return scores * torch.nan, state

    monkeypatch.setattr(LanguageModel, "step", diverged)
    with pytest.raises(ValueError, match="scores for the next token are NaN"):
        text(temperature=temperature)
    status, out, err = printed(capsys, run, "--prompt", "the", "--temperature", temperature)
    assert (status, out) == (1, "the")
    assert err.startswith(f"relmem: {run}: The model's scores for the next token are NaN or infinite")


def test_another_models_checkpoint_is_refused(run, trained, capsys):
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(trained / "min_gru+min_gru-lr0.01-seed0" / "checkpoints", run / "checkpoints")
    assert "weights of another model: labels.core is min_gru+min_gru there, lstm here" in refused(capsys, run)


def test_a_checkpoint_that_does_not_say_whose_it_is_is_refused(tmp_path):
    model = torch.nn.Linear(2, 2)
    checkpoint.save_checkpoint(
        tmp_path, model, torch.optim.Adam(model.parameters()), checkpoint.Progress(), {"seed": 0}
    )
    with pytest.raises(CheckpointError, match=r"another model: .*labels\.core is None there, lstm here"):
        checkpoint.load_weights(tmp_path, model, {"name": "Linear"}, {"core": "lstm"})


def test_a_model_of_another_size_is_refused(run, capsys):
    path = run / "model.json"
    description = json.loads(path.read_text())
    description["settings"]["parameters"] *= 2
    path.write_text(json.dumps(description))
    err = refused(capsys, run)
    assert "weights of another model: model.core." in err
    assert "model.parameters is" in err


def test_a_model_of_the_same_shapes_and_other_settings_is_refused(trained, tmp_path, capsys):
    """Without dropout, of the same size and core, a stack whose attention had other heads would fit."""
    run = shutil.copytree(trained / "min_gru+min_gru-lr0.01-seed0", tmp_path / "run")
    for path in (run / "checkpoints").iterdir():
        rewrite(path, lambda told: told["run"]["model"]["core"].update(convolution=2))
    assert "weights of another model: model.core.convolution is 2 there, 4 here" in refused(capsys, run)


def rewrite(path, change):
    """Change what a checkpoint says of its run, and give it the checksum of what it says then."""
    tensors, content = checkpoint._read(path)
    change(content)
    content = json.dumps(content)
    metadata = {"format": checkpoint.FORMAT, "content": content, "digest": checkpoint._digest(content, tensors)}
    path.write_bytes(save(tensors, metadata))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "relmem_lite language model 9"}, "its format is 'relmem_lite language model 9'"),
        ({"experiment": "nth_farthest"}, "nth_farthest trains no language models"),
        ({"experiment": "nothing"}, "There is no experiment 'nothing'"),
        ({"settings": {"unknown": 1}}, "unexpected keyword argument 'unknown'"),
        ({"point": {"core": "os.system"}}, "There is no core|os.system"),
        ({"vocabulary": {"tokens": 3}}, "does not describe a model"),
    ],
)
def test_a_description_that_describes_no_model_is_refused(change, says, run, capsys):
    path = run / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert any(part in refused(capsys, run) for part in says.split("|"))


def test_a_torn_description_is_refused(run, capsys):
    path = run / "model.json"
    path.write_text(path.read_text()[:100])
    assert "does not describe a language model" in refused(capsys, run)


def test_other_experiments_runs_have_no_language_model(tmp_path, capsys):
    experiment = replace(NthFarthestExperiment.from_preset("smoke"), cores=("gru",), steps=2, eval_every=2)
    experiment.train(Run("gru", 1e-3, 0), tmp_path, progress=False)
    assert "is not the folder of a language model's run" in refused(capsys, tmp_path / "gru-lr0.001-seed0")


def test_ctrl_c_ends_the_text_cleanly(run):
    writing = subprocess.Popen(
        [sys.executable, "-m", "relmem_lite", "generate", run, "--prompt", "the", "--tokens", "100000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # Text comes while it is being made.
        assert writing.stdout.read(20).startswith("the")
        writing.send_signal(signal.SIGINT)
        _, err = writing.communicate(timeout=60)
    finally:
        writing.kill()
    assert writing.returncode == 130
    assert err.strip() == "Stopped."


@pytest.mark.parametrize("typed", [("generate", "RUN", "--prompt", "the", "--tokens", "100000000"), ("list",)])
def test_a_reader_who_has_seen_enough_ends_it_without_a_word(run, typed):
    """As `| head -1` does; `list` prints all at once, at its end."""
    writing = subprocess.Popen(
        [sys.executable, "-m", "relmem_lite", *(run if part == "RUN" else part for part in typed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        if typed[0] == "generate":
            writing.stdout.read(20)
        writing.stdout.close()
        err = writing.stderr.read().decode()
        assert writing.wait(timeout=60) == 141
    finally:
        writing.kill()
    assert err == ""
