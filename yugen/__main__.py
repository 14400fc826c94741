"""`python -m yugen` is the command line."""

from yugen.cli.main import main

main()
