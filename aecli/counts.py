"""Numbers of things in words."""


def count(n: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
