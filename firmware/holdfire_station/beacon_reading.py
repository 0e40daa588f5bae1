"""What a beacon proves to this station: that the base holds its records, and what time it is.

Cheap checks first: a signature costs the chip more than 14 million instructions (tools/bench sign), and anybody can
shout on the air. In memory only while a beacon is read.
"""

from holdfire_protocol import cose, fields, record

from .beacon import BeaconError
from .crypto import verify_async


async def read(reader, message: bytes):
    """What `BeaconReader.read` promises."""
    identity = reader.identity
    try:
        parts = cose.parse(message)
        if parts.kid != identity.collector_kid:
            raise BeaconError("kid: not our collector's")
        beacon = record.decode_beacon(parts.payload)
        number, time = beacon["number"], beacon["time"]
        if number <= reader.number:
            raise BeaconError("number: %d is not above %d: a replay" % (number, reader.number))
        ours = [(seq, digest) for kid, seq, digest in beacon["receipts"] if kid == identity.kid]
        del beacon  # with the receipts of 16 stations 3 KB, while the verifier takes 6
        signed = cose.sig_structure(fields.AAD_BEACON + identity.network, parts.payload)
        await verify_async(identity.collector_public, signed, parts.signature)
    except BeaconError:
        raise
    except ValueError as error:
        raise BeaconError(str(error))
    reader.number = number
    for seq, digest in ours[:1]:
        return _receipt(reader, seq, digest), _sent_before(reader, seq), time
    return None, None, time


def _receipt(reader, seq: int, digest: bytes):
    if seq <= reader.journal.receipted:
        return None
    own = reader.journal.read(seq)
    if own is None:
        raise BeaconError("receipt: record %d is not held here" % seq)
    if record.record_hash(own) != digest:
        raise BeaconError("receipt: names another record %d than ours" % seq)
    return seq


def _sent_before(reader, seq: int):
    """When the newest record that this receipt covers was first sent in this boot."""
    sent_us = None
    for sent_seq, at_us in reader._sent:
        if sent_seq <= seq:
            sent_us = at_us
    return sent_us
