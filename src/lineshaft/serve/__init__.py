"""Serving: one model, online over HTTP and offline from file to file, with the same rows, checks and answers."""
