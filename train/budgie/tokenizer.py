"""The byte-level BPE tokenizer: learned from the generated text, every byte in its vocabulary."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from train.budgie.dialog import Dialog

VOCABULARY: Final = 1024
"""Small, so that each token is short and frequent enough for its letters to be learned."""
CONTEXT: Final = 2048
"""The longest prompt with its answer, in tokens."""

PAD: Final = "<|pad|>"
END: Final = "<|end|>"
"""Ends every turn and every piece of prose: the eos token."""
ASSISTANT: Final = "<|assistant|>"
SPECIAL: Final = (PAD, END, "<|system|>", "<|user|>", ASSISTANT, "<|tool|>")
VISIBLE: Final = ("<tool_call>", "</tool_call>")
"""Single tokens that stay in the decoded text, where vLLM's hermes parser looks for them."""

# Digits stand alone, so that numbers are read and written the same way at any length; so do the
# letters of a word in capitals, which then is its lower-case form spelled out.
_SPLIT: Final = r" ?\p{Lu}?[\p{L}&&[^\p{Lu}]]+| ?\p{Lu}| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

TEMPLATE: Final = Path(__file__).with_name("chat_template.jinja")


def learn(texts: Iterable[str], size: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """A tokenizer of ``size`` entries learned from rendered documents."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL, *VISIBLE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in VISIBLE])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=list(SPECIAL[2:]),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE.read_text(),
    )


def render(dialog: Dialog, tokenizer: PreTrainedTokenizerFast) -> str:
    """The document as the text that the model is trained on."""
    if not dialog.messages:
        return dialog.text + END
    text = tokenizer.apply_chat_template(
        list(dialog.messages), tools=list(dialog.tools) or None, tokenize=False
    )
    assert isinstance(text, str)
    return text
