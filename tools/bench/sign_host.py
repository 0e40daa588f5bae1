"""The host's signature checks (holdfire.ed25519_strict) against the bare library calls they are built on, in the same
run.

One thread, in processor time; a record of ordinary size; the best of several rounds, interleaved.
"""

import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire import ed25519_strict

HELP = "verifications a second on the host: our rule against the bare libraries"


def rate(function: Callable[[], object], count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        function()
    return count / (time.process_time() - start)


def add_arguments(parser) -> None:
    parser.add_argument("--count", type=int, default=2000, help="verifications a round (default 2000)")
    parser.add_argument("--length", type=int, default=160, help="bytes of the message (default 160)")
    parser.epilog = "example: .venv/bin/python tools/bench sign_host --count 4000"


def main(args) -> int:
    key, message = Ed25519PrivateKey.generate(), bytes(args.length)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    loaded = key.public_key()
    calls = {"OpenSSL, bare": lambda: loaded.verify(signature, message)}
    ours = ed25519_strict.verify_with(ed25519_strict.openssl)
    calls["our rule on OpenSSL"] = lambda: ours(public, message, signature)
    baseline = "OpenSSL, bare"
    if ed25519_strict.sodium is not None:
        from nacl.bindings import crypto_sign_open

        baseline, signed = "libsodium, bare", signature + message
        calls[baseline] = lambda: crypto_sign_open(signed, public)
        calls["our rule on libsodium"] = lambda: ed25519_strict.verify(public, message, signature)
    best = dict.fromkeys(calls, 0.0)
    for _ in range(5):
        for name, call in calls.items():
            best[name] = max(best[name], rate(call, args.count))
    for name, value in best.items():
        print(f"{name:24}{value:>10,.0f} a second   {value / best[baseline]:.2f} x {baseline}")
    return 0
