"""The rules: one small function a claim, from records or an exact check to a verdict and its reason.

Every rule compares whole sets of seeds (`ahead`), so that a verdict does not hang on one lucky run; further thresholds
stand at the top, each with why it is where it is.
"""

import math
from collections.abc import Iterable
from fractions import Fraction
from statistics import mean

import torch

from relmem_lite.claims import checks
from relmem_lite.claims.evidence import FAILED, HELD, PARTLY, UNTESTABLE, Evidence, Ruling, ahead, scores_of, shown
from relmem_lite.claims.evidence import runs_of as _runs
from relmem_lite.recorded import MissingRecordError
from relmem_lite.tasks import StateTracking
from relmem_lite.tasks.recall import accuracy_within

SOLVED = 0.95
"""Mean accuracy that counts as solved: runs stop early at 0.99 at the least, and 0.95 is one mistake in twenty."""
TIE = 0.02
"""Difference of mean accuracies that counts as none: three standard errors of 4,096 answers near chance."""
NEAR_CHANCE = 0.1
"""Accuracy above chance that still counts as near it: a tenth of what there is to gain, at most."""
LARGE_GAP = 0.2
"""Accuracy between best and worst that nobody would call converged: ten times TIE."""
SAME = 1e-5
"""Largest difference of float32 results that are equal but for the order of their roundings."""


def _of(parts: Iterable[bool]) -> str:
    """Return held if all parts of a claim are true, failed if none is, partly in between."""
    parts = list(parts)
    return HELD if all(parts) else PARTLY if any(parts) else FAILED


def _any_of(found: Iterable, what: str) -> list:
    """Return what was found in a record.

    Raises:
        LookupError: nothing; `settle` then passes the record over.
    """
    found = list(found)
    if not found:
        raise LookupError(f"The record has no {what}.")
    return found


def _sizes(record: dict, points: Iterable[dict]) -> str:
    """Return how many parameters the models of some contestants have, from the smallest to the largest."""
    sizes = [run["run"]["model"]["parameters"] for point in points for run in _runs(record, **point)]
    return f"{min(sizes):,} to {max(sizes):,} parameters"


def _lstm_in_two_ways(evidence: Evidence, name: str, **point) -> tuple[dict[str, list[float]], list[float]]:
    """Return the LSTM's scores by how the weights were drawn that read its input, and the better scores.

    Raises:
        LookupError: the two are recorded at different sizes.
    """
    drawn, redrawn = evidence.record(name), evidence.record(f"{name}_volume")
    if drawn["preset"] != redrawn["preset"]:
        raise LookupError(f"{name} ({drawn['preset']}) and {name}_volume ({redrawn['preset']}) are not of one size.")
    loud = {"way": "loud"} if name == "nth_farthest" else {}  # there it is in a block, too
    ways = {
        "as PyTorch draws it": scores_of(drawn, core="lstm", **point),
        "drawn as the memory": scores_of(redrawn, core="lstm", **point, **loud),
    }
    return ways, max(ways.values(), key=mean)


def _in_words(ways: dict[str, list[float]]) -> str:
    return ", ".join(f"{way} at {shown(scores)}" for way, scores in ways.items())


def slots_that_compare(evidence: Evidence) -> Ruling:
    """Claim 1."""
    record = evidence.record("nth_farthest")
    slots, (ways, vector) = scores_of(record, core="relational_memory"), _lstm_in_two_ways(evidence, "nth_farthest")
    shortcut, items = record["task"]["shortcut"], record["task"]["num_items"]
    solves = min(slots) > (1 + shortcut) / 2
    stuck = max(vector) < shortcut + 2 * TIE
    verdict = (HELD if solves and stuck else PARTLY) if ahead(slots, vector) else FAILED
    return Ruling(
        verdict,
        f"With {items} items the memory is at {shown(slots)}, the LSTM {_in_words(ways)}; the shortcut 2/K gives "
        f"{shortcut:.2f}.",
    )


def no_output_gate(evidence: Evidence) -> Ruling:
    """Claim 2."""
    gates, gap = checks.gates_of_the_relational_memory()
    verdict = FAILED if gap == 0 and gates == ["forget", "input"] else HELD if "output" in gates else PARTLY
    return Ruling(
        verdict, f"The memory has the gates {' and '.join(gates)}, and its output is its state, difference {gap:.0g}."
    )


def gates_keep(evidence: Evidence) -> Ruling:
    """Claim 3."""
    record = evidence.record("gating")
    none, row, unit = (scores_of(record, core=core) for core in ("none", "memory", "unit"))
    return Ruling(
        _of([ahead(row, none), ahead(unit, none)]),
        f"After {record['settings']['num_distractors']} distractors: no gates {shown(none)}, one gate a row "
        f"{shown(row)}, one a number {shown(unit)}.",
    )


def sorting_among_the_tasks(evidence: Evidence) -> Ruling:
    """Claim 4."""
    answers, record = checks.answers_of_nth_farthest(), evidence.record("sorting")
    slots = scores_of(record, core="relational_memory", order="sorted")
    ways, vector = _lstm_in_two_ways(evidence, "sorting", order="sorted")
    sorts = ahead(slots, vector)
    verdict = HELD if answers > 1 and sorts else PARTLY if answers > 1 or sorts else FAILED
    return Ruling(
        verdict,
        f"Nth farthest asks for {answers} label a sequence, a rank and no sorted sequence; on real sorting of "
        f"{record['settings']['num_items']} items the memory is at {shown(slots)}, the LSTM {_in_words(ways)}.",
    )


def largest_gain_where_compared(evidence: Evidence) -> Ruling:
    """Claim 5."""
    _, vector = _lstm_in_two_ways(evidence, "nth_farthest")
    gain = scores_of(evidence.record("nth_farthest"), core="relational_memory"), vector
    programs = evidence.record("programs")
    copied = [scores_of(programs, kind="copy", core=core) for core in ("relational_memory", "lstm")]
    gains = [mean(slots) - mean(vector) for slots, vector in (gain, copied)]
    verdict = HELD if ahead(*gain) and abs(gains[1]) <= TIE else PARTLY if gains[0] > gains[1] + TIE else FAILED
    return Ruling(
        verdict,
        f"The memory's lead over the LSTM is {gains[0]:+.3f} on Nth farthest and {gains[1]:+.3f} on copying.",
    )


def parallel_against_bounded(evidence: Evidence) -> Ruling:
    """Claim 6."""
    rows = evidence.record("bench_layers")["rows"]
    seconds = {(row["layer"], row["batch"], row["time"], row["width"]): row["seconds"][0] for row in rows}
    shared = [key[1:] for key in seconds if key[0] == "relational_memory" and ("attention", *key[1:]) in seconds]
    shape = max(_any_of(shared, "size of both layers"), key=lambda shape: shape[1])
    slots, attention = (seconds[layer, *shape] for layer in ("relational_memory", "attention"))
    bounded, grows = (checks.growth_of_the_state(core) for core in ("relational_memory", "attention"))
    return Ruling(
        _of([attention < slots, bounded == 1 and grows > 1]),
        f"At {shape[1]:,} steps a layer of attention takes {attention:.2g} s, of slots {slots:.2g} s; after a "
        f"million steps attention keeps {grows:,.0f} times what it keeps after a thousand, and slots "
        f"{'as much as then' if bounded == 1 else f'{bounded:.3g} times'}.",
    )


def retrieval_closes_the_gap(evidence: Evidence) -> Ruling:
    """Claim 7."""
    record = evidence.record("istree")
    nodes, models = max(record["settings"]["num_nodes"]), record["settings"]["models"]
    layers = {model: set(model.split("+")) for model in models}
    recurrent = _any_of((m for m in models if "attention" not in layers[m]), "recurrent model")[0]
    full = _any_of((m for m in models if layers[m] == {"attention"}), "model of attention alone")[0]
    hybrid = _any_of((m for m in models if layers[m] > {"attention"}), "hybrid")[0]
    direct, thinking, searching = (
        scores_of(record, num_nodes=nodes, format=format, model=recurrent)
        for format in ("direct", "chain_of_thought", "retrieval")
    )
    mixed, goal = (
        scores_of(record, num_nodes=nodes, format="chain_of_thought", model=model) for model in (hybrid, full)
    )
    gap = ahead(goal, thinking)
    closed = [mean(scores) >= mean(goal) - TIE for scores in (searching, mixed)]
    parts = {
        "the direct answer is not near 0.5": max(direct) < 0.5 + NEAR_CHANCE,
        "not every seed that thinks aloud is above every direct one": ahead(thinking, direct),
        "attention is not ahead of the recurrent model": gap,
        "searches do not come near attention": closed[0],
        "one attention layer does not come near attention": closed[1],
    }
    verdict = HELD if all(parts.values()) else PARTLY if gap and any(closed) else FAILED
    lacking = "; ".join(words for words, holds in parts.items() if not holds)
    return Ruling(
        verdict,
        f"With {nodes} nodes the recurrent model is at {shown(direct)} directly, {shown(thinking)} thinking aloud and "
        f"{shown(searching)} with searches; with one attention layer it thinks aloud at {shown(mixed)}, and attention "
        f"alone, which it is to reach, at {shown(goal)}." + (f" What fails: {lacking}." if lacking else ""),
    )


def slowness(evidence: Evidence) -> Ruling:
    """Claim 8."""
    record = evidence.record("bench_relational_memory")
    rows = [row for row in record["rows"] if (row["slots"], row["heads"]) == (1, 4)]
    longest = max(row["time"] for row in _any_of(rows, "memory of one slot and four heads"))
    seconds = {row["contestant"]: row["seconds"][0] for row in rows if row["time"] == longest}
    ways = {"direct": "written as in the paper", "relmem_lite": "in this book's form"}
    ways |= {"relmem_lite, replayed": "in that form, as one CUDA graph"}
    times = {way: seconds[way] / seconds["torch.nn.LSTM"] for way in ways if way in seconds}
    # Withdrawn were 110 ms against 3 to 3.5; half of the smaller quotient still counts as that order.
    verdict = HELD if min(times.values()) >= 16 else PARTLY if min(times.values()) > 1 else FAILED
    words = ", ".join(f"{times[way]:.1f} times {words}" for way, words in ways.items() if way in times)
    return Ruling(
        verdict,
        f"At {longest} steps on {record['environment']['device_name']} the memory takes this many times as long as the "
        f"library's LSTM: {words}.",
    )


def _pairs_of_points(evidence: Evidence, change) -> list[tuple[dict, dict]]:
    """Pairs of the sweep's rows that differ in what `change` changes alone: it gets a point and returns the other."""
    rows = evidence.record("sweep_port_hyperparameters")["rows"]
    by_point = {tuple(sorted((k, str(v)) for k, v in row["point"].items())): row for row in rows}
    pairs = []
    for row in rows:
        for other in change(row["point"]):
            found = by_point.get(tuple(sorted((k, str(v)) for k, v in other.items())))
            if found is not None and row["scores"] and found["scores"]:
                pairs.append((row, found))
    return pairs


def _each_pair(pairs: list[tuple[dict, dict]], better: bool, change: str) -> Ruling:
    """Rule on pairs of rows: is the second better (or worse) than the first in each, in some, in none?"""
    if not pairs:
        raise LookupError(f"The sweep has no two points that differ in {change} alone.")
    wins = sum(
        ahead(*((after, before) if better else (before, after)), lower_is_better=True)
        for before, after in (([*a["scores"]], [*b["scores"]]) for a, b in pairs)
    )
    means = ", ".join(f"{a['mean']:.1f} to {b['mean']:.1f}" for a, b in pairs)
    what = "lowers" if better else "raises"
    verdict = HELD if wins == len(pairs) else PARTLY if wins else FAILED
    return Ruling(verdict, f"{change} {what} the perplexity in {wins} of {len(pairs)} pairs: {means}.")


def more_slots_do_not_help(evidence: Evidence) -> Ruling:
    """Claim 8a."""
    pairs = _pairs_of_points(evidence, lambda p: [p | {"num_slots": 4}] if p["num_slots"] == 1 else [])
    ruling = _each_pair(pairs, better=True, change="Four slots in place of one")
    # The claim is that it does not help.
    turned = {HELD: FAILED, PARTLY: PARTLY, FAILED: HELD}
    return Ruling(turned[ruling.verdict], ruling.reason)


def more_heads_hurt(evidence: Evidence) -> Ruling:
    """Claim 8b."""

    def twice(point: dict) -> list[dict]:
        heads, width = point["num_heads"], point["widths"][0]
        # At the same width of the memory, heads * width; keys keep their share of a head.
        halved = {"num_heads": 2 * heads, "widths": [width // 2], "key_size": point["key_size"] // 2}
        return [point | halved]

    return _each_pair(_pairs_of_points(evidence, twice), False, "Twice as many heads in a memory of the same width")


def dropout_helps(evidence: Evidence) -> Ruling:
    """Claim 8c."""
    pairs = _pairs_of_points(evidence, lambda p: [] if p["output_dropout"] else [p | {"output_dropout": 0.5}])
    return _each_pair(pairs, True, "Output dropout")


def smaller_keys_help(evidence: Evidence) -> Ruling:
    """Claim 8d."""

    def smaller(point: dict) -> list[dict]:
        return [point | {"key_size": point["key_size"] // by} for by in (2, 4)]

    return _each_pair(_pairs_of_points(evidence, smaller), True, "A smaller key")


def comparable_to_the_lstm(evidence: Evidence) -> Ruling:
    """Claim 8e."""
    record = evidence.record("wikitext_2")
    slots, vector = (scores_of(record, core=core) for core in ("relational_memory", "lstm"))
    apart = mean(slots) / mean(vector) - 1
    # The port's own figures differ by 1.6 % in test perplexity; three times that is no longer "comparable".
    verdict = HELD if abs(apart) <= 0.05 else PARTLY if apart < 0 else FAILED
    return Ruling(
        verdict,
        f"On {record['task']['corpus']}, at equal parameters and rates swept for both, the memory's perplexity is "
        f"{shown(slots, 1)} and the LSTM's {shown(vector, 1)}, {apart:+.1%}.",
    )


def one_slot_is_slowest(evidence: Evidence) -> Ruling:
    """Claim 8f."""
    rows = evidence.record("bench_relational_memory")["rows"]
    # Both with four heads, so that the slots alone differ, and a row's width with them.
    seconds = {
        (row["contestant"], row["batch"], row["time"], row["slots"], row["head_size"]): row["seconds"][0]
        for row in rows
        if row["heads"] == 4
    }
    one, four = ({key[1:3] for key in seconds if key[3:] == shape} for shape in ((1, 192), (4, 48)))
    if not one & four:
        raise LookupError("bench_relational_memory has no 768 numbers both in one slot and in four, of four heads.")
    batch, time = max(one & four)
    times = {
        who: seconds[who, batch, time, 1, 192] / seconds[who, batch, time, 4, 48] for who in ("direct", "relmem_lite")
    }
    return Ruling(
        _of(factor > 1 for factor in times.values()),
        f"The same 768 numbers, with 4 heads, take {times['direct']:.1f} times as long in 1 slot as in 4, written as "
        f"in the paper, and {times['relmem_lite']:.1f} times in this book's form.",
    )


def log_space_for_stability(evidence: Evidence) -> Ruling:
    """Claim 9."""
    errors = checks.errors_of_closed_forms()
    rescues = errors["finite"] < 0.5 and math.isfinite(errors["log_space"])
    needed = errors["loop"] > errors["log_space"]
    return Ruling(
        _of([rescues, needed]),
        f"At 512 steps the closed form with cumulative products has {errors['finite']:.0%} finite states; in log-space "
        f"the largest error is {errors['log_space']:.0e}, of the plain loop without logarithms {errors['loop']:.0e}.",
    )


def many_times_faster(evidence: Evidence) -> Ruling:
    """Claim 10."""
    rows = [row for row in evidence.record("bench_layers")["rows"] if row["time"] == 512]
    seconds = {(row["batch"], row["width"], row["layer"]): row["seconds"][0] for row in rows}
    shape = max(_any_of((key[:2] for key in seconds if key[2] == "GRU, loop in Python"), "looped GRU at 512 steps"))
    own, logs, fused, loop = (
        seconds[*shape, layer] for layer in ("min_gru", "min_gru in log-space", "torch.nn.GRU", "GRU, loop in Python")
    )
    # "Of this order": at least half of 175.
    verdict = HELD if fused / own >= 87 else PARTLY if fused > own else FAILED
    return Ruling(
        verdict,
        f"At 512 steps, batch {shape[0]}, minGRU is {loop / own:.0f} times as fast as a GRU looped in Python and "
        f"{fused / own:.1f} times as fast as the library's; in log-space, as in the paper, {loop / logs:.1f} and "
        f"{fused / logs:.1f} times.",
    )


def fewer_parameters(evidence: Evidence) -> Ruling:
    """Claim 11."""
    shares = checks.parameters_of_minimal_cores()
    words = [f"{name} has {min(own.values()):.0%} to {max(own.values()):.0%}" for name, own in shares.items()]
    return Ruling(
        _of(share < 1 for own in shares.values() for share in own.values()),
        f"At one to four times the input's size {words[0]} of the parameters of GRU, {words[1]} of LSTM's.",
    )


def matches_modern_models(evidence: Evidence) -> Ruling:
    """Claim 12."""
    record = evidence.record("selective_copying")
    depths = sorted(record["settings"]["depths"])
    minimal = [core for core in ("min_gru", "min_lstm") if core in record["settings"]["cores"]]
    at = {
        (core, depth): mean(scores_of(record, core=core, depth=depth))
        for core in [*minimal, "mamba", "gru"]
        for depth in depths
    }
    deep, shallow = depths[-1], depths[0]
    modern = all(at[core, deep] >= at["mamba", deep] - TIE for core in minimal)
    baseline = all(at["min_gru", depth] >= at["gru", depth] - TIE for depth in depths)
    verdict = HELD if modern and baseline else PARTLY if modern else FAILED
    words = ", ".join(f"{core} is at {at[core, deep]:.3f}" for core in minimal)
    sizes = _sizes(record, ({"core": core, "depth": deep} for core in [*minimal, "mamba"]))
    return Ruling(
        verdict,
        f"With {deep} layers {words} and Mamba at {at['mamba', deep]:.3f}, of {sizes}; GRU, which the paper left out, "
        f"is at {at['gru', shallow]:.3f} with {shallow} layer{'s' if shallow > 1 else ''}, where minGRU is at "
        f"{at['min_gru', shallow]:.3f}.",
    )


def steps_of_transformers(evidence: Evidence) -> Ruling:
    """Claim 13."""
    record = evidence.at("language_model", "gpu")
    if record["settings"]["level"] != "character":
        raise MissingRecordError("Not recorded yet: relmem run language_model --preset gpu")
    steps = {}
    for core in record["settings"]["cores"]:
        kind = core.split("+")[0]
        if set(core.split("+")) == {kind} and kind in ("attention", "min_gru"):
            runs = _runs(record, core=core)
            score = record["task"]["score"]
            steps[kind] = [min(run["curve"], key=lambda point: point[score])["step"] for run in runs]
    times = mean(steps["attention"]) / mean(steps["min_gru"])
    # The paper's own steps, 2000 and 575, make 3.5 times as many, that is 2.5 times more.
    verdict = HELD if times >= 2.5 else PARTLY if ahead(steps["min_gru"], steps["attention"], True) else FAILED
    return Ruling(
        verdict,
        f"Attention is at its best after {mean(steps['attention']):,.0f} steps ({len(steps['attention'])} seeds), "
        f"minGRU after {mean(steps['min_gru']):,.0f} ({len(steps['min_gru'])} seeds): {times:.1f} times as many.",
    )


def posted_module(evidence: Evidence) -> Ruling:
    """Claim 14."""
    error, (as_it_stands, negated) = checks.posted_module_raises(), checks.gap_of_the_mended_module()
    verdict = HELD if error is None and as_it_stands < SAME else PARTLY if negated < SAME else FAILED
    return Ruling(
        verdict,
        f"As posted it ends in a {error}; made to run it differs from minGRU by {as_it_stands:.2f}, and with the sign "
        f"of its gate turned by {negated:.0g}.",
    )


def _on_both_tasks(record: dict, better: dict, worse: dict) -> list[tuple[str, list[float], list[float]]]:
    tasks = record["settings"]["tasks"]
    return [(task, scores_of(record, on=task, **better), scores_of(record, on=task, **worse)) for task in tasks]


def networks_as_gates(evidence: Evidence) -> Ruling:
    """Claim 15."""
    record = evidence.record("gate_networks")
    found = _on_both_tasks(record, {"gate": "network"}, {"gate": "linear"})
    words = [f"{task} {shown(network)} against {shown(linear)}" for task, network, linear in found]
    return Ruling(
        _of(ahead(network, linear) for _, network, linear in found),
        f"A network as the gate against a linear one, at equal parameters: {'; '.join(words)}. It rests on these tasks "
        "alone: where a letter is chosen by two bits, chapter 6 trains both live and the network learns sooner.",
    )


def only_a_network_per_token(evidence: Evidence) -> Ruling:
    """Claim 16."""
    reach, gap = checks.reach_of_min_gru(200.0)
    usual, _ = checks.reach_of_min_gru(0.0, time=5)
    verdict = FAILED if reach == 0 and gap == 0 and usual > 0 else HELD if usual == 0 else PARTLY
    return Ruling(
        verdict,
        f"At z = 1 the output is the per-token layer's to the last bit (difference {gap:.0g}) and the first token has "
        f"no effect later; at its usual z the first token's gradient after 5 steps is {usual:.1e}, not 0.",
    )


def torn_out_pages(evidence: Evidence) -> Ruling:
    """Claim 17."""
    same, differ = checks.gaps_of_permuted_tokens()
    verdict = (PARTLY if differ > 0.01 else HELD) if same < SAME else FAILED
    return Ruling(
        verdict,
        f"Shuffled tokens have the same gates and candidates, difference {same:.0g}, in another order, but the last "
        f"state differs by {differ:.2f}: the order is in the state.",
    )


def _frontier(record: dict) -> tuple[dict, dict]:
    """Scores by core and pairs at the largest size, of those with seeds to compare, and floats by core and pairs."""
    most = max(record["settings"]["parameters"])
    points = [point for point in record["best"].values() if point["parameters"] == most and len(point["scores"]) > 1]
    scores = {
        (p["core"], p["pairs"]): scores_of(record, core=p["core"], pairs=p["pairs"], parameters=most) for p in points
    }
    return scores, {(p["core"], p["pairs"]): p["floats"] for p in points}


def fixed_state_bounds_recall(evidence: Evidence) -> Ruling:
    """Claim 18."""
    record = evidence.record("recall_frontier")
    scores, floats = _frontier(record)
    few, many = min(record["settings"]["pairs"]), max(record["settings"]["pairs"])
    both = [core for core in record["settings"]["cores"] if {(core, few), (core, many)} <= scores.keys()]
    fixed = _any_of((core for core in both if "attention" not in core.split("+")), "fixed state at both ends")
    growing = _any_of((core for core in both if core not in fixed), "growing state at both ends")
    values = record["settings"]["num_values"]
    within = all(
        mean(found) <= accuracy_within(32 * floats[core, pairs], pairs, values) + TIE
        for (core, pairs), found in scores.items()
    )
    falls = all(ahead(scores[core, few], scores[core, many]) for core in fixed)
    best = max(fixed, key=lambda core: mean(scores[core, many]))
    grows = max(mean(scores[core, many]) for core in growing)
    verdict = HELD if within and falls and grows > mean(scores[best, many]) + TIE else PARTLY if within else FAILED
    return Ruling(
        verdict,
        f"From {few} to {many} pairs the best fixed state, {best} with {32 * floats[best, many]:,} bits, goes from "
        f"{mean(scores[best, few]):.2f} to {mean(scores[best, many]):.2f}; with a state that grows it is {grows:.2f}; "
        f"{'nobody is' if within else 'somebody is'} above the bound.",
    )


def one_attention_layer(evidence: Evidence) -> Ruling:
    """Claim 19."""
    record = evidence.record("recall_frontier")
    scores, _ = _frontier(record)
    many = max(record["settings"]["pairs"])
    fixed = {
        core: found for (core, pairs), found in scores.items() if pairs == many and "attention" not in core.split("+")
    }
    if not {("min_gru+attention", many), ("attention", many)} <= scores.keys():
        raise LookupError(f"{record['experiment']} has no scores of attention at {many} pairs.")
    hybrid, full = scores["min_gru+attention", many], scores["attention", many]
    best = max(_any_of(fixed, f"fixed state at {many} pairs"), key=lambda core: mean(fixed[core]))
    strong = ahead(hybrid, fixed[best])
    verdict = HELD if strong and mean(hybrid) >= mean(full) - TIE else PARTLY if strong else FAILED
    return Ruling(
        verdict,
        f"At {many} pairs minGRU with one attention layer is at {shown(hybrid)}, attention alone at {shown(full)}, the "
        f"best fixed state, {best}, at {shown(fixed[best])}.",
    )


def not_real_recurrences(evidence: Evidence) -> Ruling:
    """Claim 20."""
    record = evidence.record("state_tracking")
    settings = record["settings"]
    time, groups = max(settings["test_times"]), settings["groups"]

    def at(group: str, core: str) -> list[float]:
        depth = max(settings["depths"]) if core in settings["parallel"] else 1
        return scores_of(record, f"accuracy_at_{time}", group=group, core=core, depth=depth)

    kinds = {
        "loops": [core for core in ("lstm", "gru", "slstm") if core in settings["sequential"]],
        "scans": [core for core in ("min_gru", "mamba") if core in settings["parallel"]],
        "signed": [core for core in ("signed_min_gru",) if core in settings["parallel"]],
    }
    for kind in ("loops", "scans"):
        _any_of(kinds[kind], f"core among the {kind}")
    means = {kind: {g: [mean(at(g, core)) for core in cores] for g in groups} for kind, cores in kinds.items()}
    loops, scans, signed = means.values()
    lost = all(max(scans[g]) <= StateTracking(g).chance + NEAR_CHANCE for g in groups)
    kept = all(min(loops[g]) >= SOLVED for g in groups)
    no_scan_tracks = all(max(signed[g], default=0) < SOLVED for g in groups)
    contrast = all(min(loops[g]) > max(scans[g]) for g in groups)
    verdict = HELD if lost and kept and no_scan_tracks else PARTLY if contrast else FAILED
    words = [
        f"on {g} loops are at {shown(loops[g])}, minGRU and Mamba at {shown(scans[g])}"
        + (f", minGRU with a signed gate at {signed[g][0]:.2f}" if signed[g] else "")
        for g in groups
    ]
    return Ruling(verdict, f"At {time} steps, learned from {settings['time']}: {'; '.join(words)}.")


def qrnn_and_sru_are_min_gru(evidence: Evidence) -> Ruling:
    """Claim 21."""
    qrnn, sru = checks.gap_of_qrnn(), checks.gap_of_sru()
    return Ruling(
        _of([qrnn < SAME, sru < SAME]),
        f"From minGRU with the same weights QRNN with window 1, without tanh and output gate, differs by {qrnn:.0g}, "
        f"and SRU without its highway, minGRU's candidate without a bias, by {sru:.0g}.",
    )


def the_same_as_mamba(evidence: Evidence) -> Ruling:
    """Claim 22."""
    gaps = {core: checks.gap_of_one_recurrence(core) for core in ("min_gru", "mamba")}
    record = evidence.record("selective_copying")
    deep = max(record["settings"]["depths"])
    scores = {core: scores_of(record, core=core, depth=deep) for core in gaps}
    same = max(gaps.values()) < SAME
    alike = abs(mean(scores["min_gru"]) - mean(scores["mamba"])) <= TIE
    verdict = HELD if same and alike else PARTLY if same else FAILED
    sizes = _sizes(record, ({"core": core, "depth": deep} for core in gaps))
    return Ruling(
        verdict,
        f"Both are h = a h + b with a and b from the input (largest difference {max(gaps.values()):.0e}); on selective "
        f"copying with {deep} layers minGRU is at {shown(scores['min_gru'], 3)}, Mamba at {shown(scores['mamba'], 3)}, "
        f"of {sizes}.",
    )


def recurrent_is_iir(evidence: Evidence) -> Ruling:
    """Claim 23."""
    taps, error = checks.taps_of_a_pole()
    fixed, moved = (checks.superposition_gap(gate_sees_input) for gate_sees_input in (False, True))
    exact = error <= 1e-3 and fixed < 1e-9
    verdict = (PARTLY if moved > 1e-3 else HELD) if exact else FAILED
    return Ruling(
        verdict,
        f"At a gate of 0.99, {taps} taps match one pole to 1e-3; with a fixed gate answers add up (difference "
        f"{fixed:.0e}), and once the gate sees the input they don't ({moved:.2f}): then it is no filter of fixed taps.",
    )


def _gaps(record: dict, points: list[dict]) -> tuple[float, float]:
    """Gap between best and worst of some contestants on held-out samples, half-way through training and at its end."""
    score, half = record["task"]["score"], record["settings"]["steps"] / 2
    middle, last = [], []
    for point in points:
        curves = [run["curve"] for run in _runs(record, **point)]
        # A run that stopped early was done: its last score stands for later steps.
        middle.append(mean([p for p in c if p["step"] <= max(half, c[0]["step"])][-1][score] for c in curves))
        last.append(mean(c[-1][score] for c in curves))
    return max(middle) - min(middle), max(last) - min(last)


def all_converge(evidence: Evidence) -> Ruling:
    """Claim 24."""
    tracking, copying = evidence.record("state_tracking"), evidence.record("copying_length")
    settings = tracking["settings"]
    hardest = settings["groups"][-1]
    deep = max(settings["depths"])
    points = [{"group": hardest, "core": core, "depth": 1} for core in settings["sequential"]]
    points += [{"group": hardest, "core": core, "depth": deep} for core in settings["parallel"]]
    gaps = {
        f"tracking {hardest}": _gaps(tracking, points),
        "copying strings": _gaps(copying, [{"core": core} for core in copying["settings"]["cores"]]),
    }
    apart = [end > LARGE_GAP and end > half / 2 for half, end in gaps.values()]
    verdict = FAILED if all(apart) else PARTLY if any(apart) else HELD
    words = [f"{half:.2f} half-way and {end:.2f} at the end in {task}" for task, (half, end) in gaps.items()]
    return Ruling(verdict, f"Best and worst architecture are apart by {' and '.join(words)}.")


def only_at_small_scale(evidence: Evidence) -> Ruling:
    """Claim 25."""
    record = evidence.record("language_model_sizes")
    sizes, cores = sorted(record["settings"]["sizes"]), record["settings"]["cores"]
    by_kind = {core.split("+")[0]: core for core in cores}
    losses = {
        (kind, size): scores_of(record, "loss", core=core, size=size)
        for kind, core in by_kind.items()
        for size in sizes
    }
    behind = [ahead(losses["attention", size], losses["min_gru", size], True) for size in sizes]
    verdict = FAILED if behind[0] else HELD if behind[-1] else PARTLY
    words = [
        f"{mean(losses['min_gru', s]):.2f}, {mean(losses['attention', s]):.2f} and {mean(losses['lstm', s]):.2f} at "
        f"{s:,} parameters"
        for s in sizes
    ]
    return Ruling(
        verdict,
        f"Losses of minGRU, attention and LSTM are {'; '.join(words)}: minGRU is behind attention at "
        f"{sum(behind)} of {len(sizes)} sizes, and nothing here speaks for larger ones.",
    )


def vanishing_gradients(evidence: Evidence) -> Ruling:
    """Claim 26."""
    (closed, error), (opened, _) = checks.gradient_through_time(0.0), checks.gradient_through_time(-5.0)
    record = evidence.record("gate_bias")
    biases = record["settings"]["keep_biases"]
    plain = scores_of(record, keep_bias=0.0)
    open_starts = _any_of((bias for bias in biases if bias > 0), "open start")
    best = max(open_starts, key=lambda bias: mean(scores_of(record, keep_bias=bias)))
    open_gate = scores_of(record, keep_bias=best)
    solved, helped = closed > 1e-7, ahead(open_gate, plain)
    verdict = HELD if solved else PARTLY if helped and error < 1e-6 else FAILED
    return Ruling(
        verdict,
        f"dh_T/dh_0 is the product of 1 - z (to {error:.0e}): over 100 steps {closed:.0e} as minGRU starts, "
        f"{opened:.2f} with its gate's bias at -5; across {record['settings']['num_distractors']} steps of noise it "
        f"learns {shown(plain)} from bias 0 and {shown(open_gate)} from -{best:g}.",
    )


def turing_complete(evidence: Evidence) -> Ruling:
    """Claim 27."""
    single, double = (checks.bits_in_one_number(kind) for kind in (torch.float32, torch.float64))
    exact = checks.bits_in_one_number(Fraction, most=200)
    verdict = HELD if single >= 200 else PARTLY if exact >= 200 else FAILED
    return Ruling(
        verdict,
        f"A stack in one number gives back {single} bits in float32, {double} in float64, and all {exact} that were "
        f"tried with unlimited digits: a network of floats is a finite-state machine.",
    )


def better_scaling_curves(evidence: Evidence) -> Ruling:
    """Claim 28."""
    return Ruling(
        UNTESTABLE,
        "A scaling curve needs many sizes over several orders of magnitude, trained each to its best: far beyond one "
        "GPU for minutes, and three small sizes (claim 25) are none.",
    )


def reuse_beats_depth(evidence: Evidence) -> Ruling:
    """Claim 29."""
    record = evidence.record("tied_layers")
    depth = record["settings"]["depth"]
    untied = {"core": "min_gru", "blocks": depth, "times": 1}
    tied = _on_both_tasks(record, {"core": "min_gru", "blocks": 1, "times": depth}, untied)
    over_time = _on_both_tasks(record, {"core": "gru", "blocks": 1, "times": 1}, untied)
    words = [
        f"on {task} one block used {depth} times is at {shown(again)}, {depth} blocks at {shown(several)}, one of GRU "
        f"at {shown(gru)}"
        for (task, again, several), (_, gru, _) in zip(tied, over_time, strict=True)
    ]
    return Ruling(
        _of(ahead(better, worse) for _, better, worse in [*tied, *over_time]),
        f"At equal parameters {'; '.join(words)}.",
    )


def attention_is_hopfield(evidence: Evidence) -> Ruling:
    """Claim 30."""
    gap = checks.gap_of_hopfield()
    return Ruling(
        HELD if gap < SAME else FAILED,
        f"One update of a modern Hopfield network and attention from its state to its patterns differ by {gap:.0g}.",
    )
