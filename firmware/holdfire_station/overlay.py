"""Modules that are in memory only while they are used: what a person types is rare, and RAM is not.

`with_module` imports a module of this package, calls one of its functions and forgets the module again.
"""

import sys

import holdfire_station


def with_module(name: str, function: str, *arguments):
    """Result of `holdfire_station.<name>.<function>(*arguments)`; the module may be collected afterwards."""
    path = "holdfire_station." + name
    __import__(path)
    try:
        return getattr(sys.modules[path], function)(*arguments)
    finally:
        forget(name)


def forget(name: str) -> None:
    """Drop a module of this package, if it is loaded."""
    if sys.modules.pop("holdfire_station." + name, None) is not None:
        delattr(holdfire_station, name)
