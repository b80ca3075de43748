"""Where hosts' certificates come from: the operator's CA, files, or ACME. No database here."""
