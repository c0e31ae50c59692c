"""Core's results, written in formats for readers: one module per format, each a generator of text."""
