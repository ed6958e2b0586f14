"""Three attention heads start as a copying circuit, so that copying need not be discovered.

"A B ... A" is continued by "B" when one head notes at each token which token stood before it, and
a later head looks for the place whose noted token is the current one and repeats what stands there.
Training from random weights had not found these heads after 700,000 tokens, a fourth of what there
is time for; set by hand, they work from step one, and training goes on from them. No text and no
knowledge are in them: all projections are random.
"""

from typing import Final

import torch
from transformers import LlamaForCausalLM

EMBEDDING_STD: Final = 0.05
CONSTANT: Final = 0.25
"""Value of dimension 0 of every embedding: what a head reads that attends by place alone."""
NOTED: Final = 40
"""Dimensions of the note about the token before; they are the last of the residual stream."""
PLACE_PAIRS: Final = 8
"""Fast rotary pairs that tell the neighbour from the tokens farther away."""
PLACE_SHARPNESS: Final = 9.0
"""By how much the neighbour's score exceeds that of the next best place, in nats."""
MATCH_SHARPNESS: Final = 22.0
"""Score of a matching note, in nats."""
COPY_GAIN: Final = 0.15
COPY_HEADS: Final = 2


def width(model: LlamaForCausalLM) -> int:
    """Dimensions of the stream that tell tokens apart."""
    return int(model.config.hidden_size) - 1 - NOTED


@torch.no_grad()
def install(model: LlamaForCausalLM, embeddings: torch.Tensor, generator: torch.Generator) -> None:
    """Sets the embedding and the first two layers' heads; all else adds nothing to the stream.

    ``embeddings`` are rows of mean square 1 for the tokens, [vocabulary, ``width(model)``].
    """
    hidden, head = model.config.hidden_size, model.config.head_dim
    content = width(model)
    table = model.model.embed_tokens.weight
    table.zero_()
    table[:, 0] = CONSTANT
    table[:, 1 : 1 + content] = EMBEDDING_STD * embeddings
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()

    # After the norm of layer 0 the stream has rms 1: this is what its parts are then worth.
    rms = ((CONSTANT**2 + content * EMBEDDING_STD**2) / hidden) ** 0.5
    angles = model.model.rotary_emb.inv_freq[:PLACE_PAIRS].double()
    slow = torch.arange(head // 2 - NOTED // 2, head // 2)
    slots = torch.cat((slow, slow + head // 2))
    basis = torch.linalg.qr(torch.randn(content, content, generator=generator))[0]
    note = basis[:NOTED]

    # Layer 0, head 0: attends to the token before, by place alone, and notes its projection.
    first = model.model.layers[0].self_attn
    gap = float((1 - angles.cos()).sum())
    size = (PLACE_SHARPNESS * head**0.5 / gap) ** 0.5 / (CONSTANT / rms)
    query, key = first.q_proj.weight[:head], first.k_proj.weight[:head]
    query.zero_()
    key.zero_()
    query[:PLACE_PAIRS, 0] = size
    key[:PLACE_PAIRS, 0] = size * angles.cos().float()
    key[head // 2 : head // 2 + PLACE_PAIRS, 0] = size * angles.sin().float()
    first.v_proj.weight[:head].zero_()
    first.v_proj.weight[:NOTED, 1 : 1 + content] = note
    # Twice as loud as the embedding itself.
    first.o_proj.weight[1 + content :, :NOTED] = 2 * rms * torch.eye(NOTED)

    # Layer 1: heads that look for the place whose note is the current token, and repeat it.
    second = model.model.layers[1].self_attn
    rms = (rms**2 + NOTED * (2 * EMBEDDING_STD) ** 2 / hidden) ** 0.5
    loudness = (EMBEDDING_STD / rms) * (2 * EMBEDDING_STD / rms) * NOTED
    size = (MATCH_SHARPNESS * head**0.5 / loudness) ** 0.5
    for number in range(COPY_HEADS):
        rows = slice(number * head, (number + 1) * head)
        query, key, value = (
            part.weight[rows] for part in (second.q_proj, second.k_proj, second.v_proj)
        )
        for part in (query, key, value):
            part.zero_()
        query[slots, 1 : 1 + content] = size * note
        key[slots, 1 + content :] = size * torch.eye(NOTED)
        part_of_content = basis[NOTED + number * head : NOTED + (number + 1) * head]
        value[:, 1 : 1 + content] = part_of_content
        second.o_proj.weight[1 : 1 + content, rows] = COPY_GAIN * part_of_content.T
