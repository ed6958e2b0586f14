"""Every error a caller may see, as one tree.

LorikeetError
├── ConfigurationError          500  wrong settings; the process does not start
├── InvalidRequest              400  ├── ContextTooLong
├── Unauthenticated             401
├── Forbidden                   403  ├── ModelNotAllowed
├── NotFound                    404  ├── ModelNotFound
├── MethodNotAllowed            405
├── Conflict                    409
├── TooLarge                    413
├── RateLimited                 429  ├── InsufficientQuota
├── Internal                    500
├── UpstreamFailed              502
├── Unavailable                 503
└── TimedOut                    504

Each class carries its HTTP status, its type and its code; usage rows keep the code.
A dialect renders them; nothing else does.
"""

from __future__ import annotations

from typing import ClassVar


class LorikeetError(Exception):
    """An error with a sentence for the caller.

    `param` names the offending field as the caller wrote it; `retry_after` is in seconds.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: str = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or type(self).code
        self.retry_after = retry_after
        self.details = details


class ConfigurationError(LorikeetError):
    code = "configuration_error"


class InvalidRequest(LorikeetError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class ContextTooLong(InvalidRequest):
    code = "context_length_exceeded"


class Unauthenticated(LorikeetError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(LorikeetError):
    status = 403
    type = "permission_error"
    code = "permission_denied"


class ModelNotAllowed(Forbidden):
    """The key's list of models lacks the name. Status and code are OpenAI's for a project that
    may not use a model."""

    code = "model_not_found"

    def __init__(self, model: str, *, param: str = "model") -> None:
        super().__init__(
            f"This key does not have access to the model {model[:200]!r}.", param=param
        )


class NotFound(LorikeetError):
    status = 404
    type = "not_found_error"
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"

    def __init__(self, model: str, *, param: str = "model") -> None:
        super().__init__(
            f"The model {model[:200]!r} does not exist or you do not have access to it.",
            param=param,
        )


class MethodNotAllowed(LorikeetError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class Conflict(LorikeetError):
    status = 409
    type = "invalid_request_error"
    code = "conflict"


class TooLarge(LorikeetError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class RateLimited(LorikeetError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class InsufficientQuota(RateLimited):
    """A budget is spent."""

    type = "insufficient_quota"
    code = "insufficient_quota"


class Internal(LorikeetError):
    pass


class UpstreamFailed(LorikeetError):
    status = 502
    type = "upstream_error"
    code = "upstream_error"


class Unavailable(LorikeetError):
    """An infrastructure fault: the same request may succeed in `retry_after` seconds."""

    status = 503
    code = "service_unavailable"

    def __init__(self, message: str, *, retry_after: float = 2.0, param: str | None = None) -> None:
        super().__init__(message, param=param, retry_after=retry_after)


class TimedOut(LorikeetError):
    status = 504
    code = "timeout"
