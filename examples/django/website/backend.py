from pathlib import Path

from yugen import Yugen

desk = Yugen(Path(__file__).resolve().parent.parent / "helpdesk")
