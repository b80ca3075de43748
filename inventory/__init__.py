"""The fleet as pyinfra inventories."""
