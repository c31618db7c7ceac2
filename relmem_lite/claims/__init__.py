"""The claims of the sources, each with the rule by which records or an exact check settle it: `relmem claims`."""

from collections.abc import Callable
from dataclasses import dataclass, field

from relmem_lite import recorded
from relmem_lite.claims.evidence import (
    FAILED,
    HELD,
    OPEN,
    PARTLY,
    UNTESTABLE,
    VERDICTS,
    Evidence,
    Ruling,
    size_of,
)
from relmem_lite.claims.ledger import CLAIMS, SOURCES, Claim, Source

__all__ = [
    "CLAIMS",
    "FAILED",
    "HELD",
    "OPEN",
    "PARTLY",
    "SOURCES",
    "UNTESTABLE",
    "VERDICTS",
    "Claim",
    "Evidence",
    "Ruling",
    "Settled",
    "Source",
    "find",
    "settle",
]


@dataclass(frozen=True)
class Settled:
    """A claim and what became of it.

    Attributes:
        claim: the row of the ledger.
        verdict: one of VERDICTS.
        reason: one sentence, with the numbers that the verdict follows from; the command to make a record that lacks.
        evidence: the name of each record that was used, NAME_PRESET, and in words at what size it was made; empty for
            an exact check, which runs when it is asked for.
    """

    claim: Claim
    verdict: str
    reason: str
    evidence: dict[str, str] = field(default_factory=dict)


def settle(claim: Claim, load: Callable[[str, str], dict] = recorded.load) -> Settled:
    """Apply a claim's rule to the records as they are now, the largest first.

    A record that lacks what the rule compares, as a smaller selection on a GPU may, is passed over for the CPU's. Where
    that one lacks the runs, too, since it is not complete yet, the claim is open.

    Args:
        claim: a row of CLAIMS.
        load: returns a record by name and preset, as `relmem_lite.recorded.load`, or raises MissingRecordError.

    Raises:
        LookupError: the CPU's record is whole and lacks what the rule compares.
    """
    evidence = Evidence(load)
    try:
        try:
            verdict, reason = claim.rule(evidence)
        except recorded.MissingRecordError:
            raise
        except LookupError:
            evidence = Evidence(load, ("cpu",))
            verdict, reason = claim.rule(evidence)
    except recorded.MissingRecordError as missing:
        verdict, reason = OPEN, f"{missing}."
    except LookupError:
        lacking = [record for record in evidence.used.values() if record.get("missing_runs")]
        if not lacking:
            raise
        verdict, reason = OPEN, recorded.so_far(lacking[0])
    if verdict != OPEN and any(record.get("missing_runs") for record in evidence.used.values()):
        reason += " Runs are still missing, and with them a third seed: a verdict until then."
    return Settled(claim, verdict, reason, {name: size_of(record) for name, record in evidence.used.items()})


def find(number: str) -> Claim:
    """Return the claim with this number, such as "14" or "8c".

    Raises:
        ValueError: there is none; the message says which there are.
    """
    for claim in CLAIMS:
        if claim.number == str(number).strip().lower():
            return claim
    last = CLAIMS[-1].number
    raise ValueError(f"There is no claim {number!r}: they are numbered 1 to {last}, and claim 8 has parts 8a to 8f.")
