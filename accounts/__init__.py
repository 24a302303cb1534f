"""Who may use the portal."""
