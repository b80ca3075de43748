"""The lab: a real fleet of Debian machines on one computer, in Docker."""
