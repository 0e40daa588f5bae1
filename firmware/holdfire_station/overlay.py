"""Modules that are in memory only while they are used: what a person types is rare, and RAM is not plentiful."""

import sys


def with_module(name: str, function: str, *arguments):
    """Result of `name.function(*arguments)`; `name` is the whole name of a module that is forgotten afterwards."""
    __import__(name)
    try:
        return getattr(sys.modules[name], function)(*arguments)
    finally:
        forget(name)


def alone(name: str, function: str, *arguments):
    """Like `with_module`, and whatever else was loaded for it is forgotten, too."""
    before = list(sys.modules)
    try:
        return with_module(name, function, *arguments)
    finally:
        forget(*[other for other in list(sys.modules) if other not in before])


def forget(*names) -> None:
    """Drop modules, whole names, as far as they are loaded; the collector can then have them."""
    for name in names:
        if sys.modules.pop(name, None) is not None:
            package, _, leaf = name.rpartition(".")
            delattr(sys.modules[package], leaf)
