"""The copying circuit copies before any training."""

import pytest
import torch

from train.budgie import architecture, circuit, tokenizer

pytestmark = pytest.mark.slow


def test_copies_repeated_random_tokens() -> None:
    model = architecture.create(tokenizer.learn([], size=0), layers=2)
    generator = torch.Generator().manual_seed(1)
    model.resize_token_embeddings(1024)
    embeddings = torch.randn(1024, circuit.width(model), generator=generator)
    circuit.install(model, embeddings, generator)
    block = torch.randint(8, 1024, (30,), generator=generator)
    ids = block.repeat(4)[None]
    with torch.inference_mode():
        guessed = model(input_ids=ids).logits.argmax(-1)[0, 31:-1]
    assert (guessed == ids[0, 32:]).float().mean() > 0.8
