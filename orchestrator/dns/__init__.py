"""What stands in DNS: expected records, observation, publishing."""
