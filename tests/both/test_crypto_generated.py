"""The generated crypto sources are what their generators write."""

import subprocess
import sys

import pytest

from tests.mpy import REPO


@pytest.mark.parametrize("name", ["crypto_comb", "crypto_field"])
def test_file_is_up_to_date(name):
    done = subprocess.run([sys.executable, str(REPO / f"tools/generate/{name}.py"), "--check"], check=False)
    assert done.returncode == 0, f"run: python tools/generate/{name}.py"
