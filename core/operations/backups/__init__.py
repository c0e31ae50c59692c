"""Backups: one zip file with every table in PostgreSQL's COPY format, the broker's state, and a manifest.

`archive` is the file format, `catalogue` lists the tables, `take` and `restore` are the two directions.
`pg_dump` is not used: the schema comes from our own migrations, so a backup fits any PostgreSQL version that
Milepost runs on and any newer Milepost. Everything is streamed; no key or password is ever included.
"""
