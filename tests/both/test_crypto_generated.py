"""The generated crypto sources are what their generators write."""

import re
import subprocess
import sys

import pytest

from tests.mpy import REPO


@pytest.mark.parametrize("name", ["crypto_comb", "crypto_field"])
def test_file_is_up_to_date(name):
    done = subprocess.run([sys.executable, str(REPO / f"tools/generate/{name}.py"), "--check"], check=False)
    assert done.returncode == 0, f"run: python tools/generate/{name}.py"


MUL, SQR, BOTH, TIGHT = 0, 1, 2, 3  # crypto/field.py
X, Y, A, B, C, E, ONE, D = 6, 7, 10, 11, 12, 13, 17, 29  # crypto/point.py
V, U, UV3, UV7 = 33, 35, 37, 38


def power_chain(z: int) -> list:
    """A = z^(2^250 - 1) and C = z^11; uses B, E. RFC 8032 leaves the chain open; this one is Bernstein's: 249
    squarings, 10 products.
    """
    return [
        (SQR, A, z, 1), (SQR, B, A, 2), (MUL, B, z, B), (MUL, C, A, B),  # 2, 9, 11
        (SQR, A, C, 1), (MUL, B, B, A),  # 2^5 - 1
        (SQR, A, B, 5), (MUL, B, A, B),
        (SQR, A, B, 10), (MUL, A, A, B), (SQR, E, A, 20), (MUL, A, E, A),  # 2^40 - 1
        (SQR, A, A, 10), (MUL, B, A, B),  # 2^50 - 1
        (SQR, A, B, 50), (MUL, A, A, B), (SQR, E, A, 100), (MUL, A, E, A),  # 2^200 - 1
        (SQR, A, A, 50), (MUL, A, A, B),  # 2^250 - 1
    ]  # fmt: skip


def test_decompression_is_written_out_right():
    """RFC 8032 section 5.1.3: x = u * v^3 * (u * v^7)^((p - 5) / 8); then E, H = v * x^2 -+ u."""
    steps = [
        (SQR, A, Y, 1), (MUL, C, A, D), (BOTH, U, A, ONE), (BOTH, V, C, ONE), (TIGHT, V, V + 1, 0), (TIGHT, U, U, 0),
        (SQR, A, V, 1), (MUL, A, A, V), (MUL, UV3, A, U), (SQR, A, A, 1), (MUL, A, A, V), (MUL, UV7, A, U),
        *power_chain(UV7),
        (SQR, A, A, 2), (MUL, A, A, UV7), (MUL, X, A, UV3), (SQR, A, X, 1), (MUL, A, A, V), (BOTH, E, A, U),
    ]  # fmt: skip
    source = (REPO / "firmware/holdfire_station/crypto/opening.py").read_text()
    written = re.search(r"_DECOMPRESS = \(\n(.*?)\n\)", source, re.DOTALL)[1]
    assert bytes.fromhex("".join(re.findall(r"x([0-9a-f]{2})", written))) == bytes(n for step in steps for n in step)
