"""Somebody's own images: folders, arrays, scenes; what is there, how it is cut, split and read."""
