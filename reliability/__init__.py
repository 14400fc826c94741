"""Machines that try to break what Yugen promises: nothing lost, nothing doubled, nothing wrong.

`python -m reliability` lists them; docs/reliability.md says what they have tried and found.
"""
