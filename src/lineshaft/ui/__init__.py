"""What people look at: the terminal while a run goes on, trees, and pages."""
