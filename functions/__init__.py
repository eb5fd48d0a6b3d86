"""The event chain: one module per stage; each parses an event, calls the work and emits events."""
