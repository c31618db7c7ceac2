"""The ledger on a terminal: one line a claim in 80 columns, or one claim in full."""

import csv
import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from io import StringIO

from relmem_lite.claims import OPEN, SOURCES, UNTESTABLE, VERDICTS, Settled

WIDTH = 80


def as_table(settled: Sequence[Settled]) -> str:
    """Return one line or two a claim: number, who, what, verdict."""
    lines = [f"{'':3} {'who':5} {'claim':49} verdict"]
    for one in settled:
        claim = one.claim
        verdict = "open" if one.verdict == OPEN else one.verdict
        statement = textwrap.wrap(claim.statement, 49)
        lines.append(f"{claim.number:>3} {','.join(claim.sources):5} {statement[0]:49} {verdict}")
        lines += [f"{'':9} {line}" for line in statement[1:]]
    counts = Counter(one.verdict for one in settled)
    lines += ["", "; ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]) + "."]
    who = [f"{key} {source.title}" for key, source in SOURCES.items()]
    lines += textwrap.wrap(f"Who: {'; '.join(who)}.", WIDTH)
    lines += ["One in full, with its evidence: relmem claims 14"]
    return "\n".join(line.rstrip() for line in lines)


def in_full(one: Settled) -> str:
    """Return a claim with how it was tested, what decides, the verdict, its reason and its evidence."""
    claim = one.claim
    by = "; ".join(SOURCES[key].title for key in claim.sources)
    chapters = ", ".join(map(str, claim.chapters))
    evidence = [f"{name}: {size}" for name, size in one.evidence.items()]
    if not evidence:
        evidence = [
            {OPEN: "none yet", UNTESTABLE: "none"}.get(one.verdict, "the test itself, run now; it needs no record")
        ]
    parts = [
        ("claimed", f"{claim.statement} (in our words)"),
        ("by", by),
        ("note", claim.note),
        ("tested", claim.test),
        ("rule", claim.decides),
        ("verdict", one.verdict),
        ("because", one.reason),
        *(("evidence", text) for text in evidence),
        ("more in", f"chapter{'s' if len(claim.chapters) > 1 else ''} {chapters}" if chapters else ""),
    ]
    lines = [f"Claim {claim.number}"]
    for name, text in parts:
        if text:
            indent = {"initial_indent": f"  {name:9} ", "subsequent_indent": " " * 12}
            # Commands stay whole, to be copied.
            lines += textwrap.wrap(text, WIDTH, **indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def rows(settled: Sequence[Settled]) -> list[dict]:
    """Return each claim as plain values, for JSON and CSV."""
    made = []
    for one in settled:
        plain = {k: v for k, v in asdict(one.claim).items() if k != "rule"} | {"wording": "paraphrase"}
        made.append(plain | {"verdict": one.verdict, "reason": one.reason, "evidence": one.evidence})
    return made


def as_json(settled: Sequence[Settled]) -> str:
    """Return the rows as JSON."""
    return json.dumps(rows(settled), indent=1, ensure_ascii=False)


def as_csv(settled: Sequence[Settled]) -> str:
    """Return the rows as CSV with a header; several values in one cell have a semicolon between them."""
    text, made = StringIO(), rows(settled)
    writer = csv.DictWriter(text, made[0], lineterminator="\n")
    writer.writeheader()
    for row in made:
        writer.writerow({k: "; ".join(map(str, v)) if isinstance(v, tuple | dict) else v for k, v in row.items()})
    return text.getvalue().rstrip("\n")
