"""What a file is for, by OpenAI's names."""

from __future__ import annotations

from enum import StrEnum

from cluster.errors import InvalidRequest


class Purpose(StrEnum):
    """The last three are of files that the product makes; they can't be uploaded."""

    ASSISTANTS = "assistants"
    BATCH = "batch"
    FINE_TUNE = "fine-tune"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"
    FINE_TUNE_RESULTS = "fine-tune-results"
    BATCH_OUTPUT = "batch_output"
    ASSISTANTS_OUTPUT = "assistants_output"


MADE = frozenset({Purpose.FINE_TUNE_RESULTS, Purpose.BATCH_OUTPUT, Purpose.ASSISTANTS_OUTPUT})


def uploadable(name: str) -> Purpose:
    """The purpose of that name. Raises InvalidRequest unless a caller may upload for it."""
    allowed = [purpose for purpose in Purpose if purpose not in MADE]
    if name not in allowed:
        raise InvalidRequest(
            f"purpose is {name[:40]!r}; allowed are {', '.join(allowed)}.", param="purpose"
        )
    return Purpose(name)
