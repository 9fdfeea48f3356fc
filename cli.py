"""What every script shares: errors a user can act on, atomic files, a progress bar."""

import contextlib
import csv
import difflib
import functools
import io
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

bars = True  # whether `progress` may show them


class UserError(ValueError):
    """A mistake a user can mend; the message names the thing, the value and the way out."""


def suggest(text, options):
    """ "did you mean 'X'? " for the one of `options` that is most like `text`, "" if none is."""
    names = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(text).lower(), names, n=1)
    return f"did you mean '{names[close[0]]}'? " if close else ""


def run(main):
    """Call `main()` and exit with its status: 2 and one line for a `UserError`, 130 on Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ours from here, not `startup`'s
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except BrokenPipeError:  # who reads our output has seen enough, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        print(f"error: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted: no finished file was changed", file=sys.stderr)
        status = 130
    sys.exit(status)


@functools.cache
def warn(message):
    """Print what a user should know and need not mend; the same message only once in a program."""
    print(f"warning: {message}", file=sys.stderr)


def check_folder(path):
    """Make the folder `path` if need be, and raise `UserError` now if no file can be put there."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}; choose another folder")


def write_atomic(path, content):
    """Write `content` (str or bytes) to `path` so that a reader sees the old file or the new one.

    Creates the folder. Raises `UserError` where the file system refuses.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            # mkstemp makes the file private; give it what a plain open() would have given.
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose a folder you may write to")


def natural_key(text):
    """A sort key by which numbers in `text` count as people count: 2 comes before 10."""
    parts = re.split("([0-9]+)", text)
    parts[1::2] = [(len(digits), digits) for digits in (part.lstrip("0") for part in parts[1::2])]
    return parts, text


def csv_text(rows):
    """A list of dicts as CSV text with a header line; what a row lacks stays empty."""
    text = io.StringIO()
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def progress(iterable, **options):
    """A tqdm bar on standard error when that is a terminal, otherwise just the iterable."""
    if not (bars and sys.stderr.isatty()):
        return iterable
    from tqdm import tqdm  # here: make asks this module, also before packages are installed

    return tqdm(iterable, leave=False, **options)


@contextlib.contextmanager
def alone(path, option):
    """Inside, no other program that asks for `path` gets in: it raises a `UserError`.

    option: the argument that names `path`, for the message. The lock lies on PATH.lock; the system
    frees it however the program ends. Windows has no such lock: there, nothing is refused.
    """
    if fcntl is None:
        yield
        return
    lock = Path(f"{path}.lock")
    check_folder(lock.parent)
    with contextlib.ExitStack() as stack:
        while True:
            file = stack.enter_context(lock.open("a+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise UserError(
                    f"{path} is being written by another run (process {file.read() or 'unknown'}); "
                    f"wait for its end, or name another with {option}"
                )
            # Who had it before may have removed the file between our two calls.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                    break
        stack.callback(lock.unlink)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
