"""Implementations of the Protocols in `groundshift.ports`."""
