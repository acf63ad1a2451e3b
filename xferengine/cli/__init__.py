"""The face for people: a thin user of the package's own face.

    main → commands/<verb> → options, settings → running: run_job with a renderer → exit code

Renderers consume events: ``progress`` (bars or lines), ``render_text`` (plan, summary), ``render_json`` (one line each,
the last one the summary). Nothing of the engine is imported before a command needs it: ``--help`` answers at once.
Start at ``main``; ``exitcodes`` has the table of codes.
"""
