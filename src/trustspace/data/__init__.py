"""What a dataset is: a table read once, described in public coarsely, sealed, and handed to a run.

    reading      CSV and Parquet into plain tables       (csvfile, inference, columns, images)
    profile      what the officer alone sees             (quality, identifying, patients)
    description  what the officer confirms for the public, and mock, made from that alone
    parquet      a dataset at rest; manifest, what was sealed
    handin       the part a run may see, in sealed memory (matrix: as numbers)

Import from the modules: a sandbox worker needs only ``handin`` and ``matrix``.
"""
