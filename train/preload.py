"""What a worker imports before it can train, and what it leaves out.

Imports are most of the time from a job's submission to its first step.
"""

from __future__ import annotations

import importlib
import logging
import sys

# transformers and peft import these where they are installed, for features that training has no
# use for: generation metrics, object detection losses. Hidden, they save about 3 s.
UNUSED = ("sklearn", "scipy")
# peft imports bitsandbytes for the quantised layers only: 2.5 s.
QUANTISED = "bitsandbytes"


def preload(*, quantised: bool) -> None:
    """Import what the loop needs. `quantised` says whether bitsandbytes is among it."""
    for name in UNUSED if quantised else (*UNUSED, QUANTISED):
        # None makes `find_spec` say that the package is not there, which both libraries ask.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # a documented use of None
    for name in ("torch", "deepspeed", "transformers.trainer", "peft", "trl.trainer.sft_trainer"):
        importlib.import_module(name)
    # On a CPU DeepSpeed would compile a shared-memory all-reduce before the first step: a minute,
    # and a compiler on every node. gloo does without.
    sys.modules["deepspeed.ops"].__compatible_ops__["deepspeed_shm_comm"] = False
    for name in ("DeepSpeed", "httpx", "transformers.trainer"):
        logging.getLogger(name).setLevel(logging.WARNING)
