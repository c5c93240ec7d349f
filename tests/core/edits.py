"""Scripts before and after an edit: what the fingerprint tests load."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from lineshaft.core import script
from lineshaft.core.fingerprint import Fingerprint, fingerprint


def write(folder: Path, **files: str) -> None:
    """Write ``name.py`` for every keyword; ``a__b`` stands for ``a/b.py``."""
    for name, content in files.items():
        path = folder / (name.replace("__", "/", 1) + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))


def named(folder: Path, what: str = "f", entry: str = "main_script") -> Fingerprint:
    """Load the script afresh, as a new process would, and name one of its values."""
    path = folder / f"{entry}.py"
    before = set(sys.modules)
    sys.path_importer_cache.clear()
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # an edit within a second would be overlooked
    try:
        return fingerprint(getattr(script.load(path), what), what)
    finally:
        sys.dont_write_bytecode = bytecode
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
        for name in [name for name in sys.modules if name == script.module_name(path)]:
            del sys.modules[name]
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def digest(folder: Path, source: str, what: str = "f", **helpers: str) -> str:
    write(folder, main_script=source, **helpers)
    return named(folder, what).digest


def elsewhere(folder: Path, code: str, seed: str = "0", *flags: str, entry: str = "main_script") -> str:
    """Run code in a fresh process that has loaded the script as ``m``; return what it printed."""
    preamble = f"""
        from lineshaft.core import script
        from lineshaft.core.fingerprint import fingerprint
        m = script.load({str(folder / entry) + ".py"!r})
    """
    program = textwrap.dedent(preamble) + textwrap.dedent(code)
    environment = {"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *flags, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
