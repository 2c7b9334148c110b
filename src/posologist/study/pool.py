"""Work that is divided among processes, each with its linear algebra in one thread."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra in one thread, so that the numbers do not hang on the machine's cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


@contextmanager
def pool(processes: int, begin: Callable[..., None] | None = None, given: tuple[Any, ...] = ()) -> Iterator[Executor]:
    """Fresh processes; `begin` is called in each of them with `given`."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # read by a new process when it loads its libraries
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, initializer=begin, initargs=given) as found:
            yield found
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def each(work: Callable[[T], R], jobs: Sequence[T], processes: int, told: Callable[[int, int], None]) -> list[R]:
    """Results of all jobs, in their order; `told` is called with how many are done, and of how many."""
    told(0, len(jobs))
    found: list[R | None] = [None] * len(jobs)
    if processes == 1:
        for k, job in enumerate(jobs):
            found[k] = in_one_thread(work, job)
            told(k + 1, len(jobs))
    else:
        with pool(processes) as workers:
            waiting = {workers.submit(in_one_thread, work, job): k for k, job in enumerate(jobs)}
            for done, future in enumerate(as_completed(waiting), start=1):
                found[waiting[future]] = future.result()
                told(done, len(jobs))
    return [result for result in found if result is not None]


def in_one_thread(work: Callable[[T], R], job: T) -> R:
    """One job, with linear algebra in one thread."""
    with one_thread():
        return work(job)
