"""Hostile input, surface by surface; `reliability.fuzz` is the program that tries them.

`surface.py` says what a surface is and tries it, `spoil.py` spoils what is valid, `shrink.py` makes what was found
short, and `corpus/` keeps it. `world.py` is the backend that requests are sent to, in this process or in another.
"""
