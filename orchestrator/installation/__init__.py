"""An installation as a whole: made, copied to another database, backed up and put back."""
