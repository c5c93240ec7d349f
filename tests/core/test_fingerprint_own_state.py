"""lineshaft's own code is named by what it does, not by what it has done so far in this process."""

import os
import subprocess
import sys

import pytest

NAMES = """
from lineshaft.collect.sources.functions import FunctionSource
from lineshaft.core.durable import write_atomic
from lineshaft.core.fingerprint import fingerprint
from lineshaft.run.jobs import vote
from lineshaft.run.training import train
from lineshaft.train.features import Features
print([fingerprint(item).digest for item in (FunctionSource, Features, write_atomic, vote, train)])
"""
BUSY = {
    "a script was loaded": "from lineshaft.core import script\nscript.load('a_script.py')\n",
    "another was allowed": "from lineshaft.core import script\nscript.allow('somewhere', 'else.py')\n",
    "source was read": "from lineshaft.core.fingerprint import fingerprint\nimport json.decoder as d, helper\n"
    "fingerprint(helper.help)\n",
    "files were written": "from pathlib import Path\nfrom lineshaft.core.durable import write_atomic\n"
    "write_atomic(Path('x'), b'x')\nwrite_atomic(Path('y'), b'y')\n",
    "somebody listens": "from lineshaft.core import events\nevents.listening(print).__enter__()\n",
}


def names(folder, before=""):
    environment = {**os.environ, "PYTHONPATH": str(folder), "LINESHAFT_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-c", before + NAMES], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("idle")
    return names(folder)


@pytest.mark.parametrize("what", BUSY)
def test_own_code_keeps_its_name_whatever_the_process_has_done(tmp_path, idle, what):
    (tmp_path / "a_script.py").write_text("def main(run):\n    pass\n")
    (tmp_path / "helper.py").write_text("def help():\n    return 1\n")
    assert names(tmp_path, BUSY[what]) == idle
