"""What all four APIs share: columns, the legacy time format, problem details, pagination, strict filters."""
