"""What all bodies of our own routes have in common."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Body(BaseModel):
    """A JSON object without unknown fields, whose texts are Unicode that a store can keep."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _unicode(cls, given: Any) -> Any:
        if isinstance(given, bytes):  # FastAPI reads no JSON of another content type
            raise ValueError("it must be JSON, sent with 'content-type: application/json'")
        try:
            written = json.dumps(given, ensure_ascii=False)
            written.encode()
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except UnicodeEncodeError:
            raise ValueError("a text holds half of a surrogate pair, which is no Unicode") from None
        # A backslash of the text itself is written as two.
        if "\\u0000" in written.replace("\\\\", ""):
            raise ValueError("a text holds a NUL character, which no store keeps")
        return given
