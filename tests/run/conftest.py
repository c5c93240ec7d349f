from crash.fixtures import clean, done, fresh, prepared

__all__ = ["clean", "done", "fresh", "prepared"]
