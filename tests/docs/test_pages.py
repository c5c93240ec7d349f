"""Every Python block of every page runs, and prints what the page shows below it."""

import pytest
from pages import PAGES, outputs, run_page

RUNNABLE = [page for page in PAGES if outputs(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_and_prints_what_is_shown(page, tmp_path):
    for block, shown, said in run_page(page, tmp_path):
        assert said == (shown or ""), f"{page.name}: the output of\n{block.text}"


def test_the_pages_of_the_stages_have_code():
    assert {"collect", "verify", "train", "release", "serve", "core"} <= {page.stem for page in RUNNABLE}
