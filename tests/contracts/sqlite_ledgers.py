"""Empty SQLite ledgers, fast."""

import shutil
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from groundshift.ledger import Ledger


def copies(folder):
    """What opens a new empty ledger: migrated once, since one for every example takes minutes."""
    Ledger.open(f"sqlite:///{folder}/ledger.db").close()

    @contextmanager
    def new_ledger(clock=None):
        with TemporaryDirectory() as place:
            shutil.copy(folder / "ledger.db", place)
            with Ledger.open(f"sqlite:///{place}/ledger.db", clock=clock) as ledger:
                yield ledger

    return new_ledger
