"""Where runs execute. `base` says what a backend is; nothing here imports Django or the portal's apps."""
