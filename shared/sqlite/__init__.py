"""SQLite off the event loop: group commit, and a file that goes on by itself through what disks and people do to it."""
