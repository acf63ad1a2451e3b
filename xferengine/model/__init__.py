"""Frozen values that all parts share: what a scan yields, states, events. No I/O, no async, no knowledge of a server.

Start at ``events`` for what the engine tells the world, ``states`` for what the manifest stores, ``dicom`` for what a
scan finds.
"""
