import contextlib
import io
import re
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_run_and_give_what_they_say():
    example, *further = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(example, names)
        state_of_first, outputs = names["state"], names["outputs"]
        exec("\n".join(further), names)
    assert f"# {tuple(names['logits'].shape)}\n" in further[0]
    assert f"# {tuple(names['h'].shape)};" in further[1]
    names |= {"state": state_of_first, "outputs": outputs}
    assert f'print(recording["attention"].shape)  # {printed.getvalue().strip()}\n' in example
    assert (
        f"# {tuple(names['outputs'].shape)}, and the memory after the last step, {tuple(names['state'].shape)}"
        in example
    )


def test_the_picture_is_the_cover_as_it_is_drawn_now():
    from relmem_lite.figures import cover, use_style

    with plt.rc_context():
        use_style()
        drawn = io.BytesIO()
        cover().savefig(drawn, format="png", dpi=100)
    drawn.seek(0)
    shown, drawn = plt.imread(ROOT / "assets" / "cover.png"), plt.imread(drawn)
    assert shown.shape == drawn.shape
    assert np.abs(shown - drawn).mean() < 0.01, "draw assets/cover.png again with figures.cover(), 100 dots an inch"
