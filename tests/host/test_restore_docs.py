"""The steps of `Back up and restore` in host/README.md, run as they stand there, by a shell."""

import os
import re
import subprocess
import sys

import pytest

from holdfire import forward, times
from holdfire.store import Reader
from tests.mpy import REPO

from .made import Base, Signer, json_lines, status

MINUTE_US = 60_000_000


def blocks():
    """(back up, restore): the two shell blocks of the section."""
    text = (REPO / "host" / "README.md").read_text()
    section = re.search(r"^## Back up and restore\n(.*?)^## ", text, re.M | re.S)[1]
    return re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)


class Place:
    """A folder with holdfire-data in it, a stick, and `holdfire` on the path."""

    def __init__(self, folder):
        self.folder, self.stick = folder, folder / "stick"
        for made in (self.stick, folder / "bin"):
            made.mkdir()
        (folder / "bin" / "holdfire").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m holdfire "$@"\n')
        (folder / "bin" / "holdfire").chmod(0o755)

    def run(self, script):
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        source = os.pathsep.join(str(REPO / part) for part in ("host", "protocol"))
        environment = {**os.environ, "PATH": path, "PYTHONPATH": source}
        environment.pop("HOLDFIRE_DIR", None)
        done = subprocess.run(["sh", "-eu"], input=script.replace("/media/stick", str(self.stick)), text=True,
                              capture_output=True, cwd=self.folder, env=environment, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.parametrize("loss", ["damaged", "gone", "new computer"])
def test_a_base_is_restored_by_the_steps_as_written(tmp_path, loss):
    place = Place(tmp_path)
    now_us = times.now_us()
    ridge = Signer("Ridge north", 1)
    ridge.boot_at_us = now_us - 60 * MINUTE_US
    base = Base(tmp_path / "holdfire-data")
    base.registry.add(ridge.station(ridge.boot_at_us))
    base.registry.save()
    (tmp_path / "holdfire-data" / "collector.key").write_text("the real one is made by init")
    made = [ridge.make(now_us - (50 - n) * MINUTE_US, status=status()) for n in range(20)]
    database = base.deployment.database_path

    base.receive(*made[:8], at_us=now_us)
    backup, restore = blocks()
    place.run(backup)
    base.receive(*made[8:15], at_us=now_us)
    reader = Reader(database)
    events = [forward.event_bytes(row, base.registry) for row in reader.records(newest_first=False)]
    reader.close()
    (tmp_path / "holdfire-data" / "forward").mkdir()
    (tmp_path / "holdfire-data" / "forward" / "records-2026-11-24.jsonl").write_bytes(b"\n".join(events) + b"\n")

    held = 15
    if loss == "damaged":
        database.write_bytes(b"not a database any more" * 500)
    elif loss == "gone":
        database.unlink()
    else:
        (tmp_path / "holdfire-data").rename(tmp_path / "burnt")
        held = 8
    said = place.run(restore)
    assert "stored" in said and "REFUSED" not in said
    if loss == "damaged":
        assert b"not a database any more" in (tmp_path / "damaged" / "holdfire.sqlite").read_bytes()
    (row,) = json_lines(place.run("holdfire stations --json"))
    assert (row["records"], row["contiguous_seq"], row["missing"]) == (held, held, [])
    place.run(restore.replace("mv ", "cp "))  # again, as one does who was called away in the middle
    base.receive(*made[held:], at_us=times.now_us())
    (row,) = json_lines(place.run("holdfire stations --json"))
    assert (row["contiguous_seq"], row["missing"]) == (20, [])
