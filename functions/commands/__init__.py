"""What the commands of the command line do; `functions.cli` parses and calls these."""
