"""Records a second that the collector verifies, stores and acknowledges on one core, against bare signature checks.

The pipeline is the real one (holdfire.ingest, holdfire.beacons) from the bytes of serial lines to signed beacon lines,
with commits that reach the disk; only the ports and their pacing are left out. Baselines: bare Ed25519 verification of
the same signatures by PyNaCl and by cryptography, on the same core, in turn with the pipeline.

example: .venv/bin/python tools/bench collector
example: .venv/bin/python tools/bench collector --kills 200      (kill -9 under load instead; minutes)
"""

import concurrent.futures
import gc
import os
import pathlib
import random
import statistics
import tempfile
import threading
import time

HELP = "records/s verified, stored and acknowledged on one core; or --kills N: kill -9 under load, nothing lost"


def add_arguments(parser):
    parser.add_argument("--records", type=int, default=8000, help="records a round, as in --records 2000")
    parser.add_argument("--rounds", type=int, default=8, help="rounds, as in --rounds 3")
    parser.add_argument("--batch", type=int, help="bytes a batch, as in --batch 4096 (default: batch_bytes)")
    parser.add_argument("--stored", type=int, default=100_000, help="records there before, as in --stored 1000000")
    parser.add_argument("--kills", type=int, default=0, help="kill the collector N times instead, as in --kills 200")
    parser.add_argument("--seed", type=int, help="of the kills, to repeat a run, as in --seed 7")
    parser.add_argument("--folder", help="where the database goes (default: a temporary folder), as in --folder .")


def main(args):
    if args.kills:
        from tests.system import kill9

        seed = args.seed if args.seed is not None else random.randrange(1 << 32)
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            report = kill9.run(pathlib.Path(folder), args.kills, seed, progress=True)
        print(report)
        return 0
    from holdfire.collector import GC_THRESHOLD

    gc.set_threshold(*GC_THRESHOLD)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        _measure(args, pathlib.Path(folder))
    return 0


def _measure(args, folder):
    from tests.system.peer import Chain, found_deployment

    from holdfire import config

    settings = config.make({"batch_bytes": args.batch} if args.batch else {})
    deployment, registry, keys = found_deployment(folder / "base")
    chains = [Chain(key, registry.network) for key in keys.values()]
    messages = [chains[i % len(chains)].make() for i in range(args.records)]
    size = sum(map(len, messages)) // len(messages)
    print(f"{args.rounds} rounds of {args.records} records of {size} bytes, {settings.batch_bytes} bytes a batch,")
    print(f"into a database of {args.stored} records")
    sodium, openssl, pipeline = [], [], []
    store = _store_with(args.stored, messages, folder / "bench.sqlite")
    for _ in range(args.rounds):
        messages = [chains[i % len(chains)].make() for i in range(args.records)]
        sodium.append(_rate_sodium(messages, registry))
        openssl.append(_rate_openssl(messages, registry))
        pipeline.append(_rate_pipeline(messages, registry, deployment, settings, store))
    store.close()
    print("                                   fastest round       median of the rounds")
    for name, rates in (
        ("bare verification, PyNaCl", sodium),
        ("bare verification, cryptography", openssl),
        ("verified, stored, acknowledged", pipeline),
    ):
        # Other programs only ever slow a round down, so the fastest says most about the program.
        best, middle = max(rates), statistics.median(rates)
        print(f"{name:32s} {best:8.0f} /s  {best / max(sodium):.2f}   {middle:8.0f} /s  {_ratio(rates, sodium):.2f}")
    print("the aim is 0.50 of PyNaCl's bare rate")
    chains = [Chain(key, registry.network) for key in keys.values()]  # whole ones: a part would wait to be linked
    messages = [chains[i % len(chains)].make() for i in range(args.records)]
    _profile(messages, registry, settings, deployment, folder)


def _ratio(rates, baseline):
    return statistics.median(a / b for a, b in zip(rates, baseline, strict=True))


def _signed(messages, registry):
    from holdfire_protocol import cose, fields

    aad = fields.AAD_RECORD + registry.network
    for message in messages:
        parts = cose.parse(message)
        yield registry.stations[parts.kid].public_key, cose.sig_structure(aad, parts.payload), parts.signature


def _rate_sodium(messages, registry):
    from nacl.bindings import crypto_sign_open

    calls = [(signature + signed, public) for public, signed, signature in _signed(messages, registry)]
    started = time.perf_counter()
    for signed, public in calls:
        crypto_sign_open(signed, public)
    return len(calls) / (time.perf_counter() - started)


def _rate_openssl(messages, registry):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    keys = {s.public_key: Ed25519PublicKey.from_public_bytes(s.public_key) for s in registry.stations.values()}
    calls = [(keys[public].verify, signature, signed) for public, signed, signature in _signed(messages, registry)]
    started = time.perf_counter()
    for verify, signature, signed in calls:
        verify(signature, signed)
    return len(calls) / (time.perf_counter() - started)


def _batches(messages, registry, settings):
    """The lines as ports would bring them: pieces of 4096 bytes, a port a station, gathered into batches."""
    from tests.system.peer import frame_line

    from holdfire.sources import READ_BYTES

    streams = {}
    for message in messages:
        kid = message[9:17]
        streams.setdefault(kid, bytearray()).extend(frame_line(registry.network, message))
    pieces = []
    for at in range(0, max(map(len, streams.values())), READ_BYTES):
        pieces += [(f"port {i}", bytes(s[at : at + READ_BYTES])) for i, s in enumerate(streams.values()) if len(s) > at]
    each = max(1, settings.batch_bytes // READ_BYTES)
    return [pieces[at : at + each] for at in range(0, len(pieces), each)]


def _store_with(count, messages, path):
    """A store that has been in use: other stations' records, with hashes as scattered as real ones."""
    from holdfire.store import Store

    store = Store(path)
    store.begin()
    for number in range(count):
        if number % 1000 == 999:
            store.commit()
            store.begin()
        station, seq = (number % 20).to_bytes(8, "big"), number // 20 + 1
        message = messages[number % len(messages)]
        store.insert_record(
            (os.urandom(32), station, seq, bytes(32), 1, 3, 1, 1, 1, None, 1, 2, None, 1, "usb", message)
        )  # fmt: skip
    store.commit()
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return store


def _rate_pipeline(messages, registry, deployment, settings, store):
    from holdfire.beacons import Beacons
    from holdfire.ingest import Ingest
    from holdfire.registry import load_collector_key
    from holdfire.times import now_us

    ingest = Ingest(registry, store, settings)
    beacons = Beacons(load_collector_key(deployment.key_path), registry.network, store, 1_000_000, now_us)
    batches = _batches(messages, registry, settings)
    beacons.lines([])  # reserves a block of numbers, which is long used by the time this rate is reached
    sent, stored = [], 0
    keeping = None

    def keep(judged, written):  # on the store's thread, as in holdfire.collector
        outcome = ingest.keep(judged, written.set)
        for kids in outcome.answers.values():
            sent.extend(beacons.lines(ingest.receipts(kids)))
        return outcome.stored

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(1) as writer:
        for batch in batches:
            judged = ingest.judge(batch)
            stored += keeping.result() if keeping else 0
            written = threading.Event()
            keeping = writer.submit(keep, judged, written)
            written.wait()
        stored += keeping.result()
    elapsed_s = time.perf_counter() - started
    if stored != len(messages) or not sent:
        raise SystemExit(f"only {stored} of {len(messages)} records were stored and linked: this is no measurement")
    return len(messages) / elapsed_s


def _profile(messages, registry, settings, deployment, folder):
    """Where the time goes: each stage alone over the same records."""
    from holdfire import ed25519_strict
    from holdfire.beacons import Beacons
    from holdfire.chain import Chains
    from holdfire.registry import load_collector_key
    from holdfire.store import Store
    from holdfire.times import now_us
    from holdfire.verify import Verifier
    from holdfire_protocol import cose, frame, line

    batches = _batches(messages, registry, settings)
    readers = {port: line.LineReader() for batch in batches for port, _ in batch}
    signed = list(_signed(messages, registry))
    payloads = Verifier(registry)._payloads
    parsed = [cose.parse(message).payload for message in messages]
    form = Verifier(registry, lambda *parts: None)
    store, commits = Store(folder / "profile.sqlite"), []
    beacons = Beacons(load_collector_key(deployment.key_path), registry.network, store, 1_000_000, now_us)
    receipts = [(kid, 1, bytes(32)) for kid in registry.stations]

    def read_lines():
        for batch in batches:
            for port, data in batch:
                for kind, content in readers[port].feed(data):
                    if kind == line.FRAME:
                        frame.decode(content, registry.network)

    def check_signatures():
        for public, message, signature in signed:
            ed25519_strict.verify(public, message, signature)

    def decode_payloads():
        for payload in parsed:
            payloads.decode(payload)

    def store_records():
        chains = Chains(store, registry.network)
        each = len(messages) // len(batches) + 1
        for at in range(0, len(verified), each):
            store.begin()
            for new in verified[at : at + each]:
                chains.add(new, None, 0, "port")
            before = time.perf_counter()
            store.commit()
            commits.append(time.perf_counter() - before)

    def make_beacons():
        for _ in range(len(batches) * len(readers)):
            beacons.lines(receipts[:1])

    verified = [form.check(message) for message in messages]
    stages = [
        ("lines and frames", _time(read_lines)),
        ("COSE, hash, no signature, no payload", 0.0),
        ("signature, by the strict rule", _time(check_signatures)),
        ("payload: cbor2, canonical, fields", _time(decode_payloads)),
        ("chain", _time(store_records, tries=1)),
        ("insert and commit", sum(commits)),
        ("beacons", _time(make_beacons)),
    ]
    whole_form = _time(lambda: [form.check(message) for message in messages])
    stages[1] = (stages[1][0], whole_form - stages[3][1])
    stages[4] = (stages[4][0], stages[4][1] - stages[5][1])
    total = sum(spent_s for _, spent_s in stages)
    print("by stage, each run alone over the same records, best of 3:")
    for name, spent_s in stages:
        print(f"  {name:38s} {spent_s / total:5.0%}")


def _time(function, tries=3):
    """Seconds of the fastest try: other programs only ever make it slower."""
    best = float("inf")
    for _ in range(tries):
        started = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - started)
    return best
