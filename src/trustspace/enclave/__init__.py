"""The process beside a source unit's data: stores it sealed, opens it for a granted run, seals what comes out."""
