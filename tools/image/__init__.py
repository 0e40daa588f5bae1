"""From a board file and a MicroPython binary to one flash image."""
