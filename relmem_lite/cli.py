"""The `relmem` command: what there is to run, and running it."""

import os
import select
import sys
import warnings
from functools import partial
from importlib.metadata import version
from inspect import signature
from pathlib import Path

from relmem_lite.core import nearest, positive_int

USAGE = """\
usage: relmem COMMAND [OPTIONS]

commands:
  relmem list                                 cores, experiments and their recorded results
  relmem run NAME --preset PRESET             run an experiment, write its record
  relmem run --missing --budget 9m            record what is not recorded yet, until time is up
  relmem generate RUN --prompt TEXT           let a trained language model go on with a text
  relmem sweep NAME --over SETTING=VALUES     run an experiment at many points of its settings, write one table
  relmem bench NAME                           measure speed on this machine
  relmem data NAME                            get a corpus ready; without NAME, list them
  relmem assignment --students FILE           write a class's graded assignment, a notebook for each student
  relmem grade FOLDER --out TABLE.csv         grade the notebooks that were handed in, in a sandbox
  relmem claims                               what the sources claim, and what became of it; NUMBER for one in full
  relmem --version                            print the version

Names are those that `relmem list` prints. A preset is a size: smoke takes seconds and only shows that it works, cpu
takes minutes to hours, gpu minutes to hours on a GPU, paper is a paper's size; smoke if not given. Runs go to the
folder runs/; the same command goes on with what was interrupted there. To begin: relmem run nth_farthest

Add --help to a command, or to `relmem run NAME`, for its settings.
"""


class UsageError(Exception):
    """What was typed cannot be done; the message says what can."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status.

    It is 0 for done, 1 for failed, 2 for mistyped, 130 for interrupted, 141 where nobody reads on.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    commands = {"list": _list, "run": _run, "sweep": _sweep, "generate": _generate, "bench": _bench, "data": _data}
    commands |= {"assignment": _assignment, "grade": _grade, "claims": _claims}
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(USAGE, end="")
            return 0 if arguments else 2
        if arguments[0] == "--version":
            print(f"relmem {version('relmem_lite')}")
            return 0
        if arguments[0] not in commands:
            raise UsageError(nearest(arguments[0], [*commands, "--version", "--help"], "command"))
        commands[arguments[0]](arguments[1:])
        sys.stdout.flush()
    except UsageError as error:
        _say(f"relmem: {error}")
        return 2
    except KeyboardInterrupt as interruption:
        _say(f"\n{str(interruption) or 'Stopped. Run the same command again to go on.'}")
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            return 141
        if not _explains_itself(error):
            raise
        _say(f"relmem: {error}")
        return 1
    return 0


def _say(message: str) -> None:
    from relmem_lite.training import is_first_on_machine

    # Processes that train together fail together, and each machine has a terminal of its own.
    if is_first_on_machine():
        print(message, file=sys.stderr)


def _reader_left() -> bool:
    """Say whether nobody reads any more what is printed, as when `head` has seen enough; then print to nobody."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    left = any(event & select.POLLERR for _, event in poll.poll(0))
    if left:
        # What is still to be printed would fail once more as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return left


def _explains_itself(error: Exception) -> bool:
    from relmem_lite.corpora import CorpusError
    from relmem_lite.experiments import SweepError, WorkerKilledError
    from relmem_lite.experiments.ray_workers import ClusterError
    from relmem_lite.teaching import SandboxError
    from relmem_lite.training import CheckpointError, RecordError, TrainingDivergedError

    explained = CheckpointError | CorpusError | RecordError | TrainingDivergedError | OSError
    return isinstance(error, explained | ClusterError | SandboxError | SweepError | WorkerKilledError)


def _list(arguments: list[str]) -> None:
    from relmem_lite.bench import BENCHMARKS
    from relmem_lite.cores import CORES
    from relmem_lite.experiments import EXPERIMENTS, SWEEPS

    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: relmem list [--missing]\n")
        print("Prints the names of cores, experiments, sweeps and benchmarks, and what is recorded.")
        print("--missing prints what is not recorded yet, with the command for each, what the book needs most first.")
        return
    if arguments == ["--missing"]:
        _list_missing()
        return
    if arguments:
        raise UsageError(f"relmem list takes no arguments but --missing, got {' '.join(arguments)!r}.")
    print("recorded: the results are in this package, for the book to draw. Sizes: smoke (all have it), cpu, gpu.\n")
    print("cores, for --cores of an experiment")
    for name, core in CORES.items():
        print(f"  {name:20} {_first_sentence(core)}")
    print("\nexperiments: relmem run NAME --preset PRESET")
    for name, experiment in EXPERIMENTS.items():
        print(f"  {name:20} {_first_sentence(experiment)}")
        for preset in experiment.presets:
            if preset != "smoke":
                print(f"  {'':20}   {preset}: {_recorded_state(f'{name}_{preset}')}")
    print("\nsweeps: relmem sweep NAME --preset PRESET, or any experiment with --over SETTING=VALUES")
    for name, sweep in SWEEPS.items():
        print(f"  {name:20} {sweep.about}")
        for preset in sweep.presets:
            if preset != "smoke":
                print(f"  {'':20}   {preset}: {_recorded_state(f'sweep_{name}_{preset}')}")
    print("\nbenchmarks: relmem bench NAME")
    for name, benchmark in BENCHMARKS.items():
        print(f"  {name:20} {_first_sentence(benchmark)}")
        if "record" in signature(benchmark).parameters:
            for device in ("cpu", "gpu"):
                print(f"  {'':20}   {device}: {_recorded_state(f'bench_{name}_{device}')}")
    print("\ncorpora: relmem data")


def _recorded_state(name: str) -> str:
    from relmem_lite import recorded

    left = recorded.missing_runs(name)
    if not left:
        return "not recorded yet" if left is None else "recorded"
    return f"recorded, but for {left} run{'s' * (left > 1)}"


def _list_missing() -> None:
    from relmem_lite import recorded
    from relmem_lite.missing import command, missing

    for preset in ("cpu", "gpu"):
        names = missing(preset)
        print(f"{preset}: {len(names) or 'nothing'} missing")
        for name in names:
            left = recorded.missing_runs(f"{name}_{preset}")
            print(f"  {name:28} {command(name, preset)}{f'   ({left} runs left)' if left else ''}")
    print(
        "\ncpu and gpu are sizes, not devices. To record as much as fits into a time: relmem run --missing --budget 9m"
    )


def _run(arguments: list[str]) -> None:
    from relmem_lite.allocator import keep_freed_memory
    from relmem_lite.experiments import EXPERIMENTS, find_experiment, is_first_process, run_experiment

    if "--missing" in arguments:
        _run_missing([argument for argument in arguments if argument != "--missing"])
        return
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: relmem run NAME [--preset smoke|cpu|gpu|paper] [--directory DIR] [SETTINGS]")
        print("       relmem run --missing [NAME ...] [--preset cpu|gpu] [--budget TIME] [--workers N]")
        print("\nNAME is one of:")
        for name, experiment in EXPERIMENTS.items():
            print(f"  {name:20} {_first_sentence(experiment)}")
        print("\n`relmem run NAME --help` lists NAME's settings, with their units and defaults.")
        if not arguments:
            raise UsageError("name an experiment.")
        return
    name, *arguments = arguments
    if name.startswith("-"):
        raise UsageError(f"name an experiment before {name}, as in relmem run nth_farthest --preset cpu.")
    try:
        experiment_class = find_experiment(name)
    except ValueError as error:
        raise UsageError(error) from error
    experiment, directory = _settings(experiment_class, arguments)
    directory = directory or Path("runs") / f"{name}-{experiment.preset}"
    keep_freed_memory()
    record = run_experiment(experiment, directory)
    if is_first_process():
        print(_summary(record))
        print(f"Record: {directory / 'record.json'}")


def _run_missing(arguments: list[str]) -> None:
    from typing import Annotated, Literal

    import tyro

    from relmem_lite.allocator import keep_freed_memory
    from relmem_lite.experiments.experiment import processor_cores
    from relmem_lite.missing import NotMissingError, record_missing

    def read(
        names: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
        preset: Literal["cpu", "gpu", "paper"] | None = None,
        budget: str | None = None,
        workers: int | None = None,
        directory: Path = Path("runs"),
    ):
        """Record what is not recorded yet, until time is up; the same command goes on.

        Args:
            names: What to record, in this order, as `relmem list --missing` names it; all of it if not given.
            preset: Size; gpu if there is one, else cpu.
            budget: Time after which runs at hand are saved and left, such as 9m, 540s or 2h; None for no limit.
            workers: Runs trained at a time, on one thread each; None for one a processor core.
            directory: Where runs and records, NAME_PRESET.json, go.
        """
        return names, preset, budget, workers, directory

    names, preset, budget, workers, directory = tyro.cli(read, prog="relmem run --missing", args=arguments)
    try:
        if workers is not None:
            positive_int("workers", workers)
        seconds = None if budget is None else _seconds(budget)
    except (ValueError, TypeError) as error:
        raise UsageError(error) from error
    import torch

    preset = preset or ("gpu" if torch.cuda.is_available() else "cpu")
    keep_freed_memory()
    try:
        say = partial(print, flush=True)
        done = record_missing(preset, directory, names, seconds, workers or processor_cores(), say)
    except NotMissingError as error:
        raise UsageError(error) from error
    print(f"Recorded in {directory}: {', '.join(done) or 'nothing yet'}")


def _seconds(time: str) -> float:
    """Return the seconds of a time such as 9m, 540s, 2h or 540."""
    number, unit = (time[:-1], time[-1]) if time[-1:] in "smh" else (time, "s")
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"budget must be a time such as 9m, 540s or 2h, got {time!r}.")
    return seconds


def _sweep(arguments: list[str]) -> None:
    from typing import Annotated, Literal

    import tyro

    from relmem_lite.allocator import keep_freed_memory
    from relmem_lite.experiments import EXPERIMENTS, SWEEPS, find_experiment, run_sweep
    from relmem_lite.experiments.ray_workers import RayWorkers
    from relmem_lite.experiments.sweep import Sweep, summary
    from relmem_lite.experiments.sweep_axes import points
    from relmem_lite.training.processes import launched_by_torchrun

    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: relmem sweep NAME [--preset smoke|cpu|gpu|paper] [--over SETTING=VALUES ...] [OPTIONS] [SETTINGS]"
        )
        print("\nNAME is an experiment, or a sweep whose points are settled:")
        for name, sweep in SWEEPS.items():
            print(f"  {name:20} {sweep.about}")
        print(f"\nexperiments: {', '.join(EXPERIMENTS)}")
        print("\n`relmem sweep NAME --help` lists NAME's settings and the sweep's options.")
        if not arguments:
            raise UsageError("name an experiment or a sweep.")
        return
    if launched_by_torchrun():
        raise UsageError("relmem sweep starts workers of its own, each for one run: start it without torchrun.")
    name, *arguments = arguments
    if name.startswith("-"):
        raise UsageError(f"name an experiment or a sweep before {name}, as in relmem sweep nth_farthest {_OVER}.")
    _check_over(arguments)
    try:
        if name not in SWEEPS and name not in EXPERIMENTS:
            raise ValueError(nearest(name, [*SWEEPS, *EXPERIMENTS], "experiment or sweep"))
        named = SWEEPS.get(name)
        preset = _preset(arguments)
        default = named.base(preset) if named else find_experiment(name).from_preset(preset)

        def read(
            experiment: Annotated[type(default), tyro.conf.OmitArgPrefixes] = default,
            over: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
            samples: int | None = None,
            seed: int = 0,
            engine: Literal["local", "ray"] = "local",
            address: str | None = None,
            gpus: float | None = None,
            directory: Path | None = None,
        ):
            return experiment, over, samples, seed, engine, address, gpus, directory

        read.__doc__ = f"""{named.about if named else _first_sentence(type(default))}

        Args:
            experiment: settings
            over: A setting to sweep over and its values, as in num_heads=4,8. Once for each setting;
                every combination is run. With samples also ranges, as in learning_rate=1e-4..1e-2.
            samples: Points to draw at random; None for all.
            seed: Seed of what is drawn.
            engine: What trains the runs, this machine or a Ray cluster.
            address: Address of the Ray cluster, such as auto or 10.0.0.1:6379; None for one on this machine.
            gpus: GPUs a run takes on a Ray cluster, such as 0.25; None for one if there are any.
            directory: Where runs and tables go; runs/sweep-NAME-PRESET if not given. What is recorded there stays.
        """
        experiment, over, samples, seed, engine, address, gpus, directory = tyro.cli(
            read, prog=f"relmem sweep {name}", args=arguments
        )
        if engine == "local" and (address or gpus is not None):
            raise ValueError("address and gpus are for --engine ray.")
        if named and (over or samples is not None):
            raise ValueError(f"{name} has its points: leave over and samples out, or try relmem sweep {default.name}.")
        sweep = named.sweep(experiment) if named else Sweep(name, experiment, points(experiment, over, samples, seed))
        sweep.rehearse()
    except (ValueError, TypeError) as error:
        raise UsageError(error) from error
    directory = directory or Path("runs") / f"sweep-{name}-{experiment.preset}"
    keep_freed_memory()
    on_ray = partial(RayWorkers, experiment.workers, address, gpus)
    table = run_sweep(sweep, directory, on_ray if engine == "ray" else None)
    print(summary(table))
    print(f"Table: {directory / 'table.csv'}")


_OVER = "--over num_heads=4,8"


def _check_over(arguments: list[str]) -> None:
    """Refuse, in one sentence, --over without a text or with several."""
    for position, argument in enumerate(arguments):
        if argument != "--over":
            continue
        texts = []
        for following in arguments[position + 1 :]:
            if following.startswith("--"):
                break
            texts.append(following)
        if not texts:
            raise UsageError(f"over must be a setting and its values, as in {_OVER}, got nothing.")
        if len(texts) > 1:
            raise UsageError(
                f"over must be one setting and its values, without blanks, as in {_OVER}, got {' '.join(texts)!r}: "
                "put commas between values and --over before each setting, and a value with blanks in quotes."
            )


def _settings(experiment_class, arguments: list[str]):
    """Read an experiment's settings: those typed, over those of the preset."""
    from typing import Annotated

    import tyro

    from relmem_lite.training import is_first_on_machine

    try:
        default = experiment_class.from_preset(_preset(arguments))

        def read(
            experiment: Annotated[experiment_class, tyro.conf.OmitArgPrefixes] = default,
            directory: Path | None = None,
        ):
            return experiment, directory

        read.__doc__ = f"""{_first_sentence(experiment_class)}

        Args:
            experiment: settings
            directory: Where runs and record go; runs/NAME-PRESET if not given. An unfinished run there goes on.
        """
        experiment, directory = tyro.cli(
            read,
            prog=f"relmem run {experiment_class.name}",
            args=arguments,
            console_outputs=is_first_on_machine(),
        )
        experiment.rehearse()
        return experiment, directory
    except (ValueError, TypeError) as error:
        raise UsageError(error) from error


def _preset(arguments: list[str]) -> str:
    # The preset decides the other settings' defaults, so it must be known before they are read.
    for position, argument in enumerate(arguments):
        if argument == "--preset" and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith("--preset="):
            return argument.removeprefix("--preset=")
    return "smoke"


def _summary(record: dict) -> str:
    score, task = record["task"]["score"], record["task"]
    lines = [f"test {score} at each one's best learning rate, mean (lowest to highest) over seeds"]
    for core, best in record["best"].items():
        scores = best["scores"]
        if not scores:
            lines.append(f"  {core:20} diverged at every learning rate")
            continue
        spread = f"{sum(scores) / len(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})"
        lines.append(f"  {core:20} {spread}  lr {best['learning_rate']:g}")
    lines += [f"  {line:20} {task[line]:.3f}" for line in ("chance", "shortcut") if task[line] is not None]
    return "\n".join(lines)


def _generate(arguments: list[str]) -> None:
    import tyro

    def read(
        run: tyro.conf.Positional[Path],
        prompt: str,
        tokens: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
    ):
        """Let a trained language model go on with a text.

        Args:
            run: Folder of one run, such as runs/language_model-cpu/lstm-lr0.004-seed0.
            prompt: How the text begins, in words of the corpus.
            tokens: Words, or characters, to write.
            temperature: Below 1 for more of the likely, above 1 for more of the unlikely; 0 for the likeliest alone.
            top_k: Draw among so many of the likeliest tokens; None for all.
            seed: The same seed writes the same text.
        """
        return run, prompt, {"tokens": tokens, "temperature": temperature, "top_k": top_k, "seed": seed}

    run, prompt, options = tyro.cli(read, prog="relmem generate", args=arguments)
    from relmem_lite.experiments import load_language_model
    from relmem_lite.text_generation import generate_text
    from relmem_lite.training import CheckpointError

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: _say(f"relmem: {message}")
        model, vocabulary = load_language_model(run)
    try:
        pieces = generate_text(model, vocabulary, prompt, **options)
    except (ValueError, TypeError) as error:
        raise UsageError(error) from error
    try:
        print(vocabulary.decode(vocabulary.encode(prompt)), end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Stopped.") from None
    except ValueError as error:
        raise CheckpointError(f"{run}: {error}") from error
    print()


def _bench(arguments: list[str]) -> None:
    import tyro

    from relmem_lite.allocator import keep_freed_memory
    from relmem_lite.bench import BENCHMARKS

    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: relmem bench NAME [OPTIONS]\n\nNAME is one of:")
        for name, benchmark in BENCHMARKS.items():
            print(f"  {name:20} {_first_sentence(benchmark)}")
        if not arguments:
            raise UsageError("name a benchmark.")
        return
    name, *arguments = arguments
    if name not in BENCHMARKS:
        raise UsageError(nearest(name, list(BENCHMARKS), "benchmark"))
    keep_freed_memory()
    try:
        tyro.cli(BENCHMARKS[name], prog=f"relmem bench {name}", args=arguments)
    except (ValueError, TypeError) as error:
        raise UsageError(error) from error


def _data(arguments: list[str]) -> None:
    from typing import Literal

    import tyro

    from relmem_lite.corpora import CORPORA, CorpusError, cache_folder, cached, load

    if not arguments:
        print("corpora: relmem data NAME, or the path of a folder with train.txt, valid.txt and test.txt")
        for name, source in CORPORA.items():
            print(f"  {name:20} {source.about}")
        print(f"\nready in {cache_folder()}")
        for corpus in cached():
            tokens = len(corpus.train) + len(corpus.valid) + len(corpus.test)
            print(f"  {f'{corpus.name}, by {corpus.level}':30} {tokens:13,} tokens  {corpus.folder.name}")
        return

    def prepare(name: tyro.conf.Positional[str], level: Literal["word", "character"] = "word"):
        """Download a corpus, if need be, and build its index.

        Args:
            name: A corpus that has a name, or a folder with train.txt, valid.txt and test.txt.
            level: What a token is.
        """
        return load(name, level)

    try:
        corpus = tyro.cli(prepare, prog="relmem data", args=arguments)
    except CorpusError:
        raise
    except ValueError as error:
        raise UsageError(error) from error
    print(f"{corpus.name}, by {corpus.level}: {corpus.folder}")
    for split in ("train", "valid", "test"):
        print(f"  {split:10} {len(getattr(corpus, split)):13,} tokens")
    print(f"  {'vocabulary':10} {len(corpus.vocabulary):13,}")


def _assignment(arguments: list[str]) -> None:
    import tyro

    from relmem_lite.teaching import hand_out

    def read(students: Path, out: Path, seed: int, chapters: tuple[int, ...] = ()):
        """Write a class's graded assignment: NAME.ipynb for each student, and assignment.json, which you keep.

        Args:
            students: A text file, one name a line: ada makes ada.ipynb. Names added later join by the same command.
            out: The folder that the notebooks and assignment.json go to.
            seed: Any whole number: everybody's numbers follow from it. Another class or year, another seed.
            chapters: Ask only what belongs to these chapters, as in 1 4 10; all questions if not given.
        """
        return students, out, seed, chapters

    students, out, seed, chapters = tyro.cli(read, prog="relmem assignment", args=arguments)
    try:
        assignment = hand_out(students, out, seed, chapters)
    except ValueError as error:
        raise UsageError(error) from error
    print(f"{len(assignment.students)} notebooks: {out}")
    print(f"Keep {out / 'assignment.json'}: `relmem grade` reads the seed and the names there.")


def _grade(arguments: list[str]) -> None:
    import tyro

    from relmem_lite.teaching import Limits, grade
    from relmem_lite.teaching import read as read_assignment

    def read(
        folder: tyro.conf.Positional[Path],
        out: Path,
        assignment: Path | None = None,
        cpu_seconds: int = Limits.cpu_seconds,
        wall_seconds: int = Limits.wall_seconds,
        memory: int = Limits.memory,
        without_walls: bool = False,
    ):
        """Grade a folder of notebooks, each in a sandbox, and write a table with a row for each student.

        Args:
            folder: The folder with what was handed in: NAME.ipynb for each student.
            out: The table to write, a CSV file. If it is there already, rows of unchanged notebooks are kept.
            assignment: The assignment.json of this class; the one in the folder of notebooks if not given.
            cpu_seconds: Seconds of computing after which a notebook is stopped.
            wall_seconds: Seconds after which a notebook is stopped, computing or not.
            memory: Bytes of memory that a notebook may take, beyond what Python and PyTorch take themselves.
            without_walls: Grade even where nothing keeps notebooks from your files and network; only those you trust.
        """
        limits = Limits(cpu_seconds=cpu_seconds, wall_seconds=wall_seconds, memory=memory)
        return folder, out, assignment or folder / "assignment.json", limits, without_walls

    try:
        folder, out, key, limits, without_walls = tyro.cli(read, prog="relmem grade", args=arguments)
        if not key.exists():
            raise ValueError(f"There is no {key}: give the one that `relmem assignment` wrote with --assignment.")
        rows = grade(folder, out, read_assignment(key), limits, partial(print, flush=True), without_walls)
    except ValueError as error:
        raise UsageError(error) from error
    print(f"{len(rows)} rows: {out}")


def _claims(arguments: list[str]) -> None:
    if any(argument in ("-h", "--help") for argument in arguments):
        print("usage: relmem claims [NUMBER] [--json | --csv]")
        print("\nPrints each claim and its verdict, worked out from the records as they are now; NUMBER, such as 14 or")
        print("8c, prints one in full, with its rule and its evidence.")
        return
    from relmem_lite.claims import CLAIMS, find, settle
    from relmem_lite.claims.table import as_csv, as_json, as_table, in_full

    formats = {"--json": as_json, "--csv": as_csv}
    options = [argument for argument in arguments if argument.startswith("-")]
    numbers = [argument for argument in arguments if not argument.startswith("-")]
    for option in options:
        if option not in formats:
            raise UsageError(nearest(option, list(formats), "option of relmem claims"))
    if len(options) > 1 or len(numbers) > 1:
        raise UsageError(f"relmem claims takes one number and one format at most, got {' '.join(arguments)!r}.")
    try:
        chosen = [find(number) for number in numbers] or CLAIMS
    except ValueError as error:
        raise UsageError(error) from error
    show = formats[options[0]] if options else as_table if not numbers else lambda settled: in_full(settled[0])
    print(show([settle(claim) for claim in chosen]))


def _first_sentence(documented) -> str:
    return (documented.__doc__ or "").strip().splitlines()[0]
