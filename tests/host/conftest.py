"""No test is asked for a passphrase: it is in the environment, as for a script; and it is stretched but a little."""

import pytest

from holdfire import authority

from .made import PASSPHRASE


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch):
    monkeypatch.setenv(authority.VARIABLE, PASSPHRASE)
    monkeypatch.setattr(authority, "SCRYPT_N", 1 << 4)  # test_authority.py has the real one
