"""What the chip runs after boot: the board's description in, a station out."""

import asyncio

from board import BOARD

from holdfire_station.station import Station

asyncio.run(Station(BOARD).run())
