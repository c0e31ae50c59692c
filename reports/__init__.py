"""What core computes, written for others to read: one module a format, each a generator of text."""
