"""A prepared process: it has imported all that a run needs, and forks real ``lineshaft`` commands on request.

Importing torch costs seconds, a fork milliseconds. What is forked is a process of its own: its working folder,
environment, standard streams, catalog connections and script are its own, a SIGKILL kills it alone, and of lineshaft's
state it inherits nothing but loaded code.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 240  # seconds until a command that does not end is a failure


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (minus the signal that killed it) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out.splitlines()[-1])

    @property
    def killed(self):
        return self.code == -signal.SIGKILL


@dataclass
class Running:
    """A command that was started."""

    server: Prepared
    pid: int
    out: Path
    err: Path

    def kill(self, number=signal.SIGKILL):
        """Send a signal; the process is a zombie at worst, for only `wait` reaps it."""
        os.kill(self.pid, number)

    def wait(self, seconds=PATIENCE) -> Ended:
        deadline = time.monotonic() + seconds
        while (status := self.server.ask({"wait": self.pid})) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the command did not end in {seconds} s:\n{self.err.read_text()[-2000:]}")
            time.sleep(0.005)
        return Ended(os.waitstatus_to_exitcode(status), self.out.read_text(), self.err.read_text())


@dataclass
class Prepared:
    """The prepared process, seen from the tests."""

    scratch: Path
    commands: int = 0
    process: subprocess.Popen = field(init=False)

    def __post_init__(self):
        self.scratch.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LINESHAFT_", "MILL_"))}
        with (self.scratch / "server.err").open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(self.scratch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=said, text=True, env=kept | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n", (self.scratch / "server.err").read_text()

    def start(self, folder, *argv, **environment) -> Running:
        """Start ``lineshaft ARGV`` in a folder, whose ``home`` is its home unless the environment says otherwise."""
        self.commands += 1
        out, err = (self.scratch / f"{self.commands}.{name}" for name in ("out", "err"))
        out.touch()
        err.touch()
        given = {"LINESHAFT_HOME": str(folder / "home")} | {name: str(value) for name, value in environment.items()}
        ask = {"argv": [str(item) for item in argv], "folder": str(folder), "environment": given}
        return Running(self, self.ask(ask | {"out": str(out), "err": str(err)}), out, err)

    def call(self, folder, *argv, **environment) -> Ended:
        """Start a command and wait for its end."""
        return self.start(folder, *argv, **environment).wait()

    def mill(self, folder, **environment) -> Ended:
        """Run the job of a folder."""
        return self.call(folder, "run", "mill.py", "--json", **environment)

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        """End the prepared process, which ends what it has started."""
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def warm_up(folder: Path) -> None:
    """Run the whole job once under another name, so that every module and kernel is loaded; then forget the script."""
    import grain
    import torch

    import lineshaft as ls
    from lineshaft.core import script

    torch.set_num_threads(1)
    grain.fill(folder)
    (folder / "mill.py").rename(folder / "warm.py")
    with contextlib.redirect_stdout(sys.stderr):
        ls.run(folder / "warm.py", folder / "home")
    sys.modules.pop(script.module_name("warm.py"))
    sys.path.remove(str(folder))
    script._allowed.clear()


def fork(request) -> int:
    """Fork a command."""
    child = os.fork()
    if child:
        return child
    code = 70  # something went wrong before the command began
    try:
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(request["folder"])
        os.environ.update(request["environment"])
        if limit := os.environ.get("CRASH_FILE_LIMIT"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        sys.argv = ["lineshaft", *request["argv"]]
        from lineshaft.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def answer(request, children: set[int]):
    if "wait" not in request:
        children.add(child := fork(request))
        return child
    pid, status = os.waitpid(request["wait"], os.WNOHANG)
    children.discard(pid)
    return status if pid else None


if __name__ == "__main__":
    warm_up(Path(sys.argv[1]) / "warm")
    children: set[int] = set()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), children)), flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    sys.stdout.flush()
    os._exit(0)  # nothing is worth a tidy end of torch
