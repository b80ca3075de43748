"""What comes due beside the passes over hosts, a module for each kind of it."""
