"""The caller's `metadata` of what is stored: pairs of texts, within OpenAI's bounds."""

from __future__ import annotations

from cluster.errors import InvalidRequest

MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512


def labels(given: object) -> dict[str, str]:
    """Raises InvalidRequest, which names the pair, for what is not within the bounds."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidRequest("metadata must be an object.", param="metadata")
    if len(given) > MAX_PAIRS:
        raise InvalidRequest(
            f"metadata has {len(given)} pairs; at most {MAX_PAIRS} are taken.", param="metadata"
        )
    for key, value in given.items():
        if len(key) > MAX_KEY:
            raise InvalidRequest(
                f"metadata has a key of {len(key)} characters; at most {MAX_KEY} are taken.",
                param="metadata",
            )
        if not isinstance(value, str):
            raise InvalidRequest(
                f"metadata.{key} must be a string, not {type(value).__name__}.",
                param=f"metadata.{key}",
            )
        if len(value) > MAX_VALUE:
            raise InvalidRequest(
                f"metadata.{key} has {len(value)} characters; at most {MAX_VALUE} are taken.",
                param=f"metadata.{key}",
            )
        if "\0" in key + value:
            raise InvalidRequest(
                "metadata holds a NUL character, which no store keeps.", param="metadata"
            )
    return dict(given)
