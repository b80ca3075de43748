"""The only room that knows pyinfra, fabric and SSH."""
