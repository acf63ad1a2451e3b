"""The protocol client: HTTP and XNAT's dialect; it knows no jobs.

Flow of one call::

    area (projects, imports, prearchive, archive, experiments …)   builds a Request, reads values from the Answer
      └─ Caller (client.py)       relogin once on LoginExpired; retries idempotent requests by the policy it was given
           └─ HttpTransport (http.py)   one connection pool, the cookie, early answers; the only user of aiohttp
                ├─ Feed (feed.py)       one pass over a body; Watch (clocks.py) ends what stalls
                └─ faults.judge         the only place that decides whether an answer is good

Facts about the server come from the protocol sheets: IMP (import, prearchive, archive) and FIL (files, metadata,
login). Start at ``client.open_client``.
"""
