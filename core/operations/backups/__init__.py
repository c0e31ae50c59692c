"""A backup: one zip file with every table as PostgreSQL's COPY writes it, the broker's state, and a manifest.

`archive` is the file, `catalogue` what tables there are, `take` and `restore` the two ways. No `pg_dump`: the
structure comes from our own migrations, so a backup fits any PostgreSQL that Milepost runs on, and any newer
Milepost. Everything is streamed; no key and no password is ever in it.
"""
