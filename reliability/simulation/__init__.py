"""The whole system in one process, on a network, a disk and a clock that a seed drives."""
