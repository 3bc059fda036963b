"""Measurements of codecs, codes and decoded images, and what they are held against."""
