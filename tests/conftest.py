"""Fixtures that every stage's tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start shall hear an interrupt

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser):
    parser.addoption("--whole", action="store_true", help="run the crash matrix in full instead of a bounded sample")


def pytest_make_parametrize_id(val):
    """Name values whose text holds an address by their type: workers must agree on the names of tests."""
    return type(val).__name__ if " at 0x" in repr(val) else None


@pytest.fixture
def whole(request):
    return request.config.getoption("--whole")


@pytest.fixture(scope="session")
def shared():
    if not (SHARED / "data").is_dir():
        pytest.skip("the reference data that lies beside the project is not here")
    return SHARED


@pytest.fixture
def home(tmp_path, monkeypatch):
    from lineshaft.core.home import Home

    monkeypatch.setenv("LINESHAFT_HOME", str(tmp_path / "home"))
    return Home()
