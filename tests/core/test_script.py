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


def known_helper(folder, module):
    """A helper beside a script, as a later process knows it: by name and file alone."""
    file = folder / f"{module.replace('.', '/')}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text("def double(x):\n    return 2 * x\n")
    script.allow(module, str(file))
    return file


@pytest.mark.parametrize("module", ["script_helper", "script_helper_pkg.parts"])
def test_code_in_a_helper_beside_the_script_is_found_by_a_process_that_ran_no_script(path, module):
    file = known_helper(path.parent, module)
    assert str(path.parent) not in sys.path
    found = script.resolve(module, "double")
    assert found(4) == 8
    assert found.__module__ == module
    assert sys.modules[module].__file__ == str(file)


def test_a_package_itself_may_hold_the_code(path):
    folder = path.parent / "script_helper_pkg"
    folder.mkdir()
    (folder / "__init__.py").write_text("from script_helper_pkg.parts import double\n")
    known_helper(path.parent, "script_helper_pkg.parts")
    script.allow("script_helper_pkg", str(folder / "__init__.py"))
    assert script.resolve("script_helper_pkg", "double")(4) == 8


def test_a_helper_that_is_gone_is_refused_with_what_to_do(path):
    known_helper(path.parent, "script_helper").unlink()
    with pytest.raises(
        Refused, match=r"script_helper\.py, where the model's double is defined, cannot be loaded: .*put"
    ):
        script.resolve("script_helper", "double")


@pytest.mark.parametrize("text", ["import script_helper_that_is_gone\n", "def double(:\n"])
def test_a_helper_that_cannot_be_loaded_is_refused_with_what_to_do(path, text):
    known_helper(path.parent, "script_helper").write_text(text)
    with pytest.raises(Refused, match=r"cannot be loaded: .*; put back what is missing, or run its script here again"):
        script.resolve("script_helper", "double")


def test_a_helper_whose_name_leads_elsewhere_is_refused_before_that_runs(path, tmp_path):
    known_helper(path.parent, "script_helper")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "script_helper.py").write_text("raise SystemExit('the wrong code ran')\n")
    sys.path[:0] = [str(tmp_path / "other"), str(tmp_path)]
    with pytest.raises(Refused, match=r"script_helper is .*other/script_helper\.py now"):
        script.resolve("script_helper", "double")


def test_a_helper_of_another_project_that_is_loaded_already_is_refused(path, tmp_path):
    script.load(path)
    (tmp_path / "other").mkdir()
    known_helper(tmp_path / "other", "script_helper")
    with pytest.raises(Refused, match=r"script_helper is .*script_helper\.py now"):
        script.resolve("script_helper", "double")
