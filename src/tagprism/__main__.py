"""`python -m tagprism` is the command line."""

from tagprism.app.cli import main

main()
