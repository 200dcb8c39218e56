"""Keywords of photos in XMP sidecars: read, merge, write, journal, undo."""
