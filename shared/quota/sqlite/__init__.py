"""The quota in the embedded queue's file."""
