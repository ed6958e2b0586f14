"""An adapter's folder in PEFT's layout, read without trusting it.

Only `adapter_config.json` and `adapter_model.safetensors` are opened; weights in a pickle are
refused unread. What the engine could not load is refused here, with a sentence that says why.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.catalog.base_models import BaseModel
from cluster.catalog.module_rules import BadPattern, ModuleRules
from cluster.catalog.peft_files import CONFIG, WEIGHTS
from cluster.catalog.tensors import FLOATS, Tensor, Unreadable, tensors
from cluster.errors import InvalidRequest

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MAX_WEIGHTS_BYTES = 4 * 2**30
LARGEST = 1e6
"""Of the norm of what an adapter adds to a layer's weight, and of each thing that it is made of.

One that overflows spoils the KV cache that all requests share. Activations are normalised before
each layer: with an update up to here they stay far from the largest number of bfloat16.
"""

_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_UNSUPPORTED = ("use_dora", "lora_bias", "layer_replication", "modules_to_save", "use_qalora")


@dataclass(frozen=True)
class AdapterFolder:
    """What a checked adapter is made of."""

    rank: int
    target_modules: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class _Side:
    """What is kept of a module's lora_A or lora_B."""

    shape: tuple[int, ...]
    norm: float


def inspect(folder: Path, base: BaseModel) -> AdapterFolder:
    """Check that the engine of `base` can load the adapter in `folder`.

    Raises InvalidRequest with the first thing that is wrong with it.
    """
    if base.max_rank < 1:
        raise InvalidRequest(f"{base.name!r} takes no adapters.", param="base_model")
    weights = folder / WEIGHTS
    if not weights.is_file():
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            raise _wrong(
                f"{pickles[0]} holds pickled weights, which can run code when they are loaded. "
                "Save the adapter as safetensors (PEFT: save_pretrained(..., "
                "safe_serialization=True)).",
                "unsafe_weights",
            )
        raise _wrong(f"{WEIGHTS} is missing.", "adapter_incomplete")
    config = _config(folder / CONFIG)
    rank = _rank(config, base)
    _base(config, base)
    size = weights.stat().st_size
    if size > MAX_WEIGHTS_BYTES:
        raise _wrong(f"{WEIGHTS} has {size} bytes; at most {MAX_WEIGHTS_BYTES} are taken.")
    modules = _weights(weights, config, base)
    return AdapterFolder(rank, tuple(sorted({m.rsplit(".", 1)[-1] for m in modules})), size)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _wrong(f"{CONFIG} is missing.", "adapter_incomplete") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number without end
        raise _wrong(f"{CONFIG} is not JSON: {error}.") from error
    if not isinstance(config, dict):
        raise _wrong(f"{CONFIG} must hold a JSON object.")
    if config.get("peft_type") != "LORA":
        raise _wrong(f"{CONFIG}: peft_type is {config.get('peft_type')!r}; only 'LORA' is served.")
    for field in _UNSUPPORTED:
        if config.get(field):
            raise _wrong(f"{CONFIG}: {field} is set, which the serving engine does not support.")
    targets = config.get("target_modules")
    names = targets if isinstance(targets, list) else [targets]
    if not targets or not all(isinstance(name, str) for name in names):
        raise _wrong(f"{CONFIG}: target_modules is {targets!r}; it must name the modules.")
    if config.get("bias", "none") != "none":
        raise _wrong(f"{CONFIG}: bias is {config['bias']!r}; only 'none' is served.")
    for field, alpha in _everywhere(config, "lora_alpha", "alpha_pattern").items():
        if not _is_positive(alpha):
            raise _wrong(f"{CONFIG}: {field} is {_shown(alpha)}; it must be a number over 0.")
    return config


def _rank(config: dict[str, Any], base: BaseModel) -> int:
    ranks = _everywhere(config, "r", "rank_pattern")
    for field, rank in ranks.items():
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise _wrong(
                f"{CONFIG}: {field} is {_shown(rank)}; it must be a whole number of at least 1."
            )
        if rank > base.max_rank:
            raise _wrong(
                f"{CONFIG}: {field} is {_shown(rank)}; the engine of {base.name!r} takes ranks up "
                f"to {base.max_rank}.",
                "adapter_rank_too_high",
            )
    highest: int = max(ranks.values())
    return highest


def _everywhere(config: dict[str, Any], field: str, pattern: str) -> dict[str, Any]:
    """The values of `field` and of those that `pattern` has for single modules, by their names."""
    modules = config.get(pattern) or {}
    if not isinstance(modules, dict):
        raise _wrong(f"{CONFIG}: {pattern} must be an object.")
    single = {f"{pattern}[{_shown(module)}]": value for module, value in modules.items()}
    return {field: config.get(field), **single}


def _is_positive(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return value > 0 and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _shown(value: object) -> str:
    """The value in a sentence, which stays one however long the value is."""
    return repr(value)[:100]


def _base(config: dict[str, Any], base: BaseModel) -> None:
    named = config.get("base_model_name_or_path")
    # A folder's path says where somebody kept the base, not which model it is: the shapes decide.
    if not isinstance(named, str) or not named or named.startswith((".", "/", "~")):
        return
    known = {_last_part(name) for name in (base.name, base.source, *base.aliases)}
    if _last_part(named) not in known:
        raise _wrong(
            f"{CONFIG}: the adapter was made for {named!r}, not for {base.name!r}.",
            "adapter_base_mismatch",
        )


def _last_part(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _weights(path: Path, config: dict[str, Any], base: BaseModel) -> set[str]:
    sides: dict[str, dict[str, _Side]] = {}
    try:
        for tensor in tensors(path):
            match = _TENSOR.fullmatch(tensor.name)
            if match is None:
                raise _wrong(
                    f"{WEIGHTS}: {tensor.name!r} is not a LoRA weight that the engine knows."
                )
            sides.setdefault(match["module"], {})[match["side"]] = _side(tensor)
    except Unreadable as error:
        raise _wrong(f"{WEIGHTS} is not a whole safetensors file: {error}.") from error
    if not sides:
        raise _wrong(f"{WEIGHTS} holds no tensors.")
    try:
        rules = ModuleRules(config)
        for module, pair in sides.items():
            _module(module, pair, rules, base)
    except BadPattern as error:
        raise _wrong(f"{CONFIG}: {error}.") from error
    return set(sides)


def _side(tensor: Tensor) -> _Side:
    if tensor.dtype not in FLOATS:
        allowed = ", ".join(FLOATS)
        raise _wrong(f"{WEIGHTS}: {tensor.name!r} is {tensor.dtype}; allowed are {allowed}.")
    norm = tensor.norm()
    if not math.isfinite(norm):
        raise _wrong(f"{WEIGHTS}: {tensor.name!r} holds NaN or infinity.", "adapter_not_finite")
    return _Side(tensor.shape, norm)


def _module(module: str, pair: dict[str, _Side], rules: ModuleRules, base: BaseModel) -> None:
    modules = base.modules or {}
    if module not in modules:
        raise _wrong(
            f"{WEIGHTS}: {base.name!r} has no linear layer {module!r} "
            f"(it has: {', '.join(base.target_modules)}).",
            "adapter_target_modules",
        )
    if pair.keys() != {"A", "B"}:
        raise _wrong(f"{WEIGHTS}: {module!r} lacks one of lora_A and lora_B.")
    if not rules.targets(module):
        raise _wrong(
            f"{WEIGHTS} has weights of {module!r}, which is none of {CONFIG}'s target_modules.",
            "adapter_target_modules",
        )
    (out, into), rank = modules[module], rules.rank(module)
    first, second = pair["A"], pair["B"]
    if first.shape != (rank, into) or second.shape != (out, rank):
        raise _wrong(
            f"{WEIGHTS}: {module!r} has lora_A {list(first.shape)} and lora_B "
            f"{list(second.shape)}; {base.name!r} needs [r, {into}] and [{out}, r], and r is "
            f"{rank} by {CONFIG}.",
            "adapter_shape_mismatch",
        )
    scaling = rules.scaling(module)
    sizes = {
        "lora_A": first.norm,
        "lora_B": second.norm,
        # Alone too: the engine multiplies lora_B by it first, and zero by infinity is NaN.
        "scaling (lora_alpha by r)": scaling,
        "update (lora_B x lora_A x scaling)": scaling * first.norm * second.norm,
    }
    for what, size in sizes.items():
        if not size <= LARGEST:
            raise _wrong(
                f"The {what} of {module!r} has the size {size:.3g}; at most {LARGEST:g} is taken, "
                "since a larger one can overflow in the engine.",
                "adapter_overflow",
            )


def _wrong(message: str, code: str = "invalid_adapter") -> InvalidRequest:
    return InvalidRequest(message, param="files", code=code)
