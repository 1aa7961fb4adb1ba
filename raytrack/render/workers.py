"""Runs a kernel's chunks on a few threads."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Workers:
    """A few threads (the caller's is one of them) that share out numbered chunks.

    Which thread runs which chunk is left to chance: chunks must not add to the same memory.
    """

    def __init__(self, num_threads: int) -> None:
        if num_threads < 1:
            raise ValueError(f"num_threads: expected at least 1, got {num_threads}")
        self.num_threads = num_threads
        self._pool: ThreadPoolExecutor | None = None

    def run(self, job: Callable[[int, int], None], num_chunks: int) -> None:
        """Call `job(first, last)` over ranges that together are 0 to `num_chunks`."""
        helpers = min(self.num_threads, num_chunks) - 1
        if helpers < 1:
            job(0, num_chunks)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_threads - 1, thread_name_prefix="raytrack-render")
        chunks = itertools.count()

        def work() -> None:
            while (chunk := next(chunks)) < num_chunks:
                job(chunk, chunk + 1)

        pending = [self._pool.submit(work) for _ in range(helpers)]
        work()
        for future in pending:
            future.result()

    def __getstate__(self) -> dict[str, int]:
        return {"num_threads": self.num_threads}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["num_threads"])
