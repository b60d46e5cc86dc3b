"""Files and tables: what is kept on disk, written so that a crash leaves the old state or the new."""
