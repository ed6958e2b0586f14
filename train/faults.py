"""Why a training can not succeed, whoever runs it and however often."""

from __future__ import annotations


class Unworkable(Exception):
    """The job's data or numbers can not work: the job fails with this sentence, without a retry.

    `param` names the request's field that would have to change.
    """

    def __init__(self, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def __reduce__(self) -> tuple[object, ...]:
        # An exception with keyword arguments does not survive pickling between processes.
        return _again, (self.code, self.message, self.param)


def _again(code: str, message: str, param: str | None) -> Unworkable:
    return Unworkable(code, message, param=param)
