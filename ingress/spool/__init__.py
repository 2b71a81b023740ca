"""Where events wait on the ingress's own disk while the broker cannot take them."""
