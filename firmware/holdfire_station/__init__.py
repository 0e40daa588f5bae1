"""The station: what runs on the chip. Imports the protocol package; never anything of the host."""
