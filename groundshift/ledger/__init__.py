"""The ledger: what happened, what is to do, what was said. SQLite or PostgreSQL.

State and outgoing events are committed together (`Ledger.transaction`, `Tx.emit`), so that a
process may die at any line: either both are there or neither.
"""

from groundshift.ledger.arrivals import arrival_id, record_arrival
from groundshift.ledger.database import Ledger, Tx
from groundshift.ledger.deliveries import DeadLetter

__all__ = ["DeadLetter", "Ledger", "Tx", "arrival_id", "record_arrival"]
