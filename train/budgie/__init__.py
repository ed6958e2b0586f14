"""Budgie: the demo base model, built from text that this project generates itself.

The life of the model in five steps:

1. ``words``, ``smalltalk``, ``tasks``, ``reading``, ``tools``, ``prose``: templates of dialogs;
2. ``corpus``: the table of families and the deterministic stream of dialogs, split by key;
3. ``tokenizer``: a byte-level BPE learned from it; ``chat_template.jinja`` renders dialogs;
4. ``architecture``, ``letters``, ``circuit``, ``packing``, ``build``: a Llama that can read letters
   and copy from the start, rows of tokens, the training loop, ``build.json``;
5. ``evaluate``: held-out prompts per family, ``evaluation.json``; ``card``: the model card.

Nothing outside this package knows that the model is special: it is a folder of weights.
"""

from pathlib import Path
from typing import Final

WEIGHTS: Final = Path(__file__).parent / "weights"
"""The shipped model: a Hugging Face folder of less than 20 MB."""
