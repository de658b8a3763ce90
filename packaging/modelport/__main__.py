"""``python -m modelport``: the command line."""

from modelport.cli import main

main()
