"""A real server with short patience, attacked over raw sockets; after every test it must still answer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))


@pytest.fixture(scope="module")
def server():
    from serving import TOKEN, served

    from lineshaft.core.admit import Limits
    from lineshaft.serve.app import App
    from lineshaft.serve.server import run_in_background

    limits = Limits(head_seconds=0.5, body_seconds=0.5, linger_seconds=2.0, connections=40)
    with run_in_background(App({"reviews@live": served()}, TOKEN, limits)) as url:
        yield url


@pytest.fixture(autouse=True)
def still_answers(server):
    from serving import GOOD, Client

    yield
    client = Client(server)
    assert client.predict([GOOD]).status == 200
    client.close()
