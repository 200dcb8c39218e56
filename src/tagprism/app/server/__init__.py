"""The server of `tagprism serve`: an index and its model over HTTP, and a page for people. Needs the extra `serve`."""
