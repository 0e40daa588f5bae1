"""No test is asked for a passphrase: it is in the environment, as a script would have it."""

import pytest

from holdfire import authority

from .made import PASSPHRASE


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch):
    monkeypatch.setenv(authority.VARIABLE, PASSPHRASE)
