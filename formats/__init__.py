"""Decode telemetry: bytes in, fixes or rejections out. Pure; one module per format, and their registry."""
