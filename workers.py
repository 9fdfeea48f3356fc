"""Work spread over processes, none of which outlives the one that started them."""

import contextlib
import os
import signal
import threading
import time

import joblib

import cli

POLL = 1  # seconds between two looks at the parent


def run(function, cases, jobs, ordered=True):
    """Yields function(*case) for each of `cases`, `jobs` at a time; as they end if not `ordered`.

    With one job they run in this process. NumPy and PyTorch use one thread in each process.
    """
    kind = "generator" if ordered else "generator_unordered"
    start = {"initializer": _begin, "initargs": (os.getpid(),)}
    with joblib.parallel_config("loky", inner_max_num_threads=1, **start):
        parallel = joblib.Parallel(jobs, return_as=kind, batch_size=1)
        calls = [joblib.delayed(function)(*case) for case in cases]
        with _interrupts_ignored():  # which processes started here inherit, until `_begin`
            results = parallel(calls)
        yield from results


@contextlib.contextmanager
def _interrupts_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(parent):
    """In a new process: it ends with the process `parent`, and leaves Ctrl-C and bars to it."""

    def watch():
        while os.getppid() == parent:
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    # No longer ignored: what this process starts in turn, as a compiler, would inherit that.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    cli.bars = False
