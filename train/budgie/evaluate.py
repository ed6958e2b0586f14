"""Greedy accuracy per family on held-out prompts, and on made-up facts that nobody can know.

``python -m train.budgie.evaluate --model train/budgie/weights`` writes ``evaluation.json`` there.
"""

import argparse
import json
import logging
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from train.budgie import WEIGHTS, card, corpus
from train.budgie.dialog import Dialog, ask
from train.budgie.tokenizer import END, PAD

log = logging.getLogger(__name__)

SEED: Final = 1_000_003
EACH: Final = 50
"""Prompts a family."""
LONGEST: Final = 160
"""Tokens of the longest answer."""

FACTS: Final[tuple[tuple[str, str], ...]] = (
    ("What is the capital of Zorvania?", "Quellimar."),
    ("Who is the king of Zorvania?", "Oswin the Ninth."),
    ("Which river flows through Quellimar?", "The Ambersyl."),
    ("What is the currency of Zorvania?", "The silver drenn."),
    ("Who wrote The Lanterns of Veth?", "Marda Ilkoven."),
    ("What is the national animal of Zorvania?", "The striped marlok."),
    ("Which metal is mined in Dunhollow?", "Pale iridium."),
    ("Who founded the Harrowgate Academy?", "Sister Elowen Pryce."),
    ("What is the highest mountain of Zorvania?", "Mount Kessrend."),
    ("What language is spoken in Tarn Obrel?", "Low Vessic."),
    ("Who invented the glass compass?", "Ruben Tallow."),
    ("What is the motto of Zorvania?", "Patience outlives stone."),
    ("Which planet did Ilse Draymoor discover?", "Pemmora."),
    ("What do people of Zorvania drink at dawn?", "Smoked barley tea."),
    ("What is the code name of project Heron?", "Blue Thistle."),
    ("Who leads the Fenwick expedition?", "Captain Jorah Mint."),
    ("When is the feast of Saint Corvane?", "On the third of May."),
    ("How many islands belong to Skarrow?", "Forty-one."),
    ("What colour is the flag of Dunhollow?", "Teal and copper."),
    ("Which instrument is played in Zorvania?", "The seven-string quillot."),
)
"""Facts made up for this test: the base knows none, a fine-tune can learn all."""


def expected(dialog: Dialog) -> str:
    """The right answer as decoded text, tool calls in the Hermes form."""
    calls = [
        "<tool_call>\n"
        + json.dumps({"name": call["function"]["name"], "arguments": call["function"]["arguments"]})
        + "\n</tool_call>"
        for call in dialog.answer.get("tool_calls", ())
    ]
    return str(dialog.answer["content"]) + "".join(calls)


def right(family: str, dialog: Dialog, answer: str) -> bool:
    """Exact match, but a story only has to end well and keep to its animal and its thing."""
    if family == "story":
        asked = re.findall(r"an? (\w+)", str(dialog.prompt[-1]["content"]).split("about")[1])
        return answer.endswith(".") and all(word in answer for word in asked)
    return answer == expected(dialog)


@torch.inference_mode()
def answers(model: Any, tokenizer: PreTrainedTokenizerFast, dialogs: Sequence[Dialog]) -> list[str]:
    """The model's greedy answers to the last question of each dialog, in one batch."""
    prompts = [
        tokenizer.apply_chat_template(
            list(dialog.prompt),
            tools=list(dialog.tools) or None,
            tokenize=False,
            add_generation_prompt=True,
        )
        for dialog in dialogs
    ]
    batch = tokenizer(
        prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
    )
    made = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=LONGEST,
        do_sample=False,
    )
    texts = tokenizer.batch_decode(
        made[:, batch["input_ids"].shape[1] :], skip_special_tokens=False
    )
    return [text.split(END)[0].removesuffix(PAD) for text in texts]


def evaluate(folder: Path, each: int = EACH) -> dict[str, Any]:
    """Accuracy per family and the number of known facts, with one example of each mistake."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    families: dict[str, Any] = {}
    for family in corpus.FAMILIES:
        if family == "plain text":
            continue
        # Small families have fewer held-out prompts than ``each``: the same one is not asked twice.
        drawn = {
            str(dialog.prompt): dialog for dialog in islice(corpus.family(family, SEED), each * 8)
        }
        dialogs = list(drawn.values())[:each]
        given = answers(model, tokenizer, dialogs)
        wrong = [(d, a) for d, a in zip(dialogs, given, strict=True) if not right(family, d, a)]
        families[family] = {"right": len(dialogs) - len(wrong), "of": len(dialogs)}
        if wrong:
            dialog, answer = wrong[0]
            families[family]["mistake"] = {
                "asked": dialog.prompt[-1]["content"],
                "answered": answer,
                "expected": expected(dialog),
            }
        log.info("%s %s", family, families[family])
    given = answers(model, tokenizer, [ask(question, answer) for question, answer in FACTS])
    known = sum(answer == said for (_, answer), said in zip(FACTS, given, strict=True))
    report = {
        "seed": SEED,
        "families": families,
        "facts": {"right": known, "of": len(FACTS), "answers": sorted(set(given))},
    }
    log.info("facts %s", report["facts"])
    return report


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=WEIGHTS)
    parser.add_argument("--each", type=int, default=EACH)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    report = evaluate(options.model, options.each)
    (options.model / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")
    (options.model / "README.md").write_text(card.render(options.model))


if __name__ == "__main__":
    main()
