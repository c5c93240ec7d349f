"""What the C library keeps of freed memory, and what it gives back."""

from __future__ import annotations

import sys
import threading

import pytest
import torch

from lineshaft.core.heap import give_back, in_another_heap, kept, outside_the_heap, tight_heap
from lineshaft.core.memory import private

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc")
BLOCK, COUNT = 1 << 20, 24


def left_by_a_thread():
    """Return the bytes that stay with a thread's heap when blocks of 1 MB were made and freed there."""
    rises, done, over = [], threading.Event(), threading.Event()

    def work():
        before = private()
        blocks = [torch.ones(BLOCK // 4) for _ in range(COUNT)]
        del blocks
        rises.append(private() - before)
        done.set()
        over.wait()  # its heap lives as long as it does

    thread = threading.Thread(target=work)
    thread.start()
    done.wait()
    over.set()
    thread.join()
    return rises[0]


def test_a_heap_keeps_a_small_part_of_a_budget():
    assert kept(1 << 30) > kept(64 << 20) > kept(16 << 20) > kept(1 << 20) == kept(1)
    assert kept(1 << 40) == kept(1 << 30)


def test_a_tight_heap_keeps_little():
    with tight_heap(1 << 30):
        assert left_by_a_thread() > 4 * kept(0)
    with tight_heap(0):
        assert left_by_a_thread() < 2 * kept(0)


def test_blocks_nest():
    with tight_heap(0):
        with tight_heap(1 << 30):
            pass
        with outside_the_heap():
            pass
        assert left_by_a_thread() < 2 * kept(0)


def test_work_in_another_heap_is_done_in_a_thread():
    assert in_another_heap(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        in_another_heap(lambda: 1 // 0)


def test_what_was_freed_is_given_back():
    pieces = [torch.ones(1 << 12) for _ in range(2000)]  # 32 MB in pieces too small to be mapped
    keep = pieces[::400]
    before = private()
    del pieces
    give_back()
    assert private() < before - (24 << 20)
    assert len(keep) == 5
