"""Data verification: mergeable statistics, schemas that people own, and one set of reasons for batches and requests."""
