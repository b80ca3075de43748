"""The verbs, by noun. All rules about what tenants may do live here."""
