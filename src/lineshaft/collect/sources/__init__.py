"""Sources of votes: Python functions, keywords, regular expressions, expressions and models."""

from lineshaft.collect.sources.base import Source
from lineshaft.collect.sources.functions import FunctionSource, labeling_function
from lineshaft.collect.sources.models import ModelSource, model_source
from lineshaft.collect.sources.vectorised import ExpressionSource, PatternSource, expression, keywords, regex

__all__ = [
    "ExpressionSource", "FunctionSource", "ModelSource", "PatternSource", "Source",
    "expression", "keywords", "labeling_function", "model_source", "regex",
]  # fmt: skip
