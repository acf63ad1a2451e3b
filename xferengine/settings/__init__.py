"""Settings: frozen slices, and the only code that reads TOML and the environment.

Start at ``slices`` for what exists; ``load.load_settings`` for where values come from (defaults → profile file →
environment → options); ``credentials`` for how a password is found without ever being an argument.
"""
