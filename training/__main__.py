"""``python -m training MODEL ...`` is ``groundshift train MODEL ...``."""

from training.cli import app

if __name__ == "__main__":
    app()
