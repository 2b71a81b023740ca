"""`qudao report`: who came from where, on the terminal and in files."""
