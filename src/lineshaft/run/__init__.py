"""Run: the user's facade over the stages, the only place that knows them all."""

from lineshaft.run.facade import Run, run

__all__ = ["Run", "run"]
