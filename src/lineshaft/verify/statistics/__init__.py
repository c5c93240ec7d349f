"""One-pass statistics whose states merge: one file per sketch, `onepass` folds them, `summary` reads them."""
