"""What every groundshift program shares: events, settings, ledger, object store, model client."""

__version__ = "0.1.0"
