"""What a program needs, found by compiling it without running it: on this machine, or for a TPU pod nobody here has."""
