"""Where words for a person go, who may have stopped reading them."""

import os
from typing import TextIO


class Screen:
    """Writes to a stream at once; when that is closed (`| head`, a terminal that is gone), drops words from then on.

    Nobody reading is no reason to end a run.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._open = True

    def write(self, text: str) -> None:
        """Write and flush."""
        if not self._open:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._open = False
            self._drop_what_is_buffered()

    def _drop_what_is_buffered(self) -> None:
        """Let it go nowhere: Python flushes again when it ends, and would end with an error."""
        try:
            descriptor = self._stream.fileno()
        except OSError:  # not a file
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
