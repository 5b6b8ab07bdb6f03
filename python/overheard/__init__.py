"""What AI answer engines say about an organisation, asked in bulk."""
