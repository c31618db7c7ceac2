"""Language models: relational memory beside LSTM and the linear family on text, at equal parameters."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from relmem_lite.core import Core, positive_int
from relmem_lite.cores import RelationalMemory
from relmem_lite.experiments.experiment import Experiment, Run, is_first_process, one_axis
from relmem_lite.experiments.towers import build_core, check_towers
from relmem_lite.experiments.trained_language_model import describe_language_model
from relmem_lite.language_model import LanguageModel, share
from relmem_lite.models import Stack, match_parameters
from relmem_lite.tasks.text import Text, load_once
from relmem_lite.training import RunRecord


@dataclass(frozen=True, kw_only=True)
class LanguageModelExperiment(Experiment):
    """Language model: relational memory, LSTM, GRU and a minGRU stack on small stories; Shakespeare's letters (gpu)."""

    name: ClassVar[str] = "language_model"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "cores": ("relational_memory", "min_gru+attention"),
            "parameters": 20_000,
            "key_size": 4,
            "time": 8,
            "steps": 4,
            "batch_size": 4,
            "eval_every": 2,
            "eval_samples": 200,
            "seeds": (0,),
        },
        "cpu": {
            "learning_rates": (2e-3, 5e-3),
            "steps": 3000,
            "batch_size": 32,
            "eval_every": 250,
            "eval_samples": 20_000,
            "accelerator": "cpu",
        },
        # Feng et al. 2024, section 4.4: convolution, minRNN and MLP, three layers, width 384, state expansion 2. The
        # parameters are those of minGRU at this width.
        "gpu": {
            "corpus": "tinyshakespeare",
            "level": "character",
            "cores": (
                "min_gru+min_gru+min_gru",
                "min_lstm+min_lstm+min_lstm",
                "mamba+mamba+mamba",
                "attention+attention+attention",
                "lstm+lstm+lstm",
            ),
            "parameters": 4_470_000,
            "expansion": 2,
            "dropout": 0.2,
            "time": 256,
            "steps": 2000,
            "batch_size": 64,
            "weight_decay": 0.1,
            "clip": 0.25,
            "eval_every": 100,
            "eval_samples": 1_000_000,
            # Soon after the best step, since the last one's weights are what is tested.
            "patience": 2,
            "precision": "bf16-mixed",
        },
    }
    presets["paper"] = presets["gpu"] | {
        "cores": (*presets["gpu"]["cores"], "relational_memory"),
        "steps": 5000,
        "eval_every": 25,
        "patience": 8,
        "precision": "32-true",
    }

    batch_size: int = 32
    """Streams that the training text is cut into and read in at once, over all processes together (B)."""
    eval_samples: int = 1_000_000
    """Tokens that an evaluation scores, from the start of a held-out text; all of them, if there are fewer."""
    corpus: str = "stories"
    """Text to learn, a name that `relmem data` lists, or a folder with train.txt, valid.txt and test.txt."""
    level: Literal["word", "character"] = "word"
    """What a token is."""
    cores: tuple[str, ...] = ("relational_memory", "lstm", "gru", "min_gru+min_gru")
    """Cores to compare; names joined by + are a stack of them, in residual blocks."""
    parameters: int = 100_000
    """Parameters of every model, with its embedding, whatever its core; its width follows."""
    widths: tuple[int, ...] = ()
    """Width of each core, or of a relational memory's heads; none for what `parameters` allow."""
    embedding_size: int | None = None
    """Features of a token, for cores that are no stack; None for as many as the core's width, or one head's size."""
    tied: bool = True
    """Compare outputs with the vectors that tokens go in by."""
    cutoffs: tuple[int, ...] = ()
    """First token of each cluster of rarer ones, for an adaptive softmax; none for a full softmax."""
    dropout: float = 0.0
    """Share of the embedding's features, and of a block's outputs in a stack, set to zero in training."""
    output_dropout: float = 0.0
    """Share of the features that are compared with words' set to zero in training."""
    time: int = 35
    """Tokens that a training step reads of each stream, and that its gradient goes back over (T)."""
    expansion: int = 1
    """Width of a core in a stack, in multiples of the stack's."""
    num_slots: int = 1
    """Memory rows of the relational memory (S)."""
    num_heads: int = 4
    """Attention heads of the relational memory (H)."""
    key_size: int | None = None
    """Numbers in one head's key (K); None for as many as in its value."""
    mlp_layers: int = 2
    """Layers of the network after the relational memory's attention."""

    def __post_init__(self):
        super().__post_init__()
        check_towers("cores", self.cores)
        for width in self.widths:
            positive_int("widths", width)
        if self.widths and len(self.widths) != len(self.cores):
            raise ValueError(f"widths are one for each of {len(self.cores)} cores, or none, got {len(self.widths)}.")
        for name in ("parameters", "time", "expansion", "num_slots", "num_heads", "mlp_layers"):
            positive_int(name, getattr(self, name))
        for name in ("embedding_size", "key_size"):
            if getattr(self, name) is not None:
                positive_int(name, getattr(self, name))
        for name in ("dropout", "output_dropout"):
            share(name, getattr(self, name))

    def contestants(self) -> dict[str, dict]:
        return one_axis(self.cores)

    def task(self, **point) -> Text:
        return Text(load_once(self.corpus, self.level), time=self.time, streams=self.batch_size)

    def model(self, core: str) -> LanguageModel:
        return self.model_for(len(load_once(self.corpus, self.level).vocabulary), core)

    def model_for(self, vocab_size: int, core: str) -> LanguageModel:
        """Return a contestant for a vocabulary of this size, as a fresh model; no corpus is needed."""
        names = core.split("+")

        def build(width: int) -> LanguageModel:
            if len(names) > 1:
                size = width
                made = Stack(
                    [self._core(name, size, self.expansion * size) for name in names], size, dropout=self.dropout
                )
            else:
                size = self.embedding_size or width
                # One head is as wide as the embedding, as in the port.
                made = self._core(core, size, width * (self.num_heads if core == "relational_memory" else 1))
            return LanguageModel(
                made,
                vocab_size,
                size,
                tied=self.tied,
                dropout=self.dropout,
                output_dropout=self.output_dropout,
                cutoffs=self.cutoffs,
            )

        if self.widths:
            return build(self.widths[self.cores.index(core)])
        # Heads divide the widths of a stack.
        step = 8 if len(names) > 1 else 1
        return match_parameters(lambda steps: build(step * steps), self.parameters)

    def train(self, run: Run, directory: Path | None = None, progress: bool = True) -> RunRecord:
        if directory is not None and is_first_process():
            describe_language_model(directory / run.name, self, run.contestant)
        return super().train(run, directory, progress)

    def record(self, records: Iterable[RunRecord]) -> dict:
        record = super().record(records)
        record["settings"]["corpus"] = self.corpus_name
        return record

    def tasks_in_words(self, records: list[RunRecord]) -> list[dict]:
        # Runs wrote it down, and where they are read the corpus may not be.
        for record in records:
            if "task" in record.run:
                line = record.run["task"] | {"score": Text.score_name, "lower_is_better": Text.lower_is_better}
                return [line for _ in self.contestants()]
        return super().tasks_in_words(records)

    @property
    def corpus_name(self) -> str:
        """The corpus without the place where its folder lies, which is nobody else's business."""
        return Path(self.corpus).name

    def _core(self, name: str, input_size: int, width: int) -> Core:
        if name != "relational_memory":
            return build_core(name, input_size, width)
        return RelationalMemory(
            input_size,
            num_slots=self.num_slots,
            num_heads=self.num_heads,
            head_size=max(1, width // self.num_heads),
            key_size=self.key_size,
            mlp_layers=self.mlp_layers,
            replay=True,  # where there is a GPU to replay on
        )


@dataclass(frozen=True, kw_only=True)
class WikiText2Experiment(LanguageModelExperiment):
    """WikiText-2: relational memory and LSTM as language models of encyclopedia articles, word by word.

    The cpu preset learns from a tenth of it, `wikitext-small`: WikiText-2's validation text trains, the halves of its
    test text validate and test. Words that the tenth lacks are `<unk>`, so that its perplexities compare with one
    another alone.
    """

    name: ClassVar[str] = "wikitext_2"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": LanguageModelExperiment.presets["smoke"]
        | {"corpus": "stories", "cores": ("relational_memory", "lstm"), "cutoffs": (50, 100)},
        "cpu": {
            "corpus": "wikitext-small",
            "parameters": 900_000,
            "embedding_size": 128,
            "key_size": 32,
            "cutoffs": (2000, 6000),
            "learning_rates": (2e-3, 4e-3, 8e-3),
            "steps": 1200,
            "batch_size": 32,
            "eval_every": 200,
            "eval_samples": 1_000_000,
            "accelerator": "cpu",
        },
        # The port's defaults: 11.8 million parameters with 4 heads of 192, and 10.7 million with an LSTM of 300 units.
        "gpu": {
            "widths": (192, 300),
            "time": 100,
            "steps": 32_500,
            "batch_size": 64,
            "clip": 0.1,
            "eval_every": 325,
            "eval_samples": 1_000_000,
            "patience": 5,
        },
    }

    corpus: str = "wikitext-2"
    cores: tuple[str, ...] = ("relational_memory", "lstm")
    dropout: float = 0.5
    output_dropout: float = 0.5
    key_size: int | None = 64
    mlp_layers: int = 3


@dataclass(frozen=True, kw_only=True)
class WikiText103Experiment(LanguageModelExperiment):
    """WikiText-103: relational memory and LSTM on 103 million words, at the paper's size."""

    name: ClassVar[str] = "wikitext_103"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": WikiText2Experiment.presets["smoke"],
        # Santoro et al. 2018, appendix: 2,500 units in 4 heads, 1 slot, embedding 512.
        "gpu": {
            "parameters": 96_440_000,
            "embedding_size": 512,
            "time": 100,
            "steps": 100_000,
            "batch_size": 384,
            "clip": 0.1,
            "eval_every": 2000,
            "eval_samples": 1_000_000,
        },
    }

    corpus: str = "wikitext-103"
    cores: tuple[str, ...] = ("relational_memory", "lstm")
    cutoffs: tuple[int, ...] = (20_000, 40_000, 200_000)
    dropout: float = 0.5
    mlp_layers: int = 5
