"""The collector keeps its promises through kill -9. The long form: `python tools/bench collector --kills 200`."""

import os
import random

from tests.system import kill9


def test_nothing_acknowledged_is_lost_and_everything_stored_is_forwarded(tmp_path):
    kills = int(os.environ.get("HOLDFIRE_KILLS", "25"))
    seed = int(os.environ.get("HOLDFIRE_SEED", random.randrange(1 << 32)))
    print(f"to repeat: HOLDFIRE_SEED={seed}")
    print(kill9.run(tmp_path, kills, seed))
