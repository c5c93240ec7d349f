"""A training step as a program: generators write it, placement completes it, an executor runs it."""
