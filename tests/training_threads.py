"""The threads that training has, as opposed to those of models that other tests of the process left being served."""

import threading

_OTHERS = {"lineshaft-model", "lineshaft-server"}


def training_threads():
    own = (one for one in threading.enumerate() if one.name.startswith("lineshaft-"))
    return [one for one in own if one.name not in _OTHERS]
