"""Small tools that know nothing of XNAT: time, threads, rates, budgets, files, escaping.

Terms: a *budget* is the number of bytes that may be in memory at once; a *rate* is bytes per second; a *clock* gives
time and waits, so that tests can replace both. Each module holds one idea. Start with ``clock`` (everything that waits
takes one) and ``threads`` (everything that blocks goes through it).
"""
