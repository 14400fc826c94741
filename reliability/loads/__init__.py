"""Scenarios of load: what a crowd does at once, and what must hold meanwhile and afterwards. One module each."""
