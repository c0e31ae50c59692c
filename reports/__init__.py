"""Writers of core's results for readers and other programs: one module per format, each a generator of
text."""
