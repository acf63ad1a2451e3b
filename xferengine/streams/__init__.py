"""Bytes from source to sink, and the checks that every byte passes.

Terms: a *body* is what a request sends, readable again from its first byte; a *bundle* is a body made of many files,
framed as a zip while it is sent; *metered* is the one wrapper that counts, slows down and compares with what was
declared.

    with StoredBundle(entries, kit) as bundle:
        body = MeteredBody(bundle, on_bytes=…, limiter=…)
        … the client sends body.chunks() …
    bundle.crcs, bundle.entries_sent

Nothing here knows HTTP, XNAT or the manifest. Start with ``bundle``; ``zipframe`` holds the format.
"""
