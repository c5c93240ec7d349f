"""Names remember: publishing twice changes nothing, going back walks the publications like a stack."""

from __future__ import annotations

import pytest

from core.jobs import session, start, step_of
from lineshaft.core import names
from lineshaft.errors import Refused, UsageError
from lineshaft.serve.model import split_name

NAME = "reviews@live"


@pytest.fixture
def catalog(home):
    return home.catalog


@pytest.fixture
def three(home):
    with session(home) as shaft:
        return [shaft.one(step_of(start, value))["x"] for value in range(3)]


def test_a_name_points_at_what_was_published_last(catalog, three):
    assert names.look_up(catalog, NAME) is None
    for artifact in three:
        assert names.publish(catalog, NAME, artifact, "run", {"by": "test"})
        found = names.look_up(catalog, NAME)
        assert (found, found.meta) == (artifact, artifact.meta)
    assert names.all_names(catalog) == {NAME: three[2].digest}
    history = names.entries(catalog, NAME)
    assert [(entry.previous, entry.digest) for entry in history] == [
        (None, three[0].digest),
        (three[0].digest, three[1].digest),
        (three[1].digest, three[2].digest),
    ]
    assert history[0].note == {"by": "test"}
    assert history[0].run == "run"


def test_publishing_the_same_again_changes_nothing(catalog, three):
    assert names.publish(catalog, NAME, three[0], None, {})
    assert not names.publish(catalog, NAME, three[0], None, {})
    assert len(names.entries(catalog, NAME)) == 1


def publish(catalog, *artifacts):
    for artifact in artifacts:
        names.publish(catalog, NAME, artifact, None, {})


def back(catalog):
    return names.go_back(catalog, NAME).digest


def test_going_back_walks_to_the_first(catalog, three):
    a, b, c = three
    publish(catalog, a, b, c)
    assert [back(catalog), back(catalog)] == [b.digest, a.digest]
    assert names.look_up(catalog, NAME) == a
    with pytest.raises(Refused, match="first artifact"):
        back(catalog)


def test_going_back_after_publishing_from_an_earlier_point(catalog, three):
    a, b, c = three
    publish(catalog, a, b)
    back(catalog)
    publish(catalog, c)
    assert back(catalog) == a.digest
    with pytest.raises(Refused):
        back(catalog)


def test_going_back_ends_even_where_an_artifact_was_published_twice(catalog, three):
    a, b, _ = three
    publish(catalog, a, b, a)
    assert [back(catalog), back(catalog)] == [b.digest, a.digest]
    with pytest.raises(Refused):
        back(catalog)


def test_a_publication_is_told_from_a_going_back(catalog, three):
    a, b, _ = three
    names.publish(catalog, NAME, a, "first", {"n": 1})
    names.publish(catalog, NAME, b, "second", {"n": 2})
    names.go_back(catalog, NAME)
    assert names.published_entry(catalog, NAME, a.digest).note == {"n": 1}
    assert names.entries(catalog, NAME)[-1].note["rollback"]
    assert names.published_entry(catalog, NAME, "0" * 64) is None


def test_an_unpublished_name_cannot_go_back(catalog):
    with pytest.raises(UsageError, match="nothing is published as 'reviews@live'"):
        back(catalog)


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "a/b", "-a", ".a", "a" * 65, "a\n", "ä", "a%2f", "a\x00"])
def test_what_is_no_name_is_refused(catalog, three, name):
    with pytest.raises(UsageError, match="is not a name"):
        names.publish(catalog, name, three[0], None, {})
    with pytest.raises(UsageError, match="is not a name"):
        names.look_up(catalog, name)
    assert names.all_names(catalog) == {}


@pytest.mark.parametrize("name", ["a", "0", "reviews@live", "a.b_c-d@e", "a" * 64])
def test_what_is_a_name_is_taken(name):
    assert names.check(name) == name


@pytest.mark.parametrize("name", ["a@b@c", "a@", "a@.b", "A", "a" * 65])
def test_what_could_never_be_served_is_not_published(catalog, three, name):
    with pytest.raises(UsageError, match="is not a name: use NAME or NAME@VERSION"):
        names.publish(catalog, name, three[0], None, {})
    assert names.all_names(catalog) == {}


@pytest.mark.parametrize("name", ["a", "a@b", "0.a-b_c@1"])
def test_what_is_published_can_be_served(catalog, three, name):
    assert names.publish(catalog, name, three[0], None, {})
    assert "@".join(split_name(name)).startswith(name)
