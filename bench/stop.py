"""Let SIGTERM end a benchmark the way Ctrl-C does, and let neither cut its clean-up short."""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Self


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Stop:
    """A stack of things to stop, the last started first; stops all of them whatever happens."""

    def __init__(self) -> None:
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        before = {
            number: signal.signal(number, signal.SIG_IGN)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            self.stack.close()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def later(self, action: Callable[[], object]) -> None:
        """Do this at the end."""
        self.stack.callback(action)
