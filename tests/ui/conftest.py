"""One small project for the tests that only look at it."""

from __future__ import annotations

import pytest

from small_project import forget_scripts, make_project


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    yield make_project(tmp_path_factory.mktemp("orders"), "orders_of_ui")
    forget_scripts()
