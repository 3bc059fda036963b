"""Pages to send: runs as HTML that needs no network, no script and no other file."""
