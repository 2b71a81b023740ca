"""HTTP listeners: how every service serves, and what it shows its operators."""
