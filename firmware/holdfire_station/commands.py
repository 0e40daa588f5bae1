"""What a person can type at the console, and who answers. In memory only while it is looked up; so is each answer.

An answer is a function of (station, words after the command) that gives lines of at most 80 columns. It has the
command's name, and is in the module that the table names.
"""


def find(command: str):
    """Name of the module that answers a command, or the lines of the answer. Raises ValueError with what was wrong."""
    for name, _, module in COMMANDS:
        if name == command:
            return module or ["  %-11s %s" % (name, text) for name, text, _ in COMMANDS]
    raise ValueError("%s: no such command; `help` lists them" % command[:20])


COMMANDS = (
    ("clips", "numbers of the sound clips; NUMBER OFFSET: a piece of one", "holdfire_station.answers_pull"),
    ("enrol", "NETWORK COLLECTOR ENTROPY (hex): make a key, once", "holdfire_station.answers_key"),
    ("enrolment", "CHALLENGE (hex): key, chip, board and program, signed", "holdfire_station.answers_key"),
    ("gnss", "satellites, position, time", "holdfire_station.answers_gnss"),
    ("help", "this list", ""),
    ("identity", "key and deployment, for the collector", "holdfire_station.answers_key"),
    ("journal", "records kept, room, wear", "holdfire_station.answers_records"),
    ("last", "the last record", "holdfire_station.answers_records"),
    ("maintenance", "prompt: stop the station for MicroPython's prompt; recorded", "holdfire_station.answers_acts"),
    ("mic", "live sound level, until any key", "holdfire_station.answers_acts"),
    ("pull", "FIRST: records from that number on are sent again", "holdfire_station.answers_pull"),
    ("radio", "what the radio does", "holdfire_station.answers_acts"),
    ("reboot", "start again", "holdfire_station.answers_acts"),
    ("selftest", "what works and what does not", "holdfire_station.answers_records"),
    ("set", "NAME VALUE: change a setting; alone: show them", "holdfire_station.answers_acts"),
    ("status", "how the station is", "holdfire_station.answers_status"),
    ("update", "new programs, sent by `holdfire update`", "holdfire_station.update"),
)
