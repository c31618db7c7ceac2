"""Named experiments: what is compared with what, at which size."""

from relmem_lite.core import nearest
from relmem_lite.experiments.comparison import ComparisonExperiment
from relmem_lite.experiments.copying_length import CopyingLengthExperiment
from relmem_lite.experiments.experiment import (
    Experiment,
    Run,
    best_learning_rate,
    is_first_process,
    run_experiment,
)
from relmem_lite.experiments.gate_bias import GateBiasExperiment
from relmem_lite.experiments.gate_networks import GateNetworksExperiment
from relmem_lite.experiments.gating import GatingExperiment
from relmem_lite.experiments.istree import IsTreeExperiment
from relmem_lite.experiments.language_model import (
    LanguageModelExperiment,
    WikiText2Experiment,
    WikiText103Experiment,
)
from relmem_lite.experiments.language_model_sizes import LanguageModelSizesExperiment
from relmem_lite.experiments.nth_farthest import NthFarthestExperiment
from relmem_lite.experiments.nth_farthest_ladder import NthFarthestLadderExperiment
from relmem_lite.experiments.port_mistakes import PortMistakesExperiment
from relmem_lite.experiments.programs import ProgramsExperiment
from relmem_lite.experiments.recall_frontier import RecallFrontierExperiment
from relmem_lite.experiments.relational import RelationalExperiment
from relmem_lite.experiments.selective_copying import SelectiveCopyingExperiment
from relmem_lite.experiments.sorting import SortingExperiment
from relmem_lite.experiments.state_tracking import StateTrackingExperiment
from relmem_lite.experiments.sweep import Sweep, SweepError, run_sweep
from relmem_lite.experiments.sweeps import SWEEPS, NamedSweep
from relmem_lite.experiments.tied_layers import TiedLayersExperiment
from relmem_lite.experiments.trained_language_model import load_language_model
from relmem_lite.experiments.volume import NthFarthestVolumeExperiment, SortingVolumeExperiment
from relmem_lite.experiments.workers import WorkerKilledError

EXPERIMENTS: dict[str, type[Experiment]] = {
    experiment.name: experiment
    for experiment in (
        ComparisonExperiment,
        CopyingLengthExperiment,
        GateBiasExperiment,
        GateNetworksExperiment,
        GatingExperiment,
        IsTreeExperiment,
        LanguageModelExperiment,
        LanguageModelSizesExperiment,
        NthFarthestExperiment,
        NthFarthestLadderExperiment,
        NthFarthestVolumeExperiment,
        PortMistakesExperiment,
        ProgramsExperiment,
        RecallFrontierExperiment,
        SelectiveCopyingExperiment,
        SortingExperiment,
        SortingVolumeExperiment,
        StateTrackingExperiment,
        TiedLayersExperiment,
        WikiText2Experiment,
        WikiText103Experiment,
    )
}
"""Every experiment by the name that `relmem run` takes."""

__all__ = [
    "EXPERIMENTS",
    "SWEEPS",
    "ComparisonExperiment",
    "CopyingLengthExperiment",
    "Experiment",
    "GateBiasExperiment",
    "GateNetworksExperiment",
    "GatingExperiment",
    "IsTreeExperiment",
    "LanguageModelExperiment",
    "LanguageModelSizesExperiment",
    "NamedSweep",
    "NthFarthestExperiment",
    "NthFarthestLadderExperiment",
    "NthFarthestVolumeExperiment",
    "PortMistakesExperiment",
    "ProgramsExperiment",
    "RecallFrontierExperiment",
    "RelationalExperiment",
    "Run",
    "SelectiveCopyingExperiment",
    "SortingExperiment",
    "SortingVolumeExperiment",
    "StateTrackingExperiment",
    "Sweep",
    "SweepError",
    "TiedLayersExperiment",
    "WikiText2Experiment",
    "WikiText103Experiment",
    "WorkerKilledError",
    "best_learning_rate",
    "find_experiment",
    "is_first_process",
    "load_language_model",
    "run_experiment",
    "run_sweep",
]


def find_experiment(name: str) -> type[Experiment]:
    """Return the class of the experiment called `name`.

    Raises:
        ValueError: no experiment has this name; the message gives the nearest.
    """
    if name not in EXPERIMENTS:
        raise ValueError(nearest(name, list(EXPERIMENTS), "experiment"))
    return EXPERIMENTS[name]
