"""The command line: one file a command, and no science in any of them."""
