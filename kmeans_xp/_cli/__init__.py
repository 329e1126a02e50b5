"""What the commands are made of: their arguments, the terminal, the reports."""
