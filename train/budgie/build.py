"""Builds the model from nothing: ``python -m train.budgie.build --out DIR --seed 7 --steps 5000``.

The same seed, steps and library versions give the same text, batches and schedule.
"""

import argparse
import hashlib
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from train.budgie import architecture, circuit, corpus, letters, tokenizer
from train.budgie.packing import Batch, Marks, batches

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the outcome, with the architecture and the corpus."""

    seed: int = 7
    steps: int = 5000
    documents: int = 250_000
    """Dialogs in one epoch; later epochs see the same ones in another order."""
    vocabulary_documents: int = 30_000
    """How many of them the tokenizer learns from."""
    batch_tokens: int = 2048
    short: int = 256
    long: int = 1024
    long_share: float = 0.08
    """Share of the documents in long rows, so that far positions are not new."""
    matrix_lr: float = 3e-3
    """Peak rate of Muon, which moves the matrices of the layers."""
    vector_lr: float = 2e-3
    """Peak rate of AdamW, which moves the embedding and the norms."""
    warmup: int = 60
    layers: int = architecture.LAYERS


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(
            matrices, lr=recipe.matrix_lr, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            others, lr=recipe.vector_lr, weight_decay=0.0, betas=(0.9, 0.95), fused=True
        ),
    ]


def schedule(step: int, recipe: Recipe) -> float:
    """The share of the peak learning rate at a step: linear warm-up, then a cosine down to 1 %."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """The weighted mean of the next-token losses, a scalar."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=batch.ids, use_cache=False).logits
    weights = batch.weights[:, 1:].reshape(-1)
    # Places without weight are left out before the softmax over the vocabulary.
    at = weights.nonzero().squeeze(1)
    losses = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1)[at].float(), batch.ids[:, 1:].reshape(-1)[at], reduction="none"
    )
    return (losses * weights[at]).sum() / weights.sum()


def fit(
    model: LlamaForCausalLM, documents: Sequence[Sequence[int]], marks: Marks, recipe: Recipe
) -> float:
    """Trains in place; returns the mean loss of the last fifty steps."""
    pair = optimizers(model, recipe)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in pair]
    losses: list[float] = []
    queue: list[Batch] = []
    started, epoch = time.monotonic(), 0
    model.train()
    for step in range(recipe.steps):
        if not queue:
            queue = batches(
                documents,
                marks,
                tokens=recipe.batch_tokens,
                short=recipe.short,
                long=recipe.long,
                long_share=recipe.long_share,
                seed=recipe.seed + epoch,
            )
            epoch += 1
        loss = loss_of(model, queue.pop())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, peak in zip(pair, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * schedule(step, recipe)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        if step % 20 == 19 or step + 1 == recipe.steps:
            recent, seconds = losses[-20:], time.monotonic() - started
            mean = sum(recent) / len(recent)
            log.info("step %d/%d loss %.4f %.0f s", step + 1, recipe.steps, mean, seconds)
    last = losses[-50:]
    return sum(last) / len(last)


def marks_of(text_tokenizer: PreTrainedTokenizerFast) -> Marks:
    """The ids of the tokens that open and close turns."""
    ids = text_tokenizer.convert_tokens_to_ids
    return Marks(
        pad=ids(tokenizer.PAD),
        assistant=ids(tokenizer.ASSISTANT),
        users=frozenset(ids(t) for t in tokenizer.SPECIAL[2:] if t != tokenizer.ASSISTANT),
    )


def build(out: Path, recipe: Recipe) -> dict[str, object]:
    """Generates, trains and writes the folder; returns what ``build.json`` says."""
    started = time.monotonic()
    torch.manual_seed(recipe.seed)
    dialogs = [dialog for _, dialog in islice(corpus.dialogs(recipe.seed), recipe.documents)]
    unlearned = tokenizer.learn([], size=0)
    texts = [tokenizer.render(dialog, unlearned) for dialog in dialogs]
    learned = tokenizer.learn(texts[: recipe.vocabulary_documents])
    documents = [encoding.ids for encoding in learned.backend_tokenizer.encode_batch(texts)]
    model = architecture.create(learned, recipe.layers)
    generator = torch.Generator().manual_seed(recipe.seed)
    circuit.install(model, letters.embeddings(learned, circuit.width(model), generator), generator)
    count = architecture.parameters(model)
    tokens = sum(map(len, documents))
    log.info("%d documents, %d tokens, %d parameters", len(texts), tokens, count)
    final = fit(model, documents, marks_of(learned), recipe)
    model.to(torch.bfloat16).save_pretrained(out)
    learned.save_pretrained(out)
    report: dict[str, object] = {
        **asdict(recipe),
        "parameters": count,
        "documents_sha256": corpus.digest(dialogs),
        "document_tokens": tokens,
        "weights_sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "final_loss": round(final, 4),
        "wall_seconds": round(time.monotonic() - started),
        "threads": torch.get_num_threads(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    (out / "build.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--documents", type=int, default=Recipe().documents)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(options.out, Recipe(seed=options.seed, steps=options.steps, documents=options.documents))


if __name__ == "__main__":
    main()
