"""What the chip runs after boot: the board's description in, a station out."""

import asyncio
import gc
import sys

# Loading programs leaves as much rubbish as program. Collected early and often, what stays lies close together, and the
# audio buffers still find room in one piece.
gc.threshold(4096)

from board import BOARD  # noqa: E402

from holdfire_station.station import Station  # noqa: E402

station = Station(BOARD)
del BOARD, sys.modules["board"]  # 3 KB of pins and partitions, in use by now
gc.collect()
gc.threshold(16384)
asyncio.run(station.run())
