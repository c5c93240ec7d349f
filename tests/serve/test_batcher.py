"""Batching: every row's answer goes to its sender, whatever else arrives, fails, leaves or times out."""

import asyncio
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.core.admit import refusal_of
from lineshaft.errors import AdmissionError, StepFailed
from lineshaft.serve.batcher import Batcher


class Echo:
    """Answers each row with its own number; a negative number is a row that it cannot take."""

    classes, reads, digest = ("n",), ("n",), "0" * 64

    def __init__(self, gate=None):
        self.gate, self.batches, self.entered = gate, [], threading.Semaphore(0)

    def predict(self, batch):
        self.batches.append(batch.num_rows)
        self.entered.release()
        if self.gate is not None:
            assert self.gate.wait(20)
        numbers = np.array(batch.column("n").to_pylist(), dtype=np.float32)
        if (numbers < 0).any():
            raise KeyError("poison")
        return numbers[:, None]


def rows(*numbers):
    return pa.record_batch({"n": pa.array(numbers, pa.int64())})


async def entered(model):
    await asyncio.to_thread(model.entered.acquire)


def run(work):
    """Run an async test against one batcher, and see that nothing is left waiting."""

    async def main():
        return await asyncio.wait_for(work(), 30)

    return asyncio.run(main())


jobs = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from(["fine", "fine", "fine", "poison", "leaves", "impatient"])),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(jobs, st.integers(1, 8), st.randoms(use_true_random=False))
def test_every_row_returns_to_its_sender(plan, max_rows, random):
    async def work():
        batcher = Batcher(model := Echo(), 10_000, max_rows)

        async def one(index, size, kind):
            numbers = [index * 100 + k for k in range(size)]
            if kind == "poison":
                numbers[random.randrange(size)] = -1
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)
            task = asyncio.ensure_future(batcher.predict(rows(*numbers), 1e-9 if kind == "impatient" else 20))
            if kind == "leaves":
                await asyncio.sleep(0)
                task.cancel()
            return numbers, (await asyncio.gather(task, return_exceptions=True))[0]

        answers = await asyncio.gather(*(one(i, size, kind) for i, (size, kind) in enumerate(plan)))
        for (_, kind), (numbers, answer) in zip(plan, answers, strict=True):
            if kind == "fine" or isinstance(answer, np.ndarray):
                assert answer[:, 0].tolist() == numbers
            elif kind == "poison":
                assert isinstance(answer, StepFailed)
            elif kind == "leaves":
                assert isinstance(answer, asyncio.CancelledError)
            else:
                assert refusal_of(answer).code == "deadline"
        assert batcher.waiting_rows == 0
        assert max(model.batches, default=0) <= max_rows
        batcher.close()

    run(work)


def test_a_closed_batcher_leaves_no_thread_that_the_end_of_the_process_could_catch_in_native_code():
    async def work():
        batcher = Batcher(Echo(), 100)
        await batcher.predict(rows(1), 20)
        batcher.close()
        assert not batcher._worker.is_alive()

    run(work)


def test_an_idle_request_starts_at_once_and_alone():
    async def work():
        batcher = Batcher(model := Echo(), 100)
        for number in range(5):
            assert (await batcher.predict(rows(number), 5)).tolist() == [[number]]
        assert model.batches == [1] * 5

    run(work)


def test_what_arrives_while_a_batch_runs_is_the_next_batch():
    async def work():
        batcher = Batcher(model := Echo(threading.Event()), 100)
        first = asyncio.ensure_future(batcher.predict(rows(0), 20))
        await entered(model)
        later = [asyncio.ensure_future(batcher.predict(rows(n), 20)) for n in range(1, 8)]
        await asyncio.sleep(0)
        assert batcher.waiting_rows == 7
        model.gate.set()
        assert [(await answer)[0, 0] for answer in [first, *later]] == list(range(8))
        assert model.batches == [1, 7]

    run(work)


def test_batch_limit_counts_rows_and_a_large_request_runs_in_several():
    async def work():
        ran = []
        batcher = Batcher(model := Echo(), 1000, 4, lambda n, seconds: ran.append(n))
        answers = await asyncio.gather(*(batcher.predict(rows(*range(start, start + 7)), 20) for start in (0, 7, 14)))
        assert np.concatenate(answers)[:, 0].tolist() == list(range(21))
        assert model.batches == [4, 4, 4, 4, 4, 1]
        assert ran == model.batches

    run(work)


def test_a_full_queue_refuses_with_its_numbers():
    async def work():
        batcher = Batcher(model := Echo(threading.Event()), 5)
        first = asyncio.ensure_future(batcher.predict(rows(0), 20))
        await entered(model)
        waiting = asyncio.ensure_future(batcher.predict(rows(1, 2, 3, 4), 20))
        await asyncio.sleep(0)
        with pytest.raises(AdmissionError) as caught:
            await batcher.predict(rows(5, 6), 20)
        told = refusal_of(caught.value)
        assert (told.code, told.retry_after) == ("queue_full", 1)
        assert told.message == "4 rows wait already and 2 more pass the limit of 5"
        model.gate.set()
        await asyncio.gather(first, waiting)
        assert (await batcher.predict(rows(7, 8), 20)).tolist() == [[7], [8]]

    run(work)


def test_one_who_leaves_the_queue_frees_its_place_and_is_not_computed():
    async def work():
        batcher = Batcher(model := Echo(threading.Event()), 3)
        first = asyncio.ensure_future(batcher.predict(rows(0), 20))
        await entered(model)
        leaver = asyncio.ensure_future(batcher.predict(rows(1, 2, 3), 20))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        assert batcher.waiting_rows == 0
        stayer = asyncio.ensure_future(batcher.predict(rows(4, 5), 20))
        await asyncio.sleep(0)
        model.gate.set()
        await first
        assert (await stayer).tolist() == [[4], [5]]
        assert model.batches == [1, 2]

    run(work)


def test_a_deadline_passes_for_who_waits_and_for_who_is_being_computed():
    async def work():
        batcher = Batcher(model := Echo(threading.Event()), 10)
        running = asyncio.ensure_future(batcher.predict(rows(0), 0.05))
        await entered(model)
        waiting = asyncio.ensure_future(batcher.predict(rows(1, 2), 0.05))
        outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
        assert [refusal_of(outcome).code for outcome in outcomes] == ["deadline", "deadline"]
        assert "0 of 1 rows were still waiting" in str(outcomes[0])
        assert "2 of 2 rows were still waiting" in str(outcomes[1])
        model.gate.set()
        assert (await batcher.predict(rows(3), 20)).tolist() == [[3]]
        assert model.batches == [1, 1]

    run(work)


def test_poison_fails_its_own_sender_only():
    async def work():
        batcher = Batcher(model := Echo(threading.Event()), 100)
        tasks = [asyncio.ensure_future(batcher.predict(rows(0), 20))]
        await entered(model)
        tasks += [asyncio.ensure_future(batcher.predict(rows(n), 20)) for n in (1, -1, 2)]
        await asyncio.sleep(0)
        model.gate.set()
        zero, one, poison, two = await asyncio.gather(*tasks, return_exceptions=True)
        assert (zero.item(), one.item(), two.item()) == (0, 1, 2)
        assert isinstance(poison, StepFailed)
        assert isinstance(poison.__cause__, KeyError)

    run(work)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.zeros((1, 1)), r"shape \(1, 1\) where rows and classes ask for \(2, 1\)"),
        (np.zeros((2, 3)), r"shape \(2, 3\)"),
        (np.array([[0.5], [np.nan]]), "row 1"),
        (np.array([[np.inf], [0.5]]), "row 0"),
        ("nonsense", "could not convert"),
    ],
)
def test_a_model_is_held_to_its_word(answer, said):
    class Wrong(Echo):
        def predict(self, batch):
            return answer

    async def work():
        with pytest.raises(StepFailed, match=said):
            await Batcher(Wrong(), 100).predict(rows(1, 2), 20)

    run(work)


@pytest.mark.parametrize("raised", [SystemExit(3), StopIteration(), KeyboardInterrupt(), AdmissionError("mine")])
def test_nothing_that_a_model_raises_ends_the_worker(raised):
    class Rude(Echo):
        def predict(self, batch):
            if batch.column("n")[0].as_py() == 1:
                raise raised
            return super().predict(batch)

    async def work():
        batcher = Batcher(Rude(), 100)
        with pytest.raises(StepFailed, match=type(raised).__name__):
            await batcher.predict(rows(1), 20)
        assert (await batcher.predict(rows(2), 20)).tolist() == [[2]]

    run(work)


def test_draining_refuses_the_new_and_finishes_the_old():
    async def work():
        batcher = Batcher(model := Echo(threading.Event()), 100)
        old = [asyncio.ensure_future(batcher.predict(rows(n), 20)) for n in range(3)]
        await entered(model)
        batcher.drain()
        with pytest.raises(AdmissionError) as caught:
            await batcher.predict(rows(9), 20)
        assert refusal_of(caught.value).code == "draining"
        model.gate.set()
        assert [(await answer).item() for answer in old] == [0, 1, 2]

    run(work)


def test_a_loop_that_ends_before_its_model_does_no_harm():
    model, done = Echo(threading.Event()), []

    async def work():
        batcher = Batcher(model, 100)
        task = asyncio.ensure_future(batcher.predict(rows(1), 20))
        await entered(model)
        task.cancel()
        batcher.close()
        done.append(batcher)

    run(work)
    model.gate.set()
    done[0]._worker.join(10)
    assert not done[0]._worker.is_alive()
