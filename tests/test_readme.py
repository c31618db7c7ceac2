import contextlib
import io
import re
import tomllib
from pathlib import Path

import numpy as np
import torch
import yaml
from matplotlib import pyplot as plt
from PIL import Image

import relmem_lite
from relmem_lite.cli import _settings, main
from relmem_lite.experiments import EXPERIMENTS
from relmem_lite.figures import use_style
from relmem_lite.figures.plateau import DOTS_AN_INCH, plateau
from relmem_lite.recorded import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_run_and_give_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick, example, *further = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(quick, {})
    assert f'print(recording["attention"].shape)  # {printed.getvalue().strip()}: ' in quick
    exec(example, names)
    state_of_first, outputs = names["state"], names["outputs"]
    with contextlib.redirect_stdout(printed):
        exec("\n".join(further), names)
    assert names["run"].scores["accuracy"] > 0.99
    names["model"].load_state_dict(torch.load("parity.pt"))
    assert f"# {tuple(names['logits'].shape)}\n" in further[0]
    assert f"# {tuple(names['h'].shape)};" in further[2]
    names |= {"state": state_of_first, "outputs": outputs}
    assert (
        f"# {tuple(names['outputs'].shape)}, and the memory after the last step, {tuple(names['state'].shape)}"
        in example
    )


def test_the_commands_are_there(capsys):
    for command in re.findall(r"^relmem (\w+)", README, flags=re.MULTILINE):
        with contextlib.suppress(SystemExit):
            assert main([command, "--help"]) == 0
        assert f"usage: relmem {command}" in capsys.readouterr().out
    (typed,) = re.findall(r"^relmem run nth_farthest (--preset cpu .*)$", README, flags=re.MULTILINE)
    experiment, _ = _settings(EXPERIMENTS["nth_farthest"], typed.split())
    assert (experiment.cores, experiment.steps) == (("relational_memory",), 800)


def test_what_it_links_to_is_there():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)|(?:src|srcset)=\"([^\"]+)\"", README):
        assert (ROOT / "".join(link)).exists(), link
    for alt in re.findall(r"<img [^>]*>", README):
        assert len(re.search(r'alt="([^"]*)"', alt)[1]) > 50


def test_the_moving_picture_is_the_records_as_they_are_drawn_now():
    record, volume = load("nth_farthest", "cpu"), load("nth_farthest_volume", "cpu")
    moving, still = Image.open(ROOT / "assets" / "plateau.gif"), Image.open(ROOT / "assets" / "plateau.png")
    assert (ROOT / "assets" / "plateau.gif").stat().st_size < 1_000_000
    every, steps = record["settings"]["eval_every"], record["settings"]["steps"]
    assert moving.n_frames == steps // every
    assert f'width="{moving.width}" height="{moving.height}"' in README
    with plt.rc_context():
        use_style()
        for frame in (6, moving.n_frames - 1):
            drawn = io.BytesIO()
            plateau(record, volume, (frame + 1) * every).savefig(
                drawn, format="png", dpi=DOTS_AN_INCH, facecolor="white"
            )
            moving.seek(frame)
            shown, now = (np.asarray(image.convert("RGB")) / 255 for image in (moving, Image.open(drawn)))
            assert shown.shape == now.shape
            assert np.abs(shown - now).mean() < 0.01, "draw it again: python -m relmem_lite.figures.plateau assets"
    assert np.array_equal(np.asarray(still.convert("RGB")), np.asarray(moving.convert("RGB")))
    best = {name: np.mean(best["scores"]) for found in (record, volume) for name, best in found["best"].items()}
    assert min(best["relational_memory"], best["lstm, loud"]) > 0.9
    assert max(best["lstm"], best["gru"]) < record["task"]["shortcut"] + 0.02


def test_licenses_and_citation_are_whole():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert settings["license"] == "MIT"
    for name in settings["license-files"]:
        assert "The authors of What Recurrent Memory Can Hold" in (ROOT / name).read_text(encoding="utf-8")
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n")
    assert "creativecommons.org/licenses/by/4.0/legalcode" in (ROOT / "LICENSE-text").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    # What the schema of Citation File Format 1.2.0 requires, and the keys that it knows of those used.
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert set(citation) <= {
        "cff-version",
        "message",
        "title",
        "authors",
        "type",
        "abstract",
        "version",
        "license",
        "keywords",
    }
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"] == [{"name": "The authors of What Recurrent Memory Can Hold"}]
    assert citation["version"] == relmem_lite.__version__
    assert all(isinstance(word, str) for word in citation["keywords"])


def test_the_picture_is_the_cover_as_it_is_drawn_now():
    from relmem_lite.figures import cover

    with plt.rc_context():
        use_style()
        drawn = io.BytesIO()
        cover().savefig(drawn, format="png", dpi=100)
    drawn.seek(0)
    shown, drawn = plt.imread(ROOT / "assets" / "cover.png"), plt.imread(drawn)
    assert shown.shape == drawn.shape
    assert np.abs(shown - drawn).mean() < 0.01, "draw assets/cover.png again with figures.cover(), 100 dots an inch"
