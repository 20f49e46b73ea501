"""Does the data of today look like the data the model was audited on? Import from the modules."""
