"""A stand-in XNAT server for tests, benchmarks and demonstrations; it shares no code with the engine.

Every behaviour follows the protocol fact sheets, which docstrings cite as FIL (files and resources) and IMP (import,
prearchive, archive) with the section. A request goes

    exchange → faults → auth → routing → a handler of the core (import, prearchive, archive) or of the archive side

and all state lies in `world` and in the data folder, so a restart finds it again. Start reading in `server`.
"""
