"""One real server for the tests that only ask it things."""

from __future__ import annotations

import pytest
from serving import TOKEN, Client, Linear, served

from lineshaft.serve.app import App
from lineshaft.serve.server import run_in_background


@pytest.fixture(scope="module")
def url():
    other = Linear(digest="e" * 64)
    app = App({"reviews": served(), "reviews@next": served(other), "plain": served(checker=None)}, TOKEN)
    with run_in_background(app) as place:
        yield place


@pytest.fixture
def client(url):
    client = Client(url)
    yield client
    client.close()
