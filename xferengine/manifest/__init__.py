"""The manifest: what should exist and what happened, one SQLite database per job.

Terms: a *study* is one StudyInstanceUID with its target labels; a *file* is one instance; a *unit* is one bundle of
files of one study, the smallest thing that is leased and retried; an *attempt* is one try of a unit.

    open_manifest(folder)                      lock, open, check, start the writer
      write(op) ── inbox ── writer task ── one transaction for all that wait ── commit (fsync) ── results
      read(query)  on a connection of its own, in a thread

``op`` is a plain function of a connection from ``studies``, ``files`` or ``units``; nothing else writes SQL. A lease is
committed before its unit's first byte is sent, so after a crash every unit that may have reached the server is known.
Start at ``store.open_manifest``; ``schema`` has the tables; ``catalogue`` is the list of all jobs.
"""
