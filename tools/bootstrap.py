"""Make the project ready to run: a virtual environment, torch for this machine, lineshaft, the demo's data.

Uses the standard library alone, so that it runs before anything is installed. Running it again when nothing
changed does nothing. ``LINESHAFT_TORCH`` picks another torch build (``auto``, ``cu130``, ...); default ``cpu``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "lineshaft.ready"
INGREDIENTS = ["pyproject.toml", "constraints.txt", "tools/bootstrap.py", "tools/data.txt"]


def main() -> None:
    """Bring ``.venv`` to the state that the project's files describe."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"lineshaft needs Python 3.11 to 3.13, this is {sys.version.split()[0]}; run me with one of those")
    wanted = fingerprint()
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    print(f"setting up {VENV} ...", flush=True)
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    run("install uv", PYTHON, "-m", "pip", "install", "--quiet", f"uv=={pin('uv')}")
    install_torch(pin("torch"))
    run("install lineshaft", *uv(), "--editable", ".[dev]", "--constraint", "constraints.txt")
    run("install the demo's data", *uv(), "--no-deps", "--requirement", "tools/data.txt")
    STAMP.write_text(wanted, encoding="utf-8")
    print("ready", flush=True)


def fingerprint() -> str:
    """Name the set-up by the bytes of the files it is made from."""
    parts = [hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in INGREDIENTS]
    return " ".join([sys.version.split()[0], os.environ.get("LINESHAFT_TORCH", "cpu"), *parts])


def pin(name: str) -> str:
    """Return the version that constraints.txt gives ``name``."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.split("==")[0].strip() == name:
            return line.split("==")[1].split(";")[0].strip()
    sys.exit(f"constraints.txt has no line '{name}==...'; add one")


def uv() -> list[str]:
    """Return the start of a uv install into the environment, bytecode compiled so that start-up is quick."""
    return [str(BIN / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON), "--compile-bytecode"]


def install_torch(version: str) -> None:
    """Install torch before anything can pull another build of it in: a local CPU wheel first, else the CPU index."""
    build = os.environ.get("LINESHAFT_TORCH", "cpu")
    tag = f"cp{sysconfig.get_config_var('py_version_nodot')}"
    for folder in wheel_folders():
        if build == "cpu" and any(folder.glob(f"torch-{version}+cpu-{tag}*.whl")):
            run("install torch", *uv(), "--find-links", str(folder), f"torch=={version}+cpu")
            return
    run("install torch", *uv(), "--torch-backend", build, f"torch=={version}")


def wheel_folders() -> list[Path]:
    """Return the local folders of wheels that pip is configured with; uv does not read pip's configuration."""
    asked = [PYTHON, "-m", "pip", "config", "get", "global.find-links"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    words = [*os.environ.get("PIP_FIND_LINKS", "").split(), *(found.stdout.split() if found.returncode == 0 else [])]
    return [Path(word) for word in words if Path(word).is_dir()]


def run(what: str, *command: str | Path) -> None:
    """Run one step; on failure say which step it was, how to see it again, and stop."""
    words = [str(word) for word in command]
    if subprocess.run(words, cwd=ROOT, check=False).returncode:
        said = " ".join(words)
        sys.exit(f"could not {what}: it failed, see above:\n  {said}\nCan the index be reached? Is the disk full?")


if __name__ == "__main__":
    main()
