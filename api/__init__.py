"""The HTTP APIs: one dialect a package, over the services."""
