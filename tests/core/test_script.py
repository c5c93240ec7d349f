"""Scripts are loaded once under one stable name; models may name only what this home has run."""

from __future__ import annotations

import sys

import pytest

from lineshaft.core import script
from lineshaft.errors import Refused, UsageError

SOURCE = """
import script_helper
ran = []

def head(width):
    return width * script_helper.FACTOR

class Net:
    class Inner:
        pass

def main(run):
    ran.append(run)

local = (lambda: (lambda x: x))()
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(script, "_allowed", {})
    before = set(sys.modules)
    (tmp_path / "my-script.py").write_text(SOURCE)
    (tmp_path / "script_helper.py").write_text("FACTOR = 2\n")
    yield tmp_path / "my-script.py"
    for name in set(sys.modules) - before:
        if name.startswith((script.PREFIX, "script_helper")):
            del sys.modules[name]


def test_a_script_has_one_stable_name_and_main_never_runs(path):
    module = script.load(path)
    assert module.__name__ == "lineshaft_script_my_script"
    assert module.head(3) == 6
    assert module.ran == []
    assert script.load(path) is module


def test_a_missing_script_is_refused(path):
    with pytest.raises(UsageError, match="no script"):
        script.load(path.with_name("other.py"))


def test_two_scripts_of_one_name_are_refused(path, tmp_path):
    script.load(path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my-script.py").write_text("")
    with pytest.raises(UsageError, match=r"two scripts are called my-script\.py"):
        script.load(tmp_path / "sub" / "my-script.py")


def test_a_script_that_fails_is_not_half_loaded(path):
    path.write_text("x = 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        script.load(path)
    assert script.module_name(path) not in sys.modules


@pytest.mark.parametrize("name", ["head", "Net", "Net.Inner"])
def test_a_reference_leads_back_to_the_value(path, name):
    module = script.load(path)
    value = module
    for part in name.split("."):
        value = getattr(value, part)
    reference = script.reference(value)
    assert reference == {"module": "lineshaft_script_my_script", "qualname": name}
    del sys.modules["lineshaft_script_my_script"]
    assert script.resolve(**reference).__qualname__ == name


def test_what_has_no_place_of_its_own_cannot_be_referred_to(path):
    with pytest.raises(UsageError, match="no place of its own"):
        script.reference(script.load(path).local)


def test_code_that_no_run_has_used_is_refused():
    with pytest.raises(Refused, match="'os', which no run of this home has used"):
        script.resolve("os", "system")


def test_a_name_that_is_gone_is_refused(path):
    script.load(path)
    with pytest.raises(Refused, match=r"old is no longer defined in my-script\.py"):
        script.resolve("lineshaft_script_my_script", "old")


def test_a_library_function_is_referred_to_but_not_allowed():
    import json

    assert script.reference(json.dumps) == {"module": "json", "qualname": "dumps"}
    assert "json" not in script.allowed()
