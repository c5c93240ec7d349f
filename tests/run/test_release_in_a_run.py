"""Blessing and publishing inside a run: who is refused and why, and that doing it twice is doing it once."""

from __future__ import annotations

import pytest

from crash import grain
from lineshaft.core import names

LIVE = "mill@live"
HARMLESS = ("cracked", "scratched")  # another word of the lists: another model, about as good


def history(job):
    with job.home() as home:
        return names.entries(home.catalog, LIVE)


def live(job):
    with job.home() as home:
        found = names.look_up(home.catalog, LIVE)
        return None if found is None else found.digest


def refused(job, code, **environment):
    """Run a job that must end with a refusal or an error; return what it said, which holds no traceback."""
    ended = job.call("run", "mill.py", **environment)
    assert ended.code == code, ended
    assert "Traceback" not in ended.err
    return ended.err.strip().splitlines()


def other_model(job):
    job.edit(
        ('"broken", "noisy", "slow", "cracked"', '"broken", "noisy", "slow", "scratched"'), ("epochs=4", "epochs=3")
    )


def test_a_model_that_breaks_a_rule_is_not_published_and_the_rules_are_listed(fresh):
    job = fresh(('ls.at_least("accuracy", 0.5)', 'ls.at_least("accuracy", 1.01)'))
    said = refused(job, 1)
    start = next(number for number, line in enumerate(said) if line.startswith("Refused: "))
    assert said[start] == "Refused: mill@live is not published: the model is not blessed"
    assert said[start + 1].startswith("FAILED: accuracy at least 1.01: ")
    assert said[start + 2].startswith("passed: accuracy no worse than mill@live: ")
    assert live(job) is None
    assert job.statuses() == ["failed"]


def test_a_refused_run_keeps_its_steps_and_goes_on_when_the_rule_is_eased(fresh, clean):
    job = fresh(('ls.at_least("accuracy", 0.5)', 'ls.at_least("accuracy", 1.01)'))
    refused(job, 1)
    job.edit(('ls.at_least("accuracy", 1.01)', 'ls.at_least("accuracy", 0.5)'))
    job.run()
    assert job.executed() == ["bless"]
    assert live(job) == clean.state.names[LIVE]


def test_publishing_the_live_model_again_leaves_no_trace_in_its_history(done, clean):
    done.run()
    done.run()
    assert [entry.digest for entry in history(done)] == [clean.state.names[LIVE]]


def test_a_second_model_is_compared_with_the_first_which_is_not_measured_again(done, clean):
    other_model(done)
    done.run()
    assert done.executed().count("evaluate") == 1
    first, second = (entry.digest for entry in history(done))
    assert first == clean.state.names[LIVE] != second
    blessing = judged(done)
    assert blessing["verdicts"][1]["wanted"] is not None
    assert done.run()["executed"] == 0  # compared with the first, as when it was published


def judged(job):
    with job.home() as home:
        return home.get(job.made("bless", "blessing")[-1])


def test_a_model_worse_than_the_live_one_is_refused(done, clean):
    done.edit(("[0.003, 0.01, 0.05]", "[0.0]"), ('ls.at_least("accuracy", 0.5), ', ""))
    said = refused(done, 1)
    assert any(line.startswith("FAILED: accuracy no worse than mill@live: ") for line in said)
    assert live(done) == clean.state.names[LIVE]


def test_after_going_back_the_first_is_live_and_a_run_publishes_the_second_again(done, clean):
    first = clean.state.names[LIVE]
    other_model(done)
    done.run()
    second = live(done)
    assert done.call("publish", LIVE, "--previous", "--json").json["digest"] == first == live(done)
    assert done.run()["executed"] == 0
    assert [entry.digest for entry in history(done)] == [first, second, first, second]
    assert done.run()["executed"] == 0
    assert len(history(done)) == 4


def test_after_going_back_the_first_script_finds_its_model_live_and_executes_nothing(done, clean):
    before = (done.folder / "mill.py").read_text()
    other_model(done)
    done.run()
    done.call("publish", LIVE, "--previous")
    (done.folder / "mill.py").write_text(before)
    assert done.run()["executed"] == 0
    assert live(done) == clean.state.names[LIVE]
    assert len(history(done)) == 3


def test_there_is_nothing_before_the_first(done):
    assert "nothing before it" in done.fails(1, "publish", LIVE, "--previous")
    assert "nothing is published as 'nobody@live'; there are mill@live" in done.fails(2, "publish", "nobody@live")


def test_a_model_whose_training_rows_no_schema_checked_cannot_be_blessed(fresh):
    job = fresh(('run.select(recipe, good["train"]', 'run.select(recipe, raw["train"]'))
    assert "no schema" in refused(job, 2)[-1]
    assert live(job) is None


def test_the_trial_serves_under_the_schema_of_training(done):
    """The rows to measure on may come by another way; what counts is what the real server will check with."""
    done.edit(('on=good["test"]', 'on=raw["test"]'))
    assert done.run()["executed"] == 0


# data and labels that do not do


def test_an_unknown_gold_column_is_named_with_those_that_are_there(fresh):
    job = fresh(('gold="expert"', 'gold="nobody"'))
    said = refused(job, 2)[-1]
    assert "no column 'nobody'; the table has id, shop, text, stars, expert" in said


def test_gold_that_is_no_class_is_refused(fresh):
    job = fresh(('classes=["bad", "good"]', 'classes=["bad", "splendid"]'))
    assert "'good' is not" in refused(job, 2)[-1]


def test_training_without_a_single_label_is_refused(fresh):
    job = fresh(
        (
            'run.label(good["train"], sources, task)',
            'run.label(good["train"], sources[2:3], ls.Task("t", task.classes))',
        )
    )
    grain.write(job.folder / "raw.parquet", [row | {"text": "a lamp"} for row in grain.sentences()])
    assert "label" in refused(job, 2)[-1]


def test_no_sources_at_all_train_on_the_experts_alone(fresh):
    job = fresh(('run.label(good["train"], sources, task)', 'run.label(good["train"], [], task)'))
    job.run()
    tiers = job.content("step count_labels", "result")
    assert set(tiers) == {"expert"}


def test_data_with_a_missing_column_does_not_pass_the_gate(done, clean):
    done.rewrite([{name: value for name, value in row.items() if name != "stars"} for row in grain.sentences()])
    said = refused(done, 1)
    assert any(line.startswith("Refused: train breaks the schema as a whole:") for line in said)
    assert any("stars" in line for line in said)
    assert live(done) == clean.state.names[LIVE]


def test_rows_that_break_the_schema_are_set_aside_and_the_run_goes_on(done):
    rows = grain.sentences()
    done.rewrite([row | {"stars": -3} if number < 5 else row for number, row in enumerate(rows)])
    done.run()
    with done.home() as home:
        rejected = [
            home.get(artifact) for part in ("train", "test") for artifact in done.made(f"check {part}", "rejected")
        ]
    assert sorted(row for table in rejected for row in table.column("row_id").to_pylist()) == [
        f"n{n:03}" for n in range(5)
    ]


def test_the_inferred_schema_does_not_list_the_groups_that_training_happened_to_get(done):
    """Groups of the test part are others by construction: a list of them would reject every test row."""
    text = (done.folder / "mill.schema.toml").read_text()
    shop = text.partition("[columns.shop]")[2].partition("[columns.")[0]
    assert shop.strip() == 'type = "string"'


def test_a_key_that_repeats_is_refused_before_anything_else(fresh):
    job = fresh()
    rows = grain.sentences()
    job.rewrite([*rows, rows[0]])
    assert "the key id is not unique: 'n000' stands in 2 rows" in refused(job, 2)[-1]


# search


def test_a_diverging_candidate_costs_only_itself(fresh):
    job = fresh(("[0.003, 0.01, 0.05]", "[0.003, 1e30, 0.05]"))
    job.run()
    assert len(job.events("training.diverged")) == 1
    assert job.run()["executed"] == 0
    assert live(job) is not None


def test_the_other_candidates_are_as_good_as_without_it(fresh, clean):
    job = fresh(("[0.003, 0.01, 0.05]", "[0.003, 1e30, 0.05]"))
    job.run()
    for rate in (0.003, 0.05):
        step = f"train head [optimizer.lr={rate}]"
        assert job.made(step, "state") == clean.job.made(step, "state")


def test_when_all_diverge_the_run_says_so(fresh):
    job = fresh(("[0.003, 0.01, 0.05]", "[1e30, 1e31]"))
    said = refused(job, 2)[-1]
    assert "no candidate reached 4 epochs with a finite validation_loss" in said


def test_successive_halving_trains_on_the_better_half_and_ends_with_the_same_model(fresh, clean):
    job = fresh(("labels, space=SPACE)", "labels, space=SPACE, halving=2)"))
    job.run()
    steps = [step for step in job.executed() if step.startswith("train ")]
    assert len(steps) == 3 + 2 + 1  # after 1, 2 and 4 epochs
    (winner,) = {step for step in steps if steps.count(step) == 3}
    assert job.made(winner, "state")[-1] == clean.job.made(winner, "state")[0]
    assert job.run()["executed"] == 0


def test_a_search_in_a_budget_is_the_same_search(fresh, done, clean):
    """Where a training runs changes nothing that it makes, so another budget repeats nothing."""
    budget = ("labels, space=SPACE)", 'labels, space=SPACE, memory="30KB")')
    job = fresh(budget)
    job.run()
    assert job.state().outputs == clean.state.outputs
    job.edit(('memory="30KB"', 'memory="40KB"'))
    assert job.run()["executed"] == 0
    job.edit(("epochs=4", 'epochs=4, split=["2"]'))
    assert job.run()["executed"] == 0
    done.edit(budget)
    assert done.run()["executed"] == 0


def test_split_points_reach_the_training(fresh):
    job = fresh(("labels, space=SPACE)", 'labels, space=SPACE, memory="30KB")'), ("epochs=4", 'epochs=4, split=["x"]'))
    assert "split='x': the model has no module of that name" in refused(job, 2)[-1]


def test_a_random_search_draws_the_same_candidates_every_time(fresh):
    job = fresh(("labels, space=SPACE)", 'labels, space=SPACE, how="random", n=2, seed=3)'))
    job.run()
    assert len([step for step in job.executed() if step.startswith("train ")]) == 2
    assert job.run()["executed"] == 0


def test_an_unknown_metric_names_those_there_are(fresh):
    job = fresh(("labels, space=SPACE)", 'labels, space=SPACE, metric="f1")'))
    assert (
        "no metric 'f1' to select by; there are train_loss, validation_loss, validation_accuracy" in refused(job, 2)[-1]
    )
    assert not [step for step in job.executed() if step.startswith("train ")]


def test_without_rows_to_validate_on_one_model_trains_and_a_search_asks_for_another_metric(fresh):
    alone = 'run.train(dataclasses.replace(recipe, patience=None), good["train"], labels, validation=0)'
    job = fresh(
        ('run.select(recipe, good["train"], labels, space=SPACE)', alone),
        ("import os\n", "import dataclasses\nimport os\n"),
    )
    job.run()
    assert job.content("train head", "curves")["best_epoch"] == 4
    job = fresh(("labels, space=SPACE)", "labels, space=SPACE, validation=0)"))
    assert "no metric 'validation_loss' to select by; there are train_loss" in refused(job, 2)[-1]


@pytest.mark.parametrize("share", ["1.0", "-0.1"])
def test_a_validation_share_that_is_none_is_refused_before_training(fresh, share):
    job = fresh(("labels, space=SPACE)", f"labels, space=SPACE, validation={share})"))
    assert "is not a share" in refused(job, 2)[-1]
    assert not [step for step in job.executed() if step.startswith("train ")]
