"""The matrix of edits: each with whether the digest of ``f`` must change, or must not."""

from __future__ import annotations

import pytest

from core.edits import digest

CHANGES = {
    # what is imported by a name that the code gives
    "module imported by name": (
        "import importlib\ndef f(): return importlib.import_module('json').dumps",
        "import importlib\ndef f(): return importlib.import_module('csv').reader",
    ),
    # what the function itself says
    "variable renamed": ("def f(x):\n    a = x\n    return a", "def f(x):\n    b = x\n    return b"),
    "operator": ("def f(x): return x + 1", "def f(x): return x - 1"),
    "constant inside": ("def f(x): return x + 1", "def f(x): return x + 2"),
    "int to float": ("def f(x): return x + 1", "def f(x): return x + 1.0"),
    "int to bool": ("K = 1\ndef f(x): return x + K", "K = True\ndef f(x): return x + K"),
    "zero to minus zero": ("K = 0.0\ndef f(x): return x * K", "K = -0.0\ndef f(x): return x * K"),
    "str to bytes": ("K = 'a'\ndef f(): return K", "K = b'a'\ndef f(): return K"),
    "default argument": ("def f(x, k=1): return x", "def f(x, k=2): return x"),
    "default by name": ("A = 1\ndef f(x, k=A): return x", "A = 2\ndef f(x, k=A): return x"),
    "keyword-only default": ("A = 1\ndef f(*, k=A): return k", "A = 2\ndef f(*, k=A): return k"),
    "nested function": (
        "def f(x):\n    def g(): return 1\n    return g()",
        "def f(x):\n    def g(): return 2\n    return g()",
    ),
    "global of a nested function": (
        "K = 1\ndef f(x):\n    def g(): return K\n    return g()",
        "K = 2\ndef f(x):\n    def g(): return K\n    return g()",
    ),
    "global of a comprehension": ("K = 1\ndef f(x): return [K for _ in x]", "K = 2\ndef f(x): return [K for _ in x]"),
    "lambda": ("f = lambda x: x + 1", "f = lambda x: x + 2"),
    "first of two lambdas on a line": ("f, g = lambda x: x + 1, lambda x: x", "f, g = lambda x: x + 2, lambda x: x"),
    "which of two lambdas on a line": (
        "P = (lambda: (lambda x: x + 1, lambda x: x + 2))()\nf = P[0]",
        "P = (lambda: (lambda x: x + 1, lambda x: x + 2))()\nf = P[1]",
    ),
    "generator function": ("def f():\n    yield 1", "def f():\n    yield 2"),
    "async function": ("async def f(): return 1", "async def f(): return 2"),
    "walrus": ("def f(x): return (y := x) + y", "def f(x): return (y := x) - y"),
    "f-string": ("def f(x): return f'{x:>3}'", "def f(x): return f'{x:>4}'"),
    "match statement": (
        "def f(x):\n    match x:\n        case 1: return 2",
        "def f(x):\n    match x:\n        case 3: return 2",
    ),
    "match on a constant": (
        "class K: A = 1\ndef f(x):\n    match x:\n        case K.A: return 2",
        "class K: A = 3\ndef f(x):\n    match x:\n        case K.A: return 2",
    ),
    "annotation": ("def f(x: int): return x", "def f(x: float): return x"),
    "assertion": ("def f(x):\n    assert x\n    return x", "def f(x):\n    return x"),
    # module constants
    "int": ("K = 1\ndef f(): return K", "K = 2\ndef f(): return K"),
    "very long int": ("K = 10**6000\ndef f(): return K", "K = 10**6000 + 1\ndef f(): return K"),
    "str": ("K = 'a'\ndef f(): return K", "K = 'b'\ndef f(): return K"),
    "None to False": ("K = None\ndef f(): return K", "K = False\ndef f(): return K"),
    "tuple": ("K = (1, 2)\ndef f(): return K", "K = (1, 3)\ndef f(): return K"),
    "list": ("K = [1, [2]]\ndef f(): return K", "K = [1, [3]]\ndef f(): return K"),
    "list to tuple": ("K = [1]\ndef f(): return K", "K = (1,)\ndef f(): return K"),
    "dict": ("K = {'a': 1}\ndef f(): return K", "K = {'a': 2}\ndef f(): return K"),
    "order of a dict": ("K = {'a': 1, 'b': 2}\ndef f(): return K", "K = {'b': 2, 'a': 1}\ndef f(): return K"),
    "set": ("K = {1, 2}\ndef f(): return K", "K = {1, 3}\ndef f(): return K"),
    "set to frozenset": ("K = {1}\ndef f(): return K", "K = frozenset({1})\ndef f(): return K"),
    "aliased list": ("A = []\nK = [A, A]\ndef f(): return K", "K = [[], []]\ndef f(): return K"),
    "dunder of the user": (
        "__version__ = '1'\ndef f(): return __version__",
        "__version__ = '2'\ndef f(): return __version__",
    ),
    "docstring that is used": ("'''a'''\ndef f(): return __doc__", "'''b'''\ndef f(): return __doc__"),
    "path": (
        "from pathlib import Path\nK = Path('a')\ndef f(): return K",
        "from pathlib import Path\nK = Path('b')\ndef f(): return K",
    ),
    "regex": ("import re\nK = re.compile('a')\ndef f(): return K", "import re\nK = re.compile('b')\ndef f(): return K"),
    "regex flags": (
        "import re\nK = re.compile('a')\ndef f(): return K",
        "import re\nK = re.compile('a', re.I)\ndef f(): return K",
    ),
    "datetime": (
        "import datetime as d\nK = d.datetime(2024, 1, 1)\ndef f(): return K",
        "import datetime as d\nK = d.datetime(2024, 1, 2)\ndef f(): return K",
    ),
    "decimal": (
        "from decimal import Decimal\nK = Decimal('1.0')\ndef f(): return K",
        "from decimal import Decimal\nK = Decimal('1.00')\ndef f(): return K",
    ),
    "range": ("K = range(3)\ndef f(): return K", "K = range(4)\ndef f(): return K"),
    "defaultdict factory": (
        "from collections import defaultdict\nK = defaultdict(int)\ndef f(): return K",
        "from collections import defaultdict\nK = defaultdict(float)\ndef f(): return K",
    ),
    "deque": (
        "from collections import deque\nK = deque([1])\ndef f(): return K",
        "from collections import deque\nK = deque([2])\ndef f(): return K",
    ),
    "named tuple value": (
        "from collections import namedtuple\nP = namedtuple('P', 'a b')\nK = P(1, 2)\ndef f(): return K",
        "from collections import namedtuple\nP = namedtuple('P', 'a b')\nK = P(1, 3)\ndef f(): return K",
    ),
    "named tuple field": (
        "from collections import namedtuple\nP = namedtuple('P', 'a b')\ndef f(): return P(1, 2)",
        "from collections import namedtuple\nP = namedtuple('P', 'a c')\ndef f(): return P(1, 2)",
    ),
    "typed named tuple default": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int = 1\ndef f(): return P()",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int = 2\ndef f(): return P()",
    ),
    "typing generic": (
        "from typing import Optional\nK = Optional[int]\ndef f(): return K",
        "from typing import Optional\nK = Optional[str]\ndef f(): return K",
    ),
    "builtin generic": ("K = list[int]\ndef f(): return K", "K = list[str]\ndef f(): return K"),
    "union type": ("K = int | None\ndef f(): return K", "K = str | None\ndef f(): return K"),
    "self-referring list": ("K = [1]\nK.append(K)\ndef f(): return K", "K = [2]\nK.append(K)\ndef f(): return K"),
    # other functions
    "helper": ("def h(x): return x\ndef f(x): return h(x)", "def h(x): return -x\ndef f(x): return h(x)"),
    "helper's helper": (
        "def i(x): return x\ndef h(x): return i(x)\ndef f(x): return h(x)",
        "def i(x): return -x\ndef h(x): return i(x)\ndef f(x): return h(x)",
    ),
    "mutual recursion": (
        "def g(x): return f(x)\ndef f(x): return g(x) if x else 1",
        "def g(x): return -f(x)\ndef f(x): return g(x) if x else 1",
    ),
    "partial argument": (
        "from functools import partial\ndef h(x, k): return k\nf = partial(h, k=1)",
        "from functools import partial\ndef h(x, k): return k\nf = partial(h, k=2)",
    ),
    "partial's function": (
        "from functools import partial\ndef h(x, k): return k\nf = partial(h, k=1)",
        "from functools import partial\ndef h(x, k): return x\nf = partial(h, k=1)",
    ),
    "closure": (
        "def make(n):\n    def g(x): return x + n\n    return g\nf = make(1)",
        "def make(n):\n    def g(x): return x + n\n    return g\nf = make(2)",
    ),
    "function in a closure": (
        "def h(x): return x\ndef make(h):\n    def g(x): return h(x)\n    return g\nf = make(h)",
        "def h(x): return -x\ndef make(h):\n    def g(x): return h(x)\n    return g\nf = make(h)",
    ),
    "dispatch table": (
        "def a(): return 1\nT = {'a': a}\ndef f(k): return T[k]()",
        "def a(): return 2\nT = {'a': a}\ndef f(k): return T[k]()",
    ),
    "order of functions": (
        "def a(): return 1\ndef b(): return 2\nT = [a, b]\ndef f(): return T",
        "def a(): return 1\ndef b(): return 2\nT = [b, a]\ndef f(): return T",
    ),
    "function in a set": (
        "def a(): return 1\nT = {a}\ndef f(): return T",
        "def a(): return 2\nT = {a}\ndef f(): return T",
    ),
    "set that leads back to its user": (
        "def f(): return T\ndef a(): return 1 or f\nT = {f, a}",
        "def f(): return T\ndef a(): return 2 or f\nT = {f, a}",
    ),
    "attribute of a function": ("def f(): return f.k\nf.k = 1", "def f(): return f.k\nf.k = 2"),
    "cached function": (
        "from functools import cache\n@cache\ndef f(): return 1",
        "from functools import cache\n@cache\ndef f(): return 2",
    ),
    "single dispatch": (
        "from functools import singledispatch\n@singledispatch\ndef f(x): return 0\n@f.register\ndef _(x: int): return 1",
        "from functools import singledispatch\n@singledispatch\ndef f(x): return 0\n@f.register\ndef _(x: int): return 2",
    ),
    "context manager": (
        "from contextlib import contextmanager\n@contextmanager\ndef f():\n    yield 1",
        "from contextlib import contextmanager\n@contextmanager\ndef f():\n    yield 2",
    ),
    "conditional definition": (
        "if True:\n    def f(): return 1\nelse:\n    def f(): return 2",
        "if False:\n    def f(): return 1\nelse:\n    def f(): return 2",
    ),
    "registered function": (
        "R = []\ndef register(g):\n    R.append(g)\n    return g\n@register\ndef a(): return 1\ndef f(): return R",
        "R = []\ndef register(g):\n    R.append(g)\n    return g\n@register\ndef a(): return 2\ndef f(): return R",
    ),
    "any global of eval": ("K = 1\ndef f(s): return eval(s)", "K = 2\ndef f(s): return eval(s)"),
    "builtin shadowed": ("def f(x): return len(x)", "def len(x): return 0\ndef f(x): return len(x)"),
    # decorators
    "decorated body": (
        "import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a)\n    return w\n@d\ndef f(): return 1",
        "import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a)\n    return w\n@d\ndef f(): return 2",
    ),
    "decorator's body": (
        "import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a)\n    return w\n@d\ndef f(): return 1",
        "import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(*a): return -g(*a)\n    return w\n@d\ndef f(): return 1",
    ),
    "decorator's argument": (
        "def d(k):\n    def e(g): return lambda: g() + k\n    return e\n@d(1)\ndef f(): return 1",
        "def d(k):\n    def e(g): return lambda: g() + k\n    return e\n@d(2)\ndef f(): return 1",
    ),
    "decorator's argument by name": (
        "K = 1\ndef d(k):\n    def e(g): return lambda: g() + k\n    return e\n@d(K)\ndef f(): return 1",
        "K = 2\ndef d(k):\n    def e(g): return lambda: g() + k\n    return e\n@d(K)\ndef f(): return 1",
    ),
    "unused wrapped function that is called": (
        "import functools\ndef g(): return 1\n@functools.wraps(g)\ndef w(): return 0\ndef f(): return w.__wrapped__()",
        "import functools\ndef g(): return 2\n@functools.wraps(g)\ndef w(): return 0\ndef f(): return w.__wrapped__()",
    ),
    # global rebinding, by source
    "first value of a rebound global": (
        "n = 0\ndef f():\n    global n\n    n += 1\n    return n",
        "n = 5\ndef f():\n    global n\n    n += 1\n    return n",
    ),
    "what a rebound global starts from": (
        "A = 0\nn = A\ndef f():\n    global n\n    n += 1\n    return n",
        "A = 5\nn = A\ndef f():\n    global n\n    n += 1\n    return n",
    ),
    # imports inside
    "local module imported inside": (
        "def f():\n    import helper\n    return helper.g()",
        None,
        {"helper": "def g(): return 1"},
        {"helper": "def g(): return 2"},
    ),
    "local name imported inside": (
        "def f():\n    from helper import g\n    return g()",
        None,
        {"helper": "def g(): return 1"},
        {"helper": "def g(): return 2"},
    ),
    "package of a module imported inside": (
        "def f():\n    import pack.part\n    return pack.g()",
        None,
        {"pack____init__": "def g(): return 1", "pack__part": ""},
        {"pack____init__": "def g(): return 2", "pack__part": ""},
    ),
    "submodule that nobody imported yet": (
        "import pack\ndef f(): return pack.part.g()",
        None,
        {"pack____init__": "", "pack__part": "def g(): return 1"},
        {"pack____init__": "", "pack__part": "def g(): return 2"},
    ),
    # other modules
    "helper in another module": (
        "import helper\ndef f(): return helper.g()",
        None,
        {"helper": "def g(): return 1"},
        {"helper": "def g(): return 2"},
    ),
    "constant of another module": (
        "from helper import K\ndef f(): return K",
        None,
        {"helper": "K = 1"},
        {"helper": "K = 2"},
    ),
    "leaf of a module chain": (
        "import pack.part as p\nimport pack\ndef f(): return pack.part.K",
        None,
        {"pack____init__": "", "pack__part": "K = 1"},
        {"pack____init__": "", "pack__part": "K = 2"},
    ),
    "star import": (
        "from helper import *\ndef f(): return g()",
        None,
        {"helper": "def g(): return 1"},
        {"helper": "def g(): return 2"},
    ),
    "module used as a value": (
        "import helper\ndef f(k): return getattr(helper, k)",
        None,
        {"helper": "def g(): return 1"},
        {"helper": "def g(): return 2"},
    ),
    "module with computed attributes": (
        "import helper\ndef f(): return helper.anything",
        None,
        {"helper": "def __getattr__(name): return 1"},
        {"helper": "def __getattr__(name): return 2"},
    ),
    "local module named like a standard one": (
        "import tabnanny\ndef f(): return tabnanny.g()",
        None,
        {"tabnanny": "def g(): return 1"},
        {"tabnanny": "def g(): return 2"},
    ),
    "another library's function": (
        "import json, csv\ndef f(): return json.dumps",
        "import json, csv\ndef f(): return csv.writer",
    ),
    "which function of a library": (
        "from math import sin as g\ndef f(x): return g(x)",
        "from math import cos as g\ndef f(x): return g(x)",
    ),
    "field left out of comparisons": (
        (
            "from dataclasses import dataclass, field\n@dataclass\nclass A:\n    k: int = field(compare=False)\n"
            "V = A(1)\ndef f(): return V"
        ),
        (
            "from dataclasses import dataclass, field\n@dataclass\nclass A:\n    k: int = field(compare=False)\n"
            "V = A(2)\ndef f(): return V"
        ),
    ),
}

METHODS = {
    "method": ("class A:\n    def g(self): return 1\ndef f(): return A().g()", "return 1", "return 2"),
    "class attribute": ("class A:\n    k = 1\ndef f(): return A.k", "k = 1", "k = 2"),
    "class attribute by name": ("K = 1\nclass A:\n    k = K\ndef f(): return A.k", "K = 1", "K = 2"),
    "base class": (
        "class B:\n    def g(self): return 1\nclass A(B): pass\ndef f(): return A()",
        "return 1",
        "return 2",
    ),
    "which base class": ("class B: pass\nclass C: pass\nclass A(B): pass\ndef f(): return A()", "A(B)", "A(C)"),
    "metaclass": (
        "class M(type):\n    def g(cls): return 1\nclass A(metaclass=M): pass\ndef f(): return A.g()",
        "return 1",
        "return 2",
    ),
    "property": (
        "class A:\n    @property\n    def g(self): return 1\ndef f(): return A().g",
        "return 1",
        "return 2",
    ),
    "static method": (
        "class A:\n    @staticmethod\n    def g(): return 1\ndef f(): return A.g()",
        "return 1",
        "return 2",
    ),
    "class method": (
        "class A:\n    @classmethod\n    def g(cls): return 1\ndef f(): return A.g()",
        "return 1",
        "return 2",
    ),
    "static to class method": (
        "class A:\n    @staticmethod\n    def g(*a): return 1\ndef f(): return A.g()",
        "staticmethod",
        "classmethod",
    ),
    "nested class": (
        "class A:\n    class B:\n        def g(self): return 1\ndef f(): return A.B()",
        "return 1",
        "return 2",
    ),
    "dataclass default": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    k: int = 1\ndef f(): return A()",
        "= 1",
        "= 2",
    ),
    "dataclass default by name": (
        "from dataclasses import dataclass\nK = 1\n@dataclass\nclass A:\n    k: int = K\ndef f(): return A()",
        "K = 1",
        "K = 2",
    ),
    "dataclass factory": (
        (
            "from dataclasses import dataclass, field\ndef g(): return [1]\n"
            "@dataclass\nclass A:\n    k: list = field(default_factory=g)\ndef f(): return A()"
        ),
        "[1]",
        "[2]",
    ),
    "frozen dataclass": (
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n    k: int = 1\ndef f(): return A()",
        "frozen=True",
        "frozen=False",
    ),
    "made dataclass": (
        "from dataclasses import make_dataclass\nA = make_dataclass('A', ['k'], order=True)\ndef f(): return A(1)",
        "order=True",
        "eq=False",
    ),
    "dataclass value": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    k: int\nV = A(1)\ndef f(): return V",
        "A(1)",
        "A(2)",
    ),
    "state beyond a dataclass's fields": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    k: int\nV = A(1)\nV.extra = 1\ndef f(): return V",
        "extra = 1",
        "extra = 2",
    ),
    "dataclass that is a list": (
        (
            "from dataclasses import dataclass\n@dataclass\nclass A(list):\n    k: int = 0\n"
            "V = A()\nV.append(1)\ndef f(): return V"
        ),
        "append(1)",
        "append(2)",
    ),
    "enum member": ("import enum\nclass E(enum.Enum):\n    A = 1\ndef f(): return E.A", "A = 1", "A = 2"),
    "which enum member": (
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nK = E.A\ndef f(): return K",
        "E.A",
        "E.B",
    ),
    "enum made by a call": (
        "import enum\nE = enum.Enum('E', {'A': 1})\ndef f(): return E.A",
        "{'A': 1}",
        "{'A': 2}",
    ),
    "class closure": (
        "def make(n):\n    class A:\n        def g(self): return n\n    return A\nA = make(1)\ndef f(): return A()",
        "make(1)",
        "make(2)",
    ),
    "class that calls super": (
        "class B:\n    def g(self): return 1\nclass A(B):\n    def g(self): return super().g()\ndef f(): return A()",
        "return 1",
        "return 2",
    ),
    "state of an object": (
        "class A:\n    def __init__(self, k): self.k = k\nV = A(1)\ndef f(): return V",
        "A(1)",
        "A(2)",
    ),
    "slots": (
        "class A:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k\nV = A(1)\ndef f(): return V",
        "A(1)",
        "A(2)",
    ),
    "bound method's object": (
        "class A:\n    def __init__(self, k): self.k = k\n    def g(self): return self.k\nf = A(1).g",
        "A(1)",
        "A(2)",
    ),
    "bound method's body": (
        "class A:\n    def g(self): return 1\nf = A().g",
        "return 1",
        "return 2",
    ),
    "callable object": (
        "class A:\n    def __init__(self, k): self.k = k\n    def __call__(self): return self.k\nf = A(1)",
        "A(1)",
        "A(2)",
    ),
    "callable object's body": ("class A:\n    def __call__(self): return 1\nf = A()", "return 1", "return 2"),
    "object copied by name": (
        (
            "class A:\n    def __init__(self, k): self.k = k\n    def __reduce__(self): return 'V'\n"
            "V = A(1)\ndef f(): return V"
        ),
        "A(1)",
        "A(2)",
    ),
    "computed attributes": (
        "class A:\n    def __getattr__(self, name): return table[name]\ntable = {'a': 1}\nV = A()\ndef f(): return V.a",
        "'a': 1",
        "'a': 2",
    ),
    "class annotation's class": (
        "class B:\n    k = 1\nclass A:\n    b: B\ndef f(): return A()",
        "k = 1",
        "k = 2",
    ),
    "mutually recursive classes": (
        "class A:\n    def g(self): return B()\nclass B:\n    k = 1\n    def g(self): return A()\ndef f(): return A()",
        "k = 1",
        "k = 2",
    ),
    "abstract base": (
        (
            "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def g(self): return 1\n"
            "class A(B):\n    def g(self): return super().g()\ndef f(): return A()"
        ),
        "return 1",
        "return 2",
    ),
    "partial method": (
        (
            "from functools import partialmethod\nclass A:\n    def g(self, k): return k\n    h = partialmethod(g, 1)\n"
            "def f(): return A().h()"
        ),
        "(g, 1)",
        "(g, 2)",
    ),
    "cached property's body": (
        (
            "from functools import cached_property\nclass A:\n    @cached_property\n    def g(self): return 1\n"
            "def f(): return A().g"
        ),
        "return 1",
        "return 2",
    ),
}

LIBRARIES = {
    "array content": ("import numpy as np\nK = np.array([1, 2])\ndef f(): return K", "[1, 2]", "[1, 3]"),
    "array dtype": ("import numpy as np\nK = np.zeros(2, 'i4')\ndef f(): return K", "'i4'", "'f4'"),
    "array byte order": ("import numpy as np\nK = np.zeros(2, '<i4')\ndef f(): return K", "'<i4'", "'>i4'"),
    "array shape": ("import numpy as np\nK = np.zeros((2, 3))\ndef f(): return K", "(2, 3)", "(3, 2)"),
    "array of objects": ("import numpy as np\nK = np.array([{}, 1], object)\ndef f(): return K", "{}, 1", "{}, 2"),
    "array kind": ("import numpy as np\nK = np.matrix([[1]])\ndef f(): return K", "np.matrix", "np.array"),
    "masked array": (
        "import numpy as np\nK = np.ma.array([1, 2], mask=[0, 1])\ndef f(): return K",
        "mask=[0, 1]",
        "mask=[1, 0]",
    ),
    "scalar": ("import numpy as np\nK = np.float32(1)\ndef f(): return K", "float32", "float64"),
    "universal function": ("from numpy import exp as g\ndef f(x): return g(x)", "exp", "log"),
    "random generator": ("import numpy as np\nK = np.random.default_rng(1)\ndef f(): return K", "rng(1)", "rng(2)"),
    "tensor content": ("import torch\nK = torch.tensor([1., 2.])\ndef f(): return K", "2.", "3."),
    "tensor dtype": ("import torch\nK = torch.zeros(2, dtype=torch.float16)\ndef f(): return K", "float16", "bfloat16"),
    "tensor gradient": ("import torch\nK = torch.zeros(1, requires_grad=True)\ndef f(): return K", "True", "False"),
    "tensor of no rows": ("import torch\nK = torch.zeros(0, 3)\ndef f(): return K", "0, 3", "0, 4"),
    "tensor seen through conjugation": (
        "import torch\nK = torch.tensor([1 + 2j]).conj()\ndef f(): return K",
        ".conj()",
        "",
    ),
    "buffer or parameter": (
        "import torch\nK = torch.nn.Parameter(torch.zeros(1), requires_grad=False)\ndef f(): return K",
        "torch.nn.Parameter(torch.zeros(1), requires_grad=False)",
        "torch.zeros(1)",
    ),
    "module weights": (
        "import torch\ntorch.manual_seed(1)\nK = torch.nn.Linear(2, 2)\ndef f(): return K",
        "seed(1)",
        "seed(2)",
    ),
    "module mode": ("import torch\nK = torch.nn.Dropout(0.5)\ndef f(): return K", "(0.5)", "(0.5).eval()"),
    "weights of a dataclass module": (
        (
            "import torch\nfrom dataclasses import dataclass\n@dataclass(eq=False)\nclass N(torch.nn.Module):\n    k: int\n"
            "    def __post_init__(self):\n        super().__init__()\n        self.w = torch.nn.Parameter(torch.zeros(1))\n"
            "V = N(1)\ndef f(): return V"
        ),
        "zeros",
        "ones",
    ),
    "torch function by name": ("from torch.nn.functional import relu as g\ndef f(x): return g(x)", "relu", "gelu"),
    "function under no_grad": ("import torch\n@torch.no_grad()\ndef f(): return 1", "return 1", "return 2"),
    "arrow table": ("import pyarrow as pa\nK = pa.table({'a': [1, 2]})\ndef f(): return K", "[1, 2]", "[1, 3]"),
    "arrow type": (
        "import pyarrow as pa\nK = pa.array([1], pa.int32())\ndef f(): return K",
        "int32",
        "int64",
    ),
    "second of two columns of one name": (
        "import pyarrow as pa\nK = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=['a', 'a'])\ndef f(): return K",
        "pa.array([1])",
        "pa.array([3])",
    ),
    "data frame": ("import pandas as pd\nK = pd.DataFrame({'a': [1]})\ndef f(): return K", "[1]", "[2]"),
}

SAME = {
    "docstring": ("def f(x):\n    '''One.'''\n    return x", "def f(x):\n    '''Two.'''\n    return x"),
    "docstring of a class": (
        "class A:\n    '''One.'''\n    k = 1\ndef f(): return A",
        "class A:\n    k = 1\ndef f(): return A",
    ),
    "comment": ("def f(x):\n    return x", "def f(x):\n    # why\n    return x  # so"),
    "layout": ("def f(x): return [x, 1]", "\n\ndef f(\n    x,\n):\n    return [\n        x,\n        1,\n    ]"),
    "quotes": ("def f(): return 'a'", 'def f(): return "a"'),
    "unreachable function": ("def g(): return 1\ndef f(): return 0", "def g(): return 2\ndef f(): return 0"),
    "unused constant": ("K = 1\ndef f(): return 0", "K = 2\ndef f(): return 0"),
    "attribute of a parameter": (
        "class A:\n    def g(self): return 1\ndef f(x): return x.g()",
        "class A:\n    def g(self): return 2\ndef f(x): return x.g()",
    ),
    "other lambda on the line": ("f, g = lambda x: x + 1, lambda x: x", "f, g = lambda x: x + 1, lambda x: -x"),
    "place in the file": ("def f(): return 0", "import os\n\nX = 5\n\n\ndef f(): return 0"),
    "order of definitions": (
        "def g(): return 1\ndef f(): return g()",
        "def f(): return g()\ndef g(): return 1",
    ),
    "how a constant is written": ("K = 1000\ndef f(): return K", "K = 10 ** 3\ndef f(): return K"),
    "name of the alias of a module": (
        "import helper\ng = helper.g\ndef f(): return g()",
        "from helper import g\ndef f(): return g()",
        {"helper": "def g(): return 1"},
        {"helper": "def g(): return 1"},
    ),
    "other attribute of the module": (
        "import helper\ndef f(): return helper.g()",
        None,
        {"helper": "def g(): return 1\ndef other(): return 1"},
        {"helper": "def g(): return 1\ndef other(): return 2"},
    ),
    "other attribute, deep": (
        "import pack.part\ndef f(): return pack.part.K",
        None,
        {"pack____init__": "A = 1", "pack__part": "K = 1\nB = 1"},
        {"pack____init__": "A = 2", "pack__part": "K = 1\nB = 2"},
    ),
    "other name of the module imported inside": (
        "def f():\n    from helper import g\n    return g()",
        None,
        {"helper": "def g(): return 1\ndef other(): return 1"},
        {"helper": "def g(): return 1\ndef other(): return 2"},
    ),
    "logger": (
        "import logging\nlog = logging.getLogger('a')\ndef f(): log.info('x')",
        "import logging\nlog = logging.getLogger('b')\ndef f(): log.info('x')",
    ),
    "lock": (
        "import threading\nlock = threading.Lock()\ndef f():\n    with lock: return 1",
        "import threading\nlock = threading.RLock()\ndef f():\n    with lock: return 1",
    ),
    "filled cache": (
        "from functools import cache\n@cache\ndef f(x): return x",
        "from functools import cache\n@cache\ndef f(x): return x\nf(1)",
    ),
    "filled cached property": (
        (
            "from functools import cached_property\nclass A:\n    @cached_property\n    def g(self): return 1\n"
            "V = A()\ndef f(): return V"
        ),
        (
            "from functools import cached_property\nclass A:\n    @cached_property\n    def g(self): return 1\n"
            "V = A()\nV.g\ndef f(): return V"
        ),
    ),
    "value of a rebound global": (
        "n = 0\ndef f():\n    global n\n    n += 1\n    return n",
        "n = 0\ndef f():\n    global n\n    n += 1\n    return n\nf()",
    ),
    "value of a global that its own module rebinds": (
        "import helper\ndef f(): return helper.n",
        "import helper\nhelper.step()\ndef f(): return helper.n",
        {"helper": "n = 0\ndef step():\n    global n\n    n += 1"},
        {"helper": "n = 0\ndef step():\n    global n\n    n += 1"},
    ),
    "order in which a set was filled": (
        "K = set()\nfor x in ['a', 'b', 'c', 'd']: K.add(x)\ndef f(): return K",
        "K = set()\nfor x in ['d', 'c', 'b', 'a']: K.add(x)\ndef f(): return K",
    ),
    "generator expression spelled over lines": (
        "def f(x): return sum(y for y in x)",
        "def f(x):\n    return sum(\n        y\n        for y in x\n    )",
    ),
    "unused import": ("def f(): return 1", "import json\ndef f(): return 1"),
}


def _both(tmp_path, case):
    before, after, *helpers = case
    first, second = helpers or ({}, {})
    return digest(tmp_path, before, **first), digest(tmp_path, after or before, **second)


@pytest.mark.parametrize("case", CHANGES.values(), ids=CHANGES)
def test_an_edit_that_may_change_the_meaning_changes_the_digest(tmp_path, case):
    before, after = _both(tmp_path, case)
    assert before != after


@pytest.mark.parametrize("case", [*METHODS.values(), *LIBRARIES.values()], ids=[*METHODS, *LIBRARIES])
def test_an_edit_of_a_class_or_of_data_changes_the_digest(tmp_path, case):
    source, old, new = case
    assert old in source
    before, after = _both(tmp_path, (source, source.replace(old, new)))
    assert before != after


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
def test_an_edit_that_cannot_change_the_meaning_leaves_the_digest(tmp_path, case):
    before, after = _both(tmp_path, case)
    assert before == after


@pytest.mark.parametrize(
    "source",
    [case[0] for case in [*METHODS.values(), *LIBRARIES.values(), *CHANGES.values()] if len(case) < 4],
)
def test_loading_the_same_source_again_gives_the_same_digest(tmp_path, source):
    first = digest(tmp_path, source)
    assert digest(tmp_path, source) == first
