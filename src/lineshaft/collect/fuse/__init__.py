"""Label models: many unreliable votes, one weighted fact."""
