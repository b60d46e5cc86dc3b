"""What people type: one module for each noun, thin over the typed clients, in English and Chinese."""
