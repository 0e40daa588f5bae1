"""Writes protocol/vectors/*.json: what every implementation must accept and refuse. Fixed keys, so reproducible."""

import pathlib

from generate import chain_vectors, field_vectors, vector_form, wire_vectors

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "protocol" / "vectors"


def outputs() -> dict[pathlib.Path, str]:
    made = {
        "cbor": wire_vectors.cbor_vectors(), "cose": wire_vectors.cose_vectors(), "frame": wire_vectors.frame_vectors(),
        "line": wire_vectors.line_vectors(), "record": field_vectors.records(), "beacon": field_vectors.beacons(),
        "enrolment": field_vectors.enrolments(), "update": field_vectors.updates(),
        "handover": field_vectors.handovers(), "chain": chain_vectors.chains(),
    }
    return {FOLDER / f"{name}.json": vector_form.render(parts) for name, parts in made.items()}
