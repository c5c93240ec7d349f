"""Verification stays light: it runs without torch, pandas and polars."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["schema", "infer", "check", "quarantine", "rowcheck", "statistics.onepass"])
def test_no_heavy_library_is_loaded(module):
    code = (
        f"import sys, lineshaft.verify.{module}; print([m for m in ('torch', 'pandas', 'polars') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
