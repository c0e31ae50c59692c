"""What devices speak: bytes in, fixes or rejections out. Pure; one module a client, and their registry."""
