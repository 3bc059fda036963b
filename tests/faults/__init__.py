"""The fault matrix: a row per kind of fault, each injected many times; none may do harm."""
