"""The papers' theory, one module per idea."""
