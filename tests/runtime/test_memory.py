"""What was taken for something large goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reliability.resources import MIB

# The first block teaches glibc that those of its size come and go. Something small behind the second one stays.
PROGRAM = """
import sys
from yugen.runtime.memory import give_back_large_blocks

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if sys.argv[1] == "told" and not give_back_large_blocks():
    print("unable")
    sys.exit()
before = resident()
block = bytearray(16 << 20)
del block
block, small = bytearray(16 << 20), [bytearray(4096) for _ in range(100)]
del block
print(resident() - before)
"""


@pytest.mark.parametrize(("told", "more"), [("told", (0, MIB)), ("untold", (16 * MIB, 17 * MIB))])
def test_a_large_block_goes_back(told: str, more: tuple[int, int]) -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM, told], capture_output=True, text=True, check=True).stdout
    if said.strip() == "unable":
        pytest.skip("this C library cannot be told")
    assert more[0] <= int(said) <= more[1]
