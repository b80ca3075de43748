"""Who is paid for what tenants have. No database here."""
