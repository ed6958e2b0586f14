"""What a caller asks for when creating a fine-tune."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field

from cluster.errors import InvalidRequest
from cluster.jobs.spec import TrainingSpec

SUFFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_METADATA = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
MAX_IDEMPOTENCY_KEY = 255


@dataclass(frozen=True)
class JobRequest:
    """Names as the caller wrote them. `check` looks at what needs no database."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    spec: TrainingSpec = field(default_factory=TrainingSpec)
    metadata: dict[str, str] | None = None
    idempotency_key: str | None = None

    def check(self) -> None:
        """Raises InvalidRequest."""
        if self.suffix is not None and not SUFFIX.fullmatch(self.suffix):
            raise InvalidRequest(
                f"suffix is {self.suffix[:80]!r}; allowed are 1 to 64 letters, digits, - and _.",
                param="suffix",
            )
        if self.idempotency_key is not None:
            size = len(self.idempotency_key)
            if not 1 <= size <= MAX_IDEMPOTENCY_KEY:
                raise InvalidRequest(
                    f"The Idempotency-Key has {size} characters; allowed are 1 to "
                    f"{MAX_IDEMPOTENCY_KEY}.",
                    param="Idempotency-Key",
                )
        metadata = self.metadata or {}
        if len(metadata) > MAX_METADATA:
            raise InvalidRequest(
                f"metadata has {len(metadata)} keys; at most {MAX_METADATA} are allowed.",
                param="metadata",
            )
        for key, value in metadata.items():
            if len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
                raise InvalidRequest(
                    f"metadata[{key[:40]!r}] is too long; a key has at most {MAX_METADATA_KEY} "
                    f"characters, a value {MAX_METADATA_VALUE}.",
                    param="metadata",
                )

    def digest(self) -> str:
        """Equal for equal requests, whatever their idempotency key."""
        body = [
            self.model,
            self.training_file,
            self.validation_file,
            self.suffix,
            self.spec.model_dump(mode="json"),
            self.metadata,
        ]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
