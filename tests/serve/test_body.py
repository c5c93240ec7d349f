"""One request's body: bounded in bytes and time whatever the sender announces and however it sends."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineshaft.core.admit import Limits, refusal_of
from lineshaft.errors import AdmissionError
from lineshaft.serve.body import Body

LIMITS = Limits(body=100, body_seconds=0.05, linger_seconds=0.05)


class Sender:
    """ASGI's receive: pieces of a body, then silence or a goodbye."""

    def __init__(self, *pieces, leaves=False, stalls=False):
        self.messages = [
            {"type": "http.request", "body": piece, "more_body": n + 1 < len(pieces) or leaves or stalls}
            for n, piece in enumerate(pieces)
        ]
        self.messages += [{"type": "http.disconnect"}] if leaves else []
        self.taken = 0

    async def __call__(self):
        if not self.messages:
            await asyncio.Event().wait()
        self.taken += 1
        return self.messages.pop(0)


def body(sender, *headers):
    return Body(list(headers) or [(b"transfer-encoding", b"chunked")], sender, LIMITS)


def refusal(made):
    with pytest.raises(AdmissionError) as caught:
        asyncio.run(made.read())
    return refusal_of(caught.value).code


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6))
def test_pieces_are_joined_or_refused_by_their_sum(pieces):
    made = body(Sender(*pieces))
    if sum(map(len, pieces)) <= LIMITS.body:
        assert asyncio.run(made.read()) == b"".join(pieces)
        assert made.ended
    else:
        assert refusal(made) == "too_large"


def test_an_announced_length_past_the_limit_reads_nothing():
    sender = Sender(b"x")
    assert refusal(body(sender, (b"content-length", b"101"))) == "too_large"
    assert sender.taken == 0


def test_reading_stops_at_the_first_piece_too_many():
    sender = Sender(*[b"x" * 30] * 50)
    assert refusal(body(sender)) == "too_large"
    assert sender.taken == 4


def test_a_body_that_stalls_times_out_and_is_not_waited_for_again():
    made = body(Sender(b"x", stalls=True))
    assert refusal(made) == "timeout"
    asyncio.run(made.discard())
    assert not made.ended


def test_a_sender_that_leaves_is_gone():
    made = body(Sender(b"x", leaves=True))
    assert refusal(made) == "gone"
    assert made.ended


@pytest.mark.parametrize(
    ("headers", "ended"),
    [
        ([(b"host", b"x")], True),
        ([(b"content-length", b"0")], True),
        ([(b"content-length", b"00")], True),
        ([(b"content-length", b"1")], False),
        ([(b"transfer-encoding", b"chunked")], False),
    ],
)
def test_a_head_tells_whether_a_body_follows(headers, ended):
    assert body(Sender(), *headers).ended == ended


def test_the_rest_of_a_refused_body_is_thrown_away_for_a_while():
    finished = body(Sender(*[b"x" * 1000] * 5))
    asyncio.run(finished.discard())
    assert finished.ended
    endless = body(Sender(b"x", stalls=True))
    asyncio.run(endless.discard())
    assert not endless.ended
    left = body(Sender(b"x", leaves=True))
    asyncio.run(left.discard())
    assert left.ended


def test_nothing_is_waited_for_from_a_client_that_waits_for_leave():
    sender = Sender(b"x")
    made = body(sender, (b"content-length", b"5000"), (b"expect", b"100-continue"))
    assert refusal(made) == "too_large"
    asyncio.run(made.discard())
    assert sender.taken == 0


def test_gone_returns_when_the_client_left():
    asyncio.run(body(Sender(b"x", leaves=True)).gone())
