"""Measurements of the whole process, each beside a raw limit measured in the same run."""
