"""WeCom's wire protocol, its API client and a simulator of both."""
