"""Starts Rasa's own command (`python start_rasa.py run …`) with the token from the environment instead of the command line."""

import os
import sys

from rasa.__main__ import main

if __name__ == "__main__":
    token = os.environ.pop("QINGTING_RASA_TOKEN", "")
    if token:
        sys.argv += ["--auth-token", token]
    main()
