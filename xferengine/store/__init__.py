"""The local side: which files are there, what they are, and their bytes.

Terms: a *path* is what a person named; a *container* is a ``.zip``, ``.tar`` or ``.tar.gz`` whose *members* are read as
streams, never unpacked to disk; a *byte source* answers ``read_at(offset, count)`` and knows its size.

    open_scan(config)                     scan.py     batches of results; headers are read in processes
                                                      (feeding.py, workers.py, workerproc.py)
      walk_files(paths)                   walk.py     every file under the paths, sorted, bounded memory
      probe_paths(paths, rules)           probe.py    one path → results, members of a container included
        read_members(...)                 containers.py (zips.py, tars.py, inflate.py)
        read_header(ref, data, want)      headers.py  by content; elements.py walks, judge.py asks pydicom,
                                                      fields.py turns bytes into text
    SourceReader.chunks(ref)              reader.py   the bytes again when they are sent, and proof nothing changed;
                                                      shelf.py keeps containers open
    open_target(folder, job_id)           target.py   where downloads go: part files (partfile.py), then whole batches
                                                      made durable under their names (commit.py); ownfolder.py
                                                      keeps lock and parts; disk.py is the seam for tests
      check_relative, NameClaims          names.py    names that are refused, names that collide
    walk_tree(folder)                     treewalk.py every file below a folder, sorted, for comparisons

Start with ``scan.py`` and ``headers.py``. Nothing here knows a server, a job or the manifest.
"""
