"""Fingerprints are the same everywhere, are refused where nothing can be named, and say what they are made of."""

from __future__ import annotations

import importlib
import shutil
import sys
import textwrap

import pytest

from core.edits import digest, elsewhere, named, write
from lineshaft.core import script
from lineshaft.core.fingerprint import brief, fingerprint
from lineshaft.errors import FingerprintError

EVERYTHING = """
    import enum, functools, json, logging, re
    from dataclasses import dataclass, field
    from pathlib import Path
    import helper

    class Colour(enum.Enum):
        RED = 1
        BLUE = 2

    @dataclass
    class Config:
        width: int = 3
        tags: frozenset = frozenset({"x", "y", "z"})

    WORDS = {"b", "a", "c", ("d", 1), Colour.RED}
    TABLE = {"one": helper.one, "two": functools.partial(helper.two, k=2)}
    CONFIG = Config()
    PATTERN = re.compile("a+")
    log = logging.getLogger(__name__)

    def g(x):
        return f(x - 1) if x else CONFIG

    def f(x):
        import helper as again
        log.info(json.dumps(x))
        return g(x), WORDS, TABLE, PATTERN, Path("here"), again.one, Colour.BLUE
"""
HELPER = """
    NAMES = {"p", "q", "r"}
    def one(): return NAMES
    def two(k): return k
"""


@pytest.fixture
def scripts(tmp_path):
    write(tmp_path, main_script=EVERYTHING, helper=HELPER)
    return tmp_path


def test_equal_in_fresh_processes_whatever_the_hash_seed(scripts):
    found = {elsewhere(scripts, "print(fingerprint(m.f).digest)", seed) for seed in ("0", "1", "12345")}
    assert found == {named(scripts).digest}


def test_equal_whatever_else_was_imported_or_named_before(scripts):
    (scripts / "other.py").write_text("import helper, csv\nX = helper.NAMES\n")
    code = "import other, numpy, xml.dom\nfingerprint(m.g); fingerprint(m.TABLE)\nprint(fingerprint(m.f).digest)"
    assert elsewhere(scripts, code) == named(scripts).digest


def test_equal_in_another_folder(scripts, tmp_path):
    here = named(scripts).digest
    there = tmp_path / "moved" / "deep"
    there.mkdir(parents=True)
    for file in scripts.glob("*.py"):
        shutil.copy(file, there)
    assert named(there).digest == here


def test_equal_as_main_and_as_the_stable_module(scripts):
    text = (scripts / "main_script.py").read_text()
    tail = "\nif __name__ == '__main__':\n    from lineshaft.core.fingerprint import fingerprint\n    print(fingerprint(f).digest)\n"
    (scripts / "main_script.py").write_text(text + tail)
    code = (
        f"import runpy, sys\nsys.argv = ['x']\nrunpy.run_path({str(scripts / 'main_script.py')!r}, run_name='__main__')"
    )
    assert elsewhere(scripts, code) == elsewhere(scripts, "print(fingerprint(m.f).digest)")


def test_switching_assertions_off_is_another_meaning(scripts):
    code = "print(fingerprint(m.f).digest)"
    assert elsewhere(scripts, code, "0", "-O") != elsewhere(scripts, code)


def test_an_owned_module_imported_inside_is_named_without_being_imported(tmp_path):
    write(tmp_path, main_script="def f():\n    import pandas\n    return pandas.DataFrame")
    code = "import sys\nprint([i.text for i in fingerprint(m.f).ingredients if 'distribution' in i.name], 'pandas' in sys.modules)"
    said = elsewhere(tmp_path, code)
    assert "pandas " in said
    assert said.endswith("False")


def test_a_missing_module_imported_inside_counts_once_it_is_there(tmp_path):
    source = "def f():\n    try:\n        import perhaps\n    except ImportError:\n        return 0"
    before = digest(tmp_path, source)
    assert digest(tmp_path, source, perhaps="X = 1") != before


def test_a_long_chain_of_calls_is_not_too_deep(tmp_path):
    chain = "\n".join(f"def f{i}(): return f{i + 1}()" for i in range(1500))
    before = digest(tmp_path, f"{chain}\ndef f1500(): return 1\nf = f0")
    assert digest(tmp_path, f"{chain}\ndef f1500(): return 2\nf = f0") != before


def test_shared_data_does_not_blow_up():
    value = [1]
    for _ in range(200):
        value = [value, value]
    assert fingerprint(value).digest == fingerprint(value).digest


REFUSED = {
    "generator": "K = (x for x in [])",
    "open file": "K = open(__file__)",
    "socket": "import socket\nK = socket.socket()",
    "running thread": "import threading\nK = threading.current_thread().__dict__.get('x') or memoryview(b'x')",
    "database": "import sqlite3\nK = sqlite3.connect(':memory:')",
    "code without source": "exec('def K(): return 1')",
    "sparse tensor": "import torch\nK = torch.eye(2).to_sparse()",
    "own universal function": "import numpy as np\nK = np.frompyfunc(lambda x: x, 1, 1)",
    "deep nesting": "K = []\nfor _ in range(100_000): K = [K]",
}


@pytest.mark.parametrize("source", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_named_is_refused_with_the_way_out(tmp_path, source):
    with pytest.raises(FingerprintError, match="version="):
        digest(tmp_path, f"{source}\ndef f(): return K")


def test_a_refusal_leads_to_the_value(tmp_path):
    source = "K = {'a': [open(__file__)]}\ndef helper(): return K\ndef f(): return helper()"
    with pytest.raises(FingerprintError, match=r"f > f > helper > helper > K holds a _io\.TextIOWrapper"):
        digest(tmp_path, source)


def test_ingredients_name_functions_constants_and_distributions(scripts):
    found = {item.name: item for item in named(scripts).ingredients}
    function = found["function lineshaft_script_main_script.g"]
    assert function.where == "main_script.py:22"
    assert function.text.startswith("def g(x):")
    assert found["constant helper.NAMES"].text == "{'p', 'q', 'r'}"
    assert not any(" at 0x" in item.text for item in found.values())


def test_editing_one_function_changes_only_its_own_ingredient_and_the_total(scripts):
    before = {item.name: item.digest for item in named(scripts).ingredients}
    helper = scripts / "helper.py"
    helper.write_text(helper.read_text().replace("return k", "return -k"))
    after = {item.name: item.digest for item in named(scripts).ingredients}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == ["function helper.two"]


def test_an_edit_after_loading_has_no_part_in_the_run(tmp_path):
    source = textwrap.dedent("""
        K = 1
        def f(): return g()
        def g(): return K
    """)
    path = tmp_path / "edited_later.py"
    path.write_text(source)
    before = fingerprint(script.load(path).f).digest
    path.write_text("# one line more\n" + source.replace("return K", "return -K"))
    assert fingerprint(script.load(path).f).digest == before


def test_a_helper_edited_before_it_was_first_named_is_not_taken_for_what_is_loaded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "edited_helper.py"
    path.write_text("def f(): return 1\n")
    module = importlib.import_module("edited_helper")
    path.write_text("def f(): return 2\n")
    with pytest.raises(FingerprintError, match="edited after it was loaded"):
        fingerprint(module.f)


def test_a_reloaded_module_is_named_as_it_is_now(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "reloaded_helper.py"
    path.write_text("n = 1\ndef f():\n    global n\n    n += 1\n")
    module = importlib.import_module("reloaded_helper")
    before = fingerprint(module.f).digest
    path.write_text("n = 20\ndef f():\n    global n\n    n += 1\n")
    assert fingerprint(importlib.reload(module).f).digest != before


def test_a_local_extension_module_counts_by_its_bytes(tmp_path, monkeypatch):
    import _json

    module = type(sys)("local_extension")
    module.__file__ = str(tmp_path / "local_extension.so")
    function = _json.encode_basestring
    monkeypatch.setitem(sys.modules, "_json", module)
    digests = []
    for content in (b"one", b"two"):
        (tmp_path / "local_extension.so").write_bytes(content)
        digests.append(fingerprint(function).digest)
    assert digests[0] != digests[1]


def test_a_distribution_counts_by_name_and_version(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    write(site, tinylib="def g(): return 1\ndef decorate(f):\n    return lambda: f()\n")
    monkeypatch.syspath_prepend(str(site))

    def install(version):
        from lineshaft.core import owner

        info = site / "tinylib.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tinylib\nVersion: {version}\n")
        (info / "RECORD").write_text("tinylib.py,,\n")
        importlib.invalidate_caches()
        owner.distribution.cache_clear()
        owner.owner_of_file.cache_clear()

    source = "import tinylib\ndef f(): return tinylib.g()"
    install("1.0")
    first = digest(tmp_path, source)
    (site / "tinylib.py").write_text("def g(): return 2\n")
    assert digest(tmp_path, source) == first
    install("1.1")
    assert digest(tmp_path, source) != first


def test_what_was_installed_from_a_folder_counts_by_its_files(tmp_path, monkeypatch):
    from lineshaft.core import owner

    info = tmp_path / "folderlib.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: folderlib\nVersion: 1.0\n")
    (info / "direct_url.json").write_text('{"url": "file:///somewhere", "dir_info": {}}')
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for content in ("folderlib.py,sha256=a,1\n", "folderlib.py,sha256=b,1\n"):
        (info / "RECORD").write_text(content)
        owner.distribution.cache_clear()
        found.append(owner.distribution("folderlib"))
    assert found[0].startswith("folderlib 1.0 ")
    assert found[0] != found[1]


def test_the_package_of_another_name_is_found_by_its_files():
    from lineshaft.core.owner import distribution

    assert distribution("sklearn").startswith("scikit-learn ")


def test_lineshafts_own_functions_count_by_their_source(tmp_path):
    source = "import lineshaft as ls\nfrom lineshaft.core.table import read_table, split\ndef f(x): return %s"
    assert digest(tmp_path, source % "read_table(x)") != digest(tmp_path, source % "split(x)")


def test_values_are_shown_short_and_without_addresses():
    assert brief([object()]) == "[<object object>]"
    assert len(brief("x" * 10_000)) <= 200
    assert brief(10**6000) == "a int too long to show"


ANNOTATED = """
    from dataclasses import dataclass, field, KW_ONLY, InitVar
    from typing import *
    from collections.abc import Callable as C2, Sequence as S2
    import numpy as np, torch, pyarrow as pa
    T = TypeVar("T"); P = ParamSpec("P"); U = NewType("U", int)
    class Pr(Protocol):
        def g(self) -> int: ...
    @dataclass
    class A(Generic[T]):
        a: T
        b: Optional["A"]
        c: Callable[[int], str]
        d: Literal["x", "y"]
        e: ClassVar[int] = 3
        f: Annotated[int, "m"] = 1
        g: U = U(1)
        h: C2[P, int] | None = None
        i: S2[Any] = ()
        j: InitVar[int] = 2
        _: KW_ONLY = None
        k: Pr | None = None
        l: torch.Tensor | None = None
        m: np.ndarray | None = None
        n: pa.Table | None = None
        o: Final = 3
        p: Type[int] = int
        q: NoReturn = None
        r: "Unknown" = None
    class TD(TypedDict):
        x: int
    def f(): return A, TD
"""


def test_classes_with_every_kind_of_annotation_are_named_alike_before_and_after_these_are_resolved(tmp_path):
    write(tmp_path, main_script=ANNOTATED)
    resolved = "import typing\ntyping.get_type_hints(m.TD)\nprint(fingerprint(m.f).digest)"
    assert elsewhere(tmp_path, resolved) == named(tmp_path).digest


def test_copying_an_object_leaves_the_name_of_its_class_as_it_was(tmp_path):
    write(tmp_path, main_script="class A:\n    def __init__(self): self.k = 1\nV = A()\ndef f(): return A\n")
    code = "import copy\nbefore = fingerprint(m.f).digest\ncopy.copy(m.V)\nprint(before == fingerprint(m.f).digest)"
    assert elsewhere(tmp_path, code) == "True"


def test_a_module_imported_by_a_constant_name_is_followed(tmp_path):
    source = "import importlib\ndef f(): return importlib.import_module('helper').g()\n"
    write(tmp_path, main_script=source, helper="def g(): return 1\n")
    before = named(tmp_path).digest
    write(tmp_path, helper="def g(): return 2\n")
    assert named(tmp_path).digest != before


def test_a_module_imported_by_a_computed_name_is_refused(tmp_path):
    write(tmp_path, main_script="from importlib import import_module\ndef f(x): return import_module(x)\n")
    with pytest.raises(FingerprintError, match=r"name it computes.*version="):
        named(tmp_path)
