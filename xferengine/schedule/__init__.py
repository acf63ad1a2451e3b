"""When work happens: lanes and their limits, exclusive keys, retries, the breaker, unit sizes, stopping.

Terms: a *lane* is a class of requests to one server that share a limit (listing, bulk, commit); a *slot* is the right
of one worker to have one request of that lane in flight; a *limit* says how many slots there are and moves with what
the server does; the *breaker* holds every lane while the server is down; a *sizer* learns what a unit costs.

    async with keys.hold("study:…"):
        async with lanes.bulk.slot(priority, cost_bytes=n):     # waits for a slot, then for the breaker
            … one attempt …                                     # leaving feeds the limit and the breaker
    … on XferError: retry.decide(error, attempt) → retry | reauth | look | give-up | stop

Nothing here knows XNAT, files or the manifest. Start with ``lanes``.
"""
