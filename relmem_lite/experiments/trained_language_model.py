"""From a language model's run in its folder back to the model and its vocabulary."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from relmem_lite.training.checkpoint import CheckpointError, checkpoints, load_weights
from relmem_lite.training.files import write_json
from relmem_lite.training.loop import describe_model

if TYPE_CHECKING:
    from relmem_lite.corpora import Vocabulary
    from relmem_lite.experiments import LanguageModelExperiment
    from relmem_lite.language_model import LanguageModel

FORMAT = "relmem_lite language model 1"


def describe_language_model(folder: Path, experiment: "LanguageModelExperiment", contestant: str) -> None:
    """Write into a run's folder what it takes, beside a checkpoint, to have its model again: model.json.

    Beside checkpoints or a record, nothing that is there is touched: training refuses them if they are another run's.
    """
    path = folder / "model.json"
    if path.exists() and ((folder / "record.json").exists() or checkpoints(folder / "checkpoints")):
        return
    point = experiment.contestants()[contestant]
    vocabulary = experiment.task(**point).vocabulary
    write_json(
        path,
        {
            "format": FORMAT,
            "experiment": experiment.name,
            "settings": asdict(experiment) | {"corpus": experiment.corpus_name},
            "point": point,
            "vocabulary": {"level": vocabulary.level, "tokens": vocabulary.tokens},
        },
    )


def load_language_model(folder: Path | str) -> tuple["LanguageModel", "Vocabulary"]:
    """Return the model of a language model's run, with the weights of its newest usable checkpoint, and its vocabulary.

    A damaged checkpoint is passed over with a warning. The run may be going on still. Neither the corpus nor its index
    is needed, and no code is executed but this library's.

    Args:
        folder: the folder of one run, such as runs/language_model-cpu/lstm-lr0.004-seed0.

    Raises:
        CheckpointError: there is no such run, no checkpoint in it, or only ones that are damaged or another model's.
    """
    folder = Path(folder)
    description = _description(folder)
    model, vocabulary = _rebuilt(folder, description)
    try:
        load_weights(folder / "checkpoints", model, describe_model(model), description["point"])
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} holds no checkpoint: the run has not come to its first evaluation, or its checkpoints were "
            "deleted. Go on with it by the same `relmem run` command."
        ) from error
    return model.eval(), vocabulary


def _description(folder: Path) -> dict:
    path = folder / "model.json"
    if not path.is_file():
        hint = "Name the folder of a language model's run: runs/EXPERIMENT-PRESET/RUN."
        if not folder.exists():
            raise CheckpointError(f"There is no folder {folder}. {hint}")
        if runs := sorted(other.parent.name for other in folder.glob("*/model.json")):
            hint = f"It holds {len(runs)} runs; name one of them: {folder / runs[0]}."
        raise CheckpointError(f"{folder} is not the folder of a language model's run: it has no model.json. {hint}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise ValueError(f"its format is {description['format']!r}, not {FORMAT!r}")
        return description
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not describe a language model ({error}). Train the run again.") from error


def _rebuilt(folder: Path, description: dict) -> tuple["LanguageModel", "Vocabulary"]:
    from relmem_lite.corpora import Vocabulary
    from relmem_lite.experiments import LanguageModelExperiment, find_experiment

    try:
        kind = find_experiment(description["experiment"])
        if not issubclass(kind, LanguageModelExperiment):
            raise ValueError(f"{kind.name} trains no language models")
        settings = description["settings"].items()
        experiment = kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings})
        vocabulary = Vocabulary(description["vocabulary"]["tokens"], description["vocabulary"]["level"])
        return experiment.model_for(len(vocabulary), **description["point"]), vocabulary
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / 'model.json'} does not describe a model that this version of relmem_lite has ({error})."
        ) from error
