"""``python -m groundshift.serving``."""

from groundshift.serving.main import main

main()
