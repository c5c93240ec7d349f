"""Training a model whose state does not fit the fast memory: the model in shards, each loaded when it is needed."""
