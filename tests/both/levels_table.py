"""Prints what holdfire_station.sensing.levels makes of many values; test_levels.py runs it on both interpreters."""

from holdfire_station.sensing import levels

VALUES = [1, 2, 3, 5, 7, 10, 99, 1000, 32767, 32768, 65535, 65536, 1000003, (1 << 23) - 1, 1 << 23, (1 << 30) - 1]

for value in VALUES:
    print("log2", value, levels.log2_q12(value))
    for reference in VALUES:
        print("db10", value, reference, levels.db10(value, reference))
print("db10", 0, 16, levels.db10(0, 16))
for level_db10 in (-750, -300, -1, 0, 1, 35, 60, 100, 140, 240):
    for reference in (16, 1 << 23, 1 << 25):
        print("amplitude", level_db10, reference, levels.amplitude_at(level_db10, reference))
for level_db10 in (50, 3, 2, 0, -2, -3, -7, -8, -500, -1267, -1268, -1272, -1300, -2000):
    print("half", level_db10, levels.half_decibels_below(level_db10))
