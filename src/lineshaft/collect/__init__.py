"""Data collection as data fusion: sources vote, fusion weighs them, provenance stays."""
