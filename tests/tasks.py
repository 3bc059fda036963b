"""Tasks for worker processes, which find them by name."""

import gc
import os
import resource
import signal
import struct
import time
from multiprocessing.connection import Connection

from aecli.errors import DivergedError


class SlowToArrive:
    """Takes a second to be unpickled, as torch takes to be imported."""

    def __reduce__(self):
        return (time.sleep, (1.0,))


class KilledOnArrival:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return (_end_now, ())


def _end_now():
    os.kill(os.getpid(), signal.SIGKILL)


def work(shared, task):
    """Do what `task` names, with `shared` beside it."""
    match task:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die late":  # when all has been told that is told of a start
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave":
            os._exit(3)
        case "hang":
            time.sleep(600)
        case "diverge":
            raise DivergedError("training diverged")
        case "bug":
            raise KeyError("oops")
        case "hoard":
            size, _ = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, size))
            return len(bytearray(10**12))
        case "send SIGINT" | "send SIGHUP":
            os.kill(os.getpid(), getattr(signal, task.split()[1]))
        case "pid and hang":
            os.write(1, f"{os.getpid()}\n".encode())
            time.sleep(600)
        case "half an outcome":
            [parent] = (each for each in gc.get_objects() if isinstance(each, Connection))
            os.write(parent.fileno(), struct.pack("!i", 1000) + b"half")
            time.sleep(600)
    return shared, task, os.getpid()
